#include "io/torch_writer.h"

#include <cstdint>
#include <limits>

#include "base/fail.h"
#include "io/crc32.h"
#include "io/file_writer.h"

namespace tamis::io {
namespace {

void put16(std::string& out, uint32_t v) {
  for (int shift = 0; shift < 16; shift += 8) out += static_cast<char>(v >> shift & 0xff);
}
void put32(std::string& out, uint32_t v) {
  put16(out, v & 0xffff);
  put16(out, v >> 16);
}

/// A zip archive of stored entries [APPNOTE.TXT 4.3]; no dates, so that the same content is the
/// same file.
class ZipWriter {
 public:
  explicit ZipWriter(const std::filesystem::path& path) : file_(path) {}

  void add(const std::string& name, std::string_view content) {
    std::string head;
    put32(head, 0x04034b50);
    const std::string fields = fields_of(name, content);
    head += fields;
    put16(head, 0);  // extra
    head += name;
    put32(directory_, 0x02014b50);
    put16(directory_, 20);  // made by 2.0
    directory_ += fields;
    for (int i = 0; i < 4; ++i) put16(directory_, 0);  // extra, comment, disk, internal
    put32(directory_, 0);                              // external
    put32(directory_, static_cast<uint32_t>(file_.size()));
    directory_ += name;
    ++entries_;
    file_.append(head);
    file_.append(content);
  }

  void finish() {
    std::string end;
    put32(end, 0x06054b50);
    put32(end, 0);  // disks
    put16(end, entries_);
    put16(end, entries_);
    put32(end, static_cast<uint32_t>(directory_.size()));
    put32(end, static_cast<uint32_t>(file_.size()));
    put16(end, 0);
    file_.append(directory_);
    file_.append(end);
    file_.finish();
  }

 private:
  static std::string fields_of(const std::string& name, std::string_view content) {
    if (content.size() > std::numeric_limits<uint32_t>::max() / 2) {
      fail(ErrorCode::kInternal, "{}: too large for a zip archive without zip64", name);
    }
    std::string out;
    put16(out, 20);    // needs 2.0
    put16(out, 0);     // flags
    put16(out, 0);     // stored
    put16(out, 0);     // time
    put16(out, 0x21);  // 1 January 1980
    put32(out, crc32(content));
    put32(out, static_cast<uint32_t>(content.size()));
    put32(out, static_cast<uint32_t>(content.size()));
    put16(out, static_cast<uint32_t>(name.size()));
    return out;
  }

  FileWriter file_;
  std::string directory_;
  uint32_t entries_ = 0;
};

/// Pickle, protocol 2 [CPython, Lib/pickletools.py].
class PickleWriter {
 public:
  PickleWriter() : out_("\x80\x02") {}
  PickleWriter& op(char c) {
    out_ += c;
    return *this;
  }
  PickleWriter& text(std::string_view s) {
    out_ += 'X';
    put32(out_, static_cast<uint32_t>(s.size()));
    out_ += s;
    return *this;
  }
  PickleWriter& integer(int64_t v) {
    if (v < std::numeric_limits<int32_t>::min() || v > std::numeric_limits<int32_t>::max()) {
      fail(ErrorCode::kInternal, "a tensor has too many elements for its pickle: {}", v);
    }
    out_ += 'J';
    put32(out_, static_cast<uint32_t>(v));
    return *this;
  }
  PickleWriter& global(std::string_view module, std::string_view name) {
    out_ += fmt::format("c{}\n{}\n", module, name);
    return *this;
  }
  PickleWriter& tuple(const std::vector<int64_t>& values) {
    op('(');
    for (int64_t v : values) integer(v);
    return op('t');
  }
  std::string take() {
    op('.');
    return std::move(out_);
  }

 private:
  std::string out_;
};

std::vector<int64_t> strides_of(const Shape& shape) {
  std::vector<int64_t> out(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) out[i - 1] = out[i] * shape[i];
  return out;
}

/// torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)
void put_tensor(PickleWriter& pickle, const TensorView& tensor, size_t number) {
  pickle.text(tensor.name).global("torch._utils", "_rebuild_tensor_v2").op('(');
  pickle.op('(').text("storage").global("torch", "FloatStorage").text(std::to_string(number));
  pickle.text("cpu").integer(element_count(tensor.shape)).op('t').op('Q');
  pickle.integer(0).tuple(tensor.shape).tuple(strides_of(tensor.shape)).op('\x89');
  pickle.global("collections", "OrderedDict").op(')').op('R').op('t').op('R');
}

}  // namespace

void write_torch_dict(const std::filesystem::path& path, const std::vector<TensorView>& tensors) {
  PickleWriter pickle;
  pickle.op('}').op('(');
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].dtype != DType::kF32) {
      fail(ErrorCode::kInternal, "{}: tensors are written as f32", path.string());
    }
    put_tensor(pickle, tensors[i], i);
  }
  pickle.op('u');
  ZipWriter zip(path);
  zip.add("archive/data.pkl", pickle.take());
  zip.add("archive/byteorder", "little");
  for (size_t i = 0; i < tensors.size(); ++i) {
    zip.add(fmt::format("archive/data/{}", i),
            {reinterpret_cast<const char*>(tensors[i].bytes.data()), tensors[i].bytes.size()});
  }
  zip.add("archive/version", "3\n");
  zip.finish();
}

}  // namespace tamis::io

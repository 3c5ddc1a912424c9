// What torch.save writes: a zip archive with the pickle "<top>/data.pkl" and one entry
// "<top>/data/<key>" for each storage.

#include <algorithm>
#include <string>

#include "base/fail.h"
#include "io/checkpoint.h"
#include "io/foreign.h"
#include "io/unpickle.h"
#include "io/zip.h"

namespace tamis::io {

namespace {

constexpr std::string_view kPickleName = "/data.pkl";

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void refuse_other_formats(std::span<const std::byte> file, std::string_view where) {
  refuse_lfs_pointer(file, where);
  const std::string_view text = text_of(file);
  if (text.starts_with("PK")) return;
  // Protocol 2 and LONG1: the magic number that torch wrote before version 1.6.
  if (text.starts_with("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46")) {
    fail(ErrorCode::kUnimplemented,
         "{}: a torch file from before the zip format; re-save it in Python: "
         "torch.save(torch.load(name, map_location=\"cpu\", weights_only=True), name)",
         where);
  }
  fail(ErrorCode::kDataLoss, "{}: byte 0: expected a zip archive as torch.save writes it, got {}",
       where, text.empty() ? "an empty file" : "other bytes");
}

class Archive {
 public:
  Archive(std::span<const std::byte> file, std::string_view where)
      : where_(where), entries_(read_zip(file, where)) {
    for (const ZipEntry& entry : entries_) {
      if (!entry.name.ends_with(kPickleName)) continue;
      if (pickle_) {
        fail(ErrorCode::kDataLoss, "{}: expected one data.pkl, got {} and {}", where,
             printable(pickle_->name), printable(entry.name));
      }
      pickle_ = &entry;
    }
    if (!pickle_) {
      fail(ErrorCode::kDataLoss,
           "{}: expected an entry <name>/data.pkl as torch.save writes it, got none among {}",
           where, entries_.size());
    }
    top_ = pickle_->name.substr(0, pickle_->name.size() - kPickleName.size());
    const ZipEntry* order = find(std::string(top_) + "/byteorder");
    if (order && text_of(order->data) != "little") {
      fail(ErrorCode::kUnimplemented, "{}: byteorder: expected little, got {}", where,
           printable(text_of(order->data)));
    }
  }

  std::vector<TensorView> tensors() const {
    const std::string where = fmt::format("{}: {}", where_, printable(pickle_->name));
    std::vector<TensorView> views;
    for (PickledTensor& tensor : unpickle_tensors(pickle_->data, where)) {
      views.push_back(view(std::move(tensor)));
    }
    std::sort(views.begin(), views.end(),
              [](const TensorView& a, const TensorView& b) { return a.name < b.name; });
    refuse_duplicate_names(views, where_);
    return views;
  }

 private:
  const ZipEntry* find(std::string_view name) const {
    const auto at =
        std::lower_bound(entries_.begin(), entries_.end(), name,
                         [](const ZipEntry& e, std::string_view n) { return e.name < n; });
    return at != entries_.end() && at->name == name ? &*at : nullptr;
  }

  template <class... Args>
  [[noreturn]] void refuse(ErrorCode code, const PickledTensor& tensor,
                           fmt::format_string<Args...> format, Args&&... args) const {
    fail(code, "{}: tensor \"{}\": {}", where_, printable(tensor.name),
         fmt::format(format, std::forward<Args>(args)...));
  }

  TensorView view(PickledTensor&& tensor) const {
    const std::span<const std::byte> storage = storage_of(tensor);
    const int64_t count = element_count(tensor.shape);
    if (count < 0 || tensor.offset > tensor.storage_elements ||
        count > tensor.storage_elements - tensor.offset) {
      refuse(ErrorCode::kDataLoss, tensor,
             "expected {} from element {} on to lie within the {} elements of storage {}",
             to_string(tensor.shape), tensor.offset, tensor.storage_elements,
             printable(tensor.storage));
    }
    check_contiguous(tensor, count);
    const size_t element_bytes = size_of(tensor.dtype);
    const auto begin = static_cast<size_t>(tensor.offset) * element_bytes;
    return {std::move(tensor.name), tensor.dtype, std::move(tensor.shape),
            storage.subspan(begin, static_cast<size_t>(count) * element_bytes)};
  }

  // The entry's bytes, which hold all elements that the storage claims to have.
  std::span<const std::byte> storage_of(const PickledTensor& tensor) const {
    const std::string name = fmt::format("{}/data/{}", top_, tensor.storage);
    const ZipEntry* entry = find(name);
    if (!entry) {
      refuse(ErrorCode::kDataLoss, tensor, "expected its storage in entry {}, got none",
             printable(name));
    }
    const size_t element_bytes = size_of(tensor.dtype);
    if (static_cast<uint64_t>(tensor.storage_elements) > entry->data.size() / element_bytes) {
      refuse(ErrorCode::kDataLoss, tensor, "expected {} elements of {} in entry {}, got {} bytes",
             tensor.storage_elements, name_of(tensor.dtype), printable(name), entry->data.size());
    }
    return entry->data;
  }

  void check_contiguous(const PickledTensor& tensor, int64_t count) const {
    if (count == 0) return;
    int64_t expected = 1;
    for (size_t i = tensor.shape.size(); i-- > 0;) {
      if (tensor.shape[i] != 1 && tensor.strides[i] != expected) {
        refuse(ErrorCode::kUnimplemented, tensor,
               "expected a contiguous tensor, got strides {} for {}; save it with .contiguous()",
               to_string(tensor.strides), to_string(tensor.shape));
      }
      expected *= tensor.shape[i];
    }
  }

  std::string_view where_;
  std::vector<ZipEntry> entries_;
  const ZipEntry* pickle_ = nullptr;
  std::string_view top_;  // the folder that all entries are in
};

}  // namespace

std::vector<TensorView> parse_torch_zip(std::span<const std::byte> file, std::string_view where) {
  refuse_other_formats(file, where);
  return Archive(file, where).tensors();
}

}  // namespace tamis::io

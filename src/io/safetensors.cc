// The safetensors format: u64 header size (little endian), a JSON header, then the tensors' bytes.

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <numeric>
#include <utility>

#include "base/fail.h"
#include "io/checkpoint.h"
#include "io/foreign.h"
#include "io/json.h"

namespace tamis::io {

static_assert(std::endian::native == std::endian::little, "tensors are read as they are stored");

namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // as the format's own library
constexpr size_t kSizeBytes = sizeof(uint64_t);

constexpr std::array kDTypes = {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI64,
                                DType::kI32, DType::kI16, DType::kI8,   DType::kU8,  DType::kBool};

struct Extent {
  uint64_t begin;  // of the data part
  uint64_t end;
};

// One header and the data that it describes.
class Parser {
 public:
  Parser(std::span<const std::byte> file, std::string_view where) : where_(where) {
    refuse_lfs_pointer(file, where);
    if (file.size() < kSizeBytes) {
      fail(ErrorCode::kDataLoss, "{}: expected at least {} bytes of header size, got {}", where,
           kSizeBytes, file.size());
    }
    uint64_t header_bytes;
    std::memcpy(&header_bytes, file.data(), kSizeBytes);
    if (header_bytes > kMaxHeaderBytes) {
      fail(ErrorCode::kDataLoss, "{}: byte 0: expected a header of at most {} bytes, got {}", where,
           kMaxHeaderBytes, header_bytes);
    }
    const size_t rest = file.size() - kSizeBytes;
    if (header_bytes > rest) {
      fail(ErrorCode::kDataLoss,
           "{}: truncated: expected a header of {} bytes from byte {} on, got {} bytes", where,
           header_bytes, kSizeBytes, rest);
    }
    header_ = file.subspan(kSizeBytes, header_bytes);
    data_ = file.subspan(kSizeBytes + header_bytes);
  }

  std::vector<TensorView> parse() {
    const std::string_view text(reinterpret_cast<const char*>(header_.data()), header_.size());
    const auto document = JsonDocument::parse(text, fmt::format("{}: header", where_));
    const auto members = document.root().members("the header");
    std::vector<TensorView> tensors;
    tensors.reserve(members.size());
    for (const auto& [name, entry] : members) {
      if (name == "__metadata__") {
        entry.members(name);  // checks that it is an object; its words are of no use here
      } else {
        tensors.push_back(tensor(name, entry));
      }
    }
    check_coverage(tensors);
    std::sort(tensors.begin(), tensors.end(),
              [](const TensorView& a, const TensorView& b) { return a.name < b.name; });
    refuse_duplicate_names(tensors, where_);
    return tensors;
  }

 private:
  template <class... Args>
  [[noreturn]] void refuse(std::string_view name, fmt::format_string<Args...> format,
                           Args&&... args) const {
    fail(ErrorCode::kDataLoss, "{}: tensor \"{}\": {}", where_, name,
         fmt::format(format, std::forward<Args>(args)...));
  }

  TensorView tensor(std::string_view name, const JsonValue& entry) {
    if (!entry.is_object()) refuse(name, "expected an object with dtype, shape, data_offsets");
    TensorView view;
    view.name = name;
    view.dtype = dtype(name, entry);
    view.shape = shape(name, entry);
    const Extent extent = data_offsets(name, entry);
    const int64_t count = element_count(view.shape);
    const uint64_t element_bytes = size_of(view.dtype);
    // In elements, not bytes: a product of bytes could overflow where the shape lies.
    const uint64_t got = extent.end - extent.begin;
    if (count < 0 || got % element_bytes != 0 ||
        static_cast<uint64_t>(count) != got / element_bytes) {
      refuse(name, "expected {} bytes of data for {} {}, got {} (data_offsets [{}, {}])",
             count < 0 ? "overflowing" : fmt::format("{} x {}", count, element_bytes),
             name_of(view.dtype), to_string(view.shape), got, extent.begin, extent.end);
    }
    view.bytes = data_.subspan(extent.begin, got);
    extents_.push_back(extent);
    return view;
  }

  DType dtype(std::string_view name, const JsonValue& entry) const {
    const auto value = entry.find("dtype");
    if (!value || !value->is_string()) refuse(name, "dtype: expected a string");
    const std::string_view word = value->string("dtype");
    for (const DType dtype : kDTypes) {
      if (name_of(dtype) == word) return dtype;
    }
    std::vector<std::string_view> known;
    for (const DType dtype : kDTypes) known.push_back(name_of(dtype));
    refuse(name, "dtype: expected one of {}, got \"{}\"", fmt::join(known, " "), word);
  }

  Shape shape(std::string_view name, const JsonValue& entry) const {
    const auto value = entry.find("shape");
    if (!value || !value->is_array()) refuse(name, "shape: expected an array of sizes");
    Shape shape;
    for (const JsonValue& dim : value->elements("shape")) {
      shape.push_back(unsigned_integer(name, "shape", dim));
    }
    return shape;
  }

  Extent data_offsets(std::string_view name, const JsonValue& entry) const {
    const auto value = entry.find("data_offsets");
    if (!value || !value->is_array()) refuse(name, "data_offsets: expected [begin, end]");
    const auto pair = value->elements("data_offsets");
    if (pair.size() != 2) {
      refuse(name, "data_offsets: expected [begin, end], got {} values", pair.size());
    }
    const auto begin = static_cast<uint64_t>(unsigned_integer(name, "data_offsets", pair[0]));
    const auto end = static_cast<uint64_t>(unsigned_integer(name, "data_offsets", pair[1]));
    if (begin > end || end > data_.size()) {
      refuse(name, "data_offsets: expected a range within the {} bytes of data, got [{}, {}]",
             data_.size(), begin, end);
    }
    return {begin, end};
  }

  int64_t unsigned_integer(std::string_view name, std::string_view what,
                           const JsonValue& value) const {
    if (value.kind() == JsonValue::Kind::kInteger) {
      const double rough = value.number(what);  // takes what lies beyond int64, integer() does not
      if (rough >= 0 && rough < 0x1p62) return value.integer(what);
      refuse(name, "{}: expected an integer from 0 to 2^62, got {}", what, rough);
    }
    refuse(name, "{}: expected an integer, got another kind of value", what);
  }

  // Bytes that belong to no tensor could hide a second file, bytes of two tensors a trick.
  void check_coverage(const std::vector<TensorView>& tensors) const {
    std::vector<size_t> order(tensors.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return std::pair(extents_[a].begin, extents_[a].end) <
             std::pair(extents_[b].begin, extents_[b].end);
    });
    uint64_t covered = 0;
    for (const size_t i : order) {
      if (extents_[i].begin != covered) {
        refuse(tensors[i].name, "data_offsets: expected to begin at {}, got {}: {}", covered,
               extents_[i].begin,
               extents_[i].begin < covered ? "tensors overlap" : "bytes in between are unused");
      }
      covered = extents_[i].end;
    }
    if (covered != data_.size()) {
      fail(ErrorCode::kDataLoss, "{}: expected {} bytes of data as the header says, got {}", where_,
           covered, data_.size());
    }
  }

  std::string_view where_;
  std::span<const std::byte> header_;
  std::span<const std::byte> data_;
  std::vector<Extent> extents_;  // one a tensor
};

}  // namespace

std::vector<TensorView> parse_safetensors(std::span<const std::byte> file, std::string_view where) {
  return Parser(file, where).parse();
}

}  // namespace tamis::io

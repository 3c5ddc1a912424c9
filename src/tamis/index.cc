#include "tamis/index.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "base/fail.h"
#include "base/host.h"
#include "base/thread_pool.h"
#include "io/file_map.h"
#include "io/json.h"
#include "io/npy.h"
#include "kernels/kernels.h"
#include "numeric/dtype.h"
#include "tamis/index_files.h"

namespace tamis {
namespace {

namespace fs = std::filesystem;

/// A file of numbers, mapped. Its bytes may be aligned to nothing but pages begin at their start.
template <class T>
std::span<const T> numbers_of(const io::FileMap& file, size_t offset = 0) {
  return {reinterpret_cast<const T*>(file.bytes().data() + offset),
          (file.bytes().size() - offset) / sizeof(T)};
}

io::FileMap open_sized(const fs::path& path, size_t bytes) {
  io::FileMap file = io::FileMap::open(path);
  if (file.bytes().size() != bytes) {
    fail(ErrorCode::kDataLoss, "{}: expected {} bytes, got {}: build the index again",
         path.string(), bytes, file.bytes().size());
  }
  return file;
}

/// Offsets that begin with 0, ascend, and end with `end`.
void check_offsets(const io::FileMap& file, size_t end) {
  const auto offsets = numbers_of<uint64_t>(file);
  if (offsets.empty() || offsets.front() != 0 || offsets.back() != end ||
      !std::is_sorted(offsets.begin(), offsets.end())) {
    fail(ErrorCode::kDataLoss, "{}: offsets do not ascend from 0 to {}: build the index again",
         file.path().string(), end);
  }
}

bool better(const Hit& a, const Hit& b) {
  return a.score != b.score ? a.score > b.score : a.place < b.place;
}

/// The k best of what `score(place)` says for [0, count) where `counts(place)`.
template <class Score, class Counts>
std::vector<Hit> best(size_t count, size_t k, const Score& score, const Counts& counts) {
  std::vector<Hit> heap;  // the worst of the best first
  for (size_t i = 0; i < count && k > 0; ++i) {
    if (!counts(i)) continue;
    const Hit hit{i, score(i)};
    if (heap.size() == k && !better(hit, heap.front())) continue;
    if (heap.size() == k) {
      std::pop_heap(heap.begin(), heap.end(), better);
      heap.pop_back();
    }
    heap.push_back(hit);
    std::push_heap(heap.begin(), heap.end(), better);
  }
  std::sort(heap.begin(), heap.end(), better);
  return heap;
}

}  // namespace

struct PassageIndex::Impl {
  explicit Impl(int threads) : pool(threads > 0 ? threads : usable_cores()) {}

  std::vector<float> dense_scores(std::span<const float> query) const;
  std::vector<float> sparse_scores(const SparseVector& query) const;

  fs::path directory;
  std::string model, pooling;
  size_t count = 0;
  size_t dimension = 0;
  bool normalized = false, half = false, sparse = false;
  std::optional<io::FileMap> dense, passages, offsets, postings, places, weights;
  mutable ThreadPool pool;
};

PassageIndex::PassageIndex(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PassageIndex::PassageIndex(PassageIndex&&) noexcept = default;
PassageIndex& PassageIndex::operator=(PassageIndex&&) noexcept = default;
PassageIndex::~PassageIndex() = default;

PassageIndex PassageIndex::open(const fs::path& directory, int threads) {
  auto impl = std::make_unique<Impl>(threads);
  Impl& x = *impl;
  x.directory = directory;
  const fs::path manifest = directory / kIndexManifest;
  const auto document = io::JsonDocument::parse(io::read_text_file(manifest), manifest.string());
  const io::JsonValue root = document.root();
  const int64_t format = root.at("format").integer("format");
  if (format != kIndexFormat) {
    fail(ErrorCode::kUnimplemented, "{}: format {}, expected {}: build the index again",
         manifest.string(), format, kIndexFormat);
  }
  const auto size_at = [&](const char* key) {
    const int64_t value = root.at(key).integer(key);
    if (value < 0 || value > (int64_t{1} << 32)) {
      fail(ErrorCode::kDataLoss, "{}: {} is {}", manifest.string(), key, value);
    }
    return static_cast<size_t>(value);
  };
  x.count = size_at("passages");
  x.dimension = size_at("dimension");
  x.model = root.string_or("model", "");
  x.pooling = root.string_or("pooling", "");
  x.normalized = root.boolean_or("normalized", false);
  x.half = root.string_or("number", "f32") == "f16";
  x.sparse = root.boolean_or("sparse", false);
  x.offsets = open_sized(directory / kIndexPassageOffsets, (x.count + 1) * sizeof(uint64_t));
  x.passages = io::FileMap::open(directory / kIndexPassages);
  check_offsets(*x.offsets, x.passages->bytes().size());
  if (x.dimension > 0) {
    x.dense = open_sized(directory / kIndexDense,
                         io::kNpyHeaderBytes + x.count * x.dimension * (x.half ? 2 : 4));
    const std::string header = io::npy_header(x.half, x.count, x.dimension);
    if (x.dense->text().substr(0, io::kNpyHeaderBytes) != header) {
      fail(ErrorCode::kDataLoss, "{}: its header does not fit {}: build the index again",
           (directory / kIndexDense).string(), manifest.string());
    }
  }
  if (x.sparse) {
    x.places = io::FileMap::open(directory / kIndexSparsePassages);
    const size_t all = numbers_of<uint32_t>(*x.places).size();
    x.weights = open_sized(directory / kIndexSparseWeights, all * sizeof(float));
    x.postings = io::FileMap::open(directory / kIndexSparseOffsets);
    check_offsets(*x.postings, all);
  }
  return PassageIndex(std::move(impl));
}

size_t PassageIndex::size() const { return impl_->count; }
size_t PassageIndex::dimension() const { return impl_->dimension; }
bool PassageIndex::has_sparse() const { return impl_->sparse; }
const std::string& PassageIndex::model() const { return impl_->model; }
bool PassageIndex::normalized() const { return impl_->normalized; }
std::string PassageIndex::pooling() const { return impl_->pooling; }

Passage PassageIndex::passage(size_t place) const {
  const Impl& x = *impl_;
  if (place >= x.count) {
    fail(ErrorCode::kInvalidArgument, "passage {} of an index of {}", place, x.count);
  }
  const auto offsets = numbers_of<uint64_t>(*x.offsets);
  const std::string_view line =
      x.passages->text().substr(offsets[place], offsets[place + 1] - offsets[place]);
  const auto document =
      io::JsonDocument::parse(line, fmt::format("{}:{}", x.passages->path().string(), place + 1));
  return {std::string(document.root().at("id").string("id")),
          std::string(document.root().at("text").string("text"))};
}

std::vector<float> PassageIndex::Impl::dense_scores(std::span<const float> query) const {
  if (dimension == 0) {
    fail(ErrorCode::kInvalidArgument, "{}: the index has no dense vectors", directory.string());
  }
  if (query.size() != dimension) {
    fail(ErrorCode::kInvalidArgument, "{}: vectors have {} numbers, the query has {}",
         directory.string(), dimension, query.size());
  }
  const kernels::KernelTable& table = *kernels::supported_tables().front();
  const auto width = static_cast<int64_t>(dimension);
  const std::byte* rows = dense->bytes().data() + io::kNpyHeaderBytes;
  std::vector<float> out(count);
  constexpr size_t kRows = 1024;
  pool.parallel_for((count + kRows - 1) / kRows, [&](size_t block, int) {
    std::vector<float> wide(half ? dimension : 0);
    for (size_t i = block * kRows; i < std::min(count, (block + 1) * kRows); ++i) {
      const float* row = reinterpret_cast<const float*>(rows) + i * dimension;
      if (half) {
        table.to_f32(DType::kF16, rows + i * dimension * 2, width, wide.data());
        row = wide.data();
      }
      out[i] = table.dot(query.data(), row, width);
    }
  });
  return out;
}

/// 0 where no token is shared.
std::vector<float> PassageIndex::Impl::sparse_scores(const SparseVector& query) const {
  if (!sparse) {
    fail(ErrorCode::kInvalidArgument, "{}: the index has no lexical weights", directory.string());
  }
  const auto starts = numbers_of<uint64_t>(*postings);
  const auto where = numbers_of<uint32_t>(*places);
  const auto weight = numbers_of<float>(*weights);
  std::vector<float> out(count, 0.0f);
  for (size_t i = 0; i < query.ids.size(); ++i) {
    const auto id = static_cast<size_t>(query.ids[i]);
    if (query.ids[i] < 0 || id + 1 >= starts.size()) continue;
    for (uint64_t p = starts[id]; p < starts[id + 1]; ++p) {
      if (where[p] >= count) {
        fail(ErrorCode::kDataLoss, "{}: a posting of token {} names passage {} of {}",
             places->path().string(), id, where[p], count);
      }
      out[where[p]] += query.weights[i] * weight[p];
    }
  }
  return out;
}

std::vector<Hit> PassageIndex::search(std::span<const float> query, size_t k) const {
  const auto scores = impl_->dense_scores(query);
  return best(
      impl_->count, k, [&](size_t i) { return scores[i]; }, [](size_t) { return true; });
}

std::vector<Hit> PassageIndex::search(const SparseVector& query, size_t k) const {
  const auto scores = impl_->sparse_scores(query);
  const auto score = [&](size_t i) { return scores[i]; };
  return best(impl_->count, k, score, [&](size_t i) { return scores[i] > 0; });
}

std::vector<Hit> PassageIndex::search(std::span<const float> dense, const SparseVector& sparse,
                                      double dense_weight, double sparse_weight, size_t k) const {
  const auto left = impl_->dense_scores(dense);
  const auto right = impl_->sparse_scores(sparse);
  const auto score = [&](size_t i) {
    return static_cast<float>(dense_weight * static_cast<double>(left[i]) +
                              sparse_weight * static_cast<double>(right[i]));
  };
  return best(impl_->count, k, score, [](size_t) { return true; });
}

}  // namespace tamis

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "base/fail.h"
#include "io/file_writer.h"
#include "io/json_writer.h"
#include "io/npy.h"
#include "numeric/dtype.h"
#include "tamis/index.h"
#include "tamis/index_files.h"

namespace tamis {
namespace {

namespace fs = std::filesystem;

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

void write_whole(const fs::path& path, std::span<const std::byte> bytes) {
  io::FileWriter file(path);
  file.append(bytes);
  file.finish();
}

struct Posting {
  int32_t id;
  uint32_t passage;
  float weight;
};

}  // namespace

struct IndexWriter::Impl {
  Impl(const fs::path& where, const Embedder& e, const IndexOptions& o)
      : directory(where), embedder(e), options(o), passages(where / kIndexPassages) {}

  void add_dense(const Embeddings& embeddings);
  void add_sparse(const Embeddings& embeddings);
  void write_sparse();
  void write_manifest() const;

  fs::path directory;
  const Embedder& embedder;
  IndexOptions options;
  io::FileWriter passages;
  std::vector<uint64_t> offsets{0};
  std::unique_ptr<io::FileWriter> dense;
  size_t dimension = 0;
  std::vector<Posting> postings;
};

IndexWriter::IndexWriter(const fs::path& directory, const Embedder& embedder,
                         const IndexOptions& options) {
  if (!options.dense && !options.sparse) {
    fail(ErrorCode::kInvalidArgument, "an index needs dense vectors, lexical weights or both");
  }
  std::error_code error;
  if (fs::exists(directory, error) &&
      (!fs::is_directory(directory, error) || !fs::is_empty(directory, error))) {
    fail(ErrorCode::kInvalidArgument,
         "{}: expected a directory that is not there yet or is empty; give another name or remove "
         "it",
         directory.string());
  }
  fs::create_directories(directory, error);
  if (error) {
    fail(ErrorCode::kUnavailable, "{}: cannot be made: {}", directory.string(), error.message());
  }
  impl_ = std::make_unique<Impl>(directory, embedder, options);
  if (options.dense) {
    impl_->dense = std::make_unique<io::FileWriter>(directory / kIndexDense);
    impl_->dense->append(io::npy_header(options.half, 0, 0));
  }
}

IndexWriter::~IndexWriter() = default;

void IndexWriter::Impl::add_dense(const Embeddings& embeddings) {
  dimension = embeddings.dimension;
  if (!options.half) {
    dense->append(bytes_of(embeddings.values));
    return;
  }
  std::vector<uint16_t> narrow(embeddings.values.size());
  convert_from_f32(DType::kF16, embeddings.values.data(),
                   reinterpret_cast<std::byte*>(narrow.data()), narrow.size());
  dense->append(bytes_of(narrow));
}

void IndexWriter::Impl::add_sparse(const Embeddings& embeddings) {
  const size_t first = offsets.size() - 1;
  for (size_t i = 0; i < embeddings.sparse.size(); ++i) {
    const SparseVector& v = embeddings.sparse[i];
    for (size_t j = 0; j < v.ids.size(); ++j) {
      postings.push_back({v.ids[j], static_cast<uint32_t>(first + i), v.weights[j]});
    }
  }
}

void IndexWriter::add(std::span<const Passage> passages, RunStats* stats) {
  Impl& w = *impl_;
  std::vector<std::string> whole;
  for (const Passage& p : passages) whole.push_back(w.options.prefix + p.text);
  const std::vector<std::string_view> texts(whole.begin(), whole.end());
  EmbedOptions embed = w.options.embed;
  embed.dense = w.options.dense;
  embed.sparse = w.options.sparse;
  embed.colbert = false;
  const Embeddings embeddings = w.embedder.embed(texts, embed, stats);
  if (w.dense) w.add_dense(embeddings);
  if (w.options.sparse) w.add_sparse(embeddings);
  std::string lines;
  for (const Passage& p : passages) {
    io::JsonWriter json(lines);
    json.begin_object().key("id").string(p.id).key("text").string(p.text).end_object();
    lines += '\n';
    w.offsets.push_back(w.passages.size() + lines.size());
  }
  w.passages.append(lines);
}

// Sorted by token id and then by passage: the postings of a query's token lie together.
void IndexWriter::Impl::write_sparse() {
  std::stable_sort(postings.begin(), postings.end(),
                   [](const Posting& a, const Posting& b) { return a.id < b.id; });
  const size_t ids = postings.empty() ? 0 : static_cast<size_t>(postings.back().id) + 1;
  std::vector<uint64_t> starts(ids + 1, 0);
  for (const Posting& p : postings) ++starts[static_cast<size_t>(p.id) + 1];
  for (size_t i = 0; i < ids; ++i) starts[i + 1] += starts[i];
  write_whole(directory / kIndexSparseOffsets, bytes_of(starts));
  std::vector<uint32_t> places;
  std::vector<float> weights;
  places.reserve(postings.size());
  weights.reserve(postings.size());
  for (const Posting& p : postings) {
    places.push_back(p.passage);
    weights.push_back(p.weight);
  }
  write_whole(directory / kIndexSparsePassages, bytes_of(places));
  write_whole(directory / kIndexSparseWeights, bytes_of(weights));
}

void IndexWriter::Impl::write_manifest() const {
  const ModelInfo& info = embedder.info();
  std::string text;
  io::JsonWriter json(text, 2);
  json.begin_object().key("format").integer(kIndexFormat);
  json.key("passages").unsigned_integer(offsets.size() - 1);
  json.key("model").string(fs::absolute(info.directory).string());
  json.key("pooling").string(info.pooling);
  json.key("prefix").string(options.prefix);
  json.key("normalized").boolean(options.embed.normalize.value_or(info.normalize));
  json.key("dimension").unsigned_integer(dimension);
  json.key("number").string(options.half ? "f16" : "f32");
  json.key("sparse").boolean(options.sparse).end_object();
  text += '\n';
  write_whole(directory / kIndexManifest, std::as_bytes(std::span(text.data(), text.size())));
}

void IndexWriter::finish() {
  Impl& w = *impl_;
  if (w.dense) {
    const std::string header = io::npy_header(w.options.half, w.offsets.size() - 1, w.dimension);
    w.dense->overwrite(0, std::as_bytes(std::span(header.data(), header.size())));
    w.dense->finish();
  }
  w.passages.finish();
  write_whole(w.directory / kIndexPassageOffsets, bytes_of(w.offsets));
  if (w.options.sparse) w.write_sparse();
  w.write_manifest();  // last: an index without it is none
}

}  // namespace tamis

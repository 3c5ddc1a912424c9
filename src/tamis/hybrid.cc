// BGE-M3's scores of pairs. FlagEmbedding multiplies every query of a batch with every passage and
// keeps the diagonal; here a pair is all that is computed.

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "base/fail.h"
#include "tamis/embedder_impl.h"

namespace tamis {
namespace {

/// Vectors of tokens are kept for a window of pairs: at 1,024 numbers a token this many characters
/// come to some 200 MB.
constexpr size_t kWindowBytes = size_t{1} << 17;
constexpr size_t kWindowPairs = 1024;

/// Each distinct text once, and which one every pair has.
struct Distinct {
  std::vector<std::string_view> texts;
  std::vector<size_t> of_pair;
  size_t bytes = 0;

  bool add(std::string_view text) {
    const auto [at, is_new] = known_.emplace(text, texts.size());
    if (is_new) {
      texts.push_back(text);
      bytes += text.size();
    }
    of_pair.push_back(at->second);
    return is_new;
  }

 private:
  std::unordered_map<std::string_view, size_t> known_;
};

void check_weights(const HybridOptions& o) {
  for (double w : {o.dense_weight, o.sparse_weight, o.colbert_weight}) {
    if (!std::isfinite(w) || w < 0) {
      fail(ErrorCode::kInvalidArgument, "a weight is {}; expected a number of at least 0", w);
    }
  }
  if (o.dense_weight + o.sparse_weight + o.colbert_weight == 0) {
    fail(ErrorCode::kInvalidArgument, "the weights of dense, sparse and colbert are all 0");
  }
}

HybridScore score_of(const Embeddings& queries, size_t q, const Embeddings& passages, size_t p,
                     const HybridOptions& o) {
  HybridScore out;
  out.dense = dot_product(queries.row(q), passages.row(p));
  out.sparse = lexical_score(queries.sparse[q], passages.sparse[p]);
  out.colbert = colbert_score(queries.colbert(q), passages.colbert(p));
  const double two = o.dense_weight + o.sparse_weight;
  const double both = o.dense_weight * out.dense + o.sparse_weight * out.sparse;
  out.sparse_dense = two > 0 ? both / two : 0;
  out.all = (both + o.colbert_weight * out.colbert) / (two + o.colbert_weight);
  return out;
}

}  // namespace

std::vector<HybridScore> Embedder::score(std::span<const TextPair> pairs,
                                         const HybridOptions& options, RunStats* stats) const {
  check_weights(options);
  EmbedOptions embed_options = options.embed;
  embed_options.dense = embed_options.sparse = embed_options.colbert = true;
  std::vector<HybridScore> out;
  // Within a window as well, for this is how a caller cancels.
  embed_options.progress = [&](size_t, size_t) {
    if (options.embed.progress) options.embed.progress(out.size(), pairs.size());
  };
  const auto embed_texts = [&](const Distinct& distinct, size_t max_length, RunStats& sum) {
    RunStats part;
    embed_options.max_length = max_length;
    Embeddings embedded = embed(distinct.texts, embed_options, &part);
    sum += part;
    return embedded;
  };
  RunStats sum;
  while (out.size() < pairs.size()) {
    if (options.embed.progress) options.embed.progress(out.size(), pairs.size());
    Distinct queries, passages;
    for (size_t i = out.size(); i < pairs.size() && queries.of_pair.size() < kWindowPairs; ++i) {
      if (queries.bytes + passages.bytes > kWindowBytes) break;
      queries.add(pairs[i].query);
      passages.add(pairs[i].passage);
    }
    const Embeddings q = embed_texts(queries, options.max_query_length, sum);
    const Embeddings p = embed_texts(passages, options.max_passage_length, sum);
    for (size_t i = 0; i < queries.of_pair.size(); ++i) {
      out.push_back(score_of(q, queries.of_pair[i], p, passages.of_pair[i], options));
    }
  }
  if (options.embed.progress) options.embed.progress(out.size(), pairs.size());
  if (stats != nullptr) *stats = sum;
  return out;
}

}  // namespace tamis

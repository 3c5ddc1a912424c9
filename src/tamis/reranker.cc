#include "tamis/reranker.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "batch/pair_rule.h"
#include "tamis/embedder_impl.h"
#include "tamis/tokenizer_access.h"

namespace tamis {
namespace {

double sigmoid(float logit) { return 1.0 / (1.0 + std::exp(-static_cast<double>(logit))); }

using Results = std::vector<RerankResult>;

/// Best first; a model with several labels has no best, so its results stay in order of index.
void rank(Results& results, bool one_label, size_t top_n) {
  if (one_label) {
    std::stable_sort(results.begin(), results.end(),
                     [](const auto& a, const auto& b) { return a.logit > b.logit; });
  }
  if (top_n > 0 && results.size() > top_n) results.resize(top_n);
}

size_t count_truncated(const std::vector<Results>& all) {
  size_t n = 0;
  for (const Results& results : all) {
    for (const RerankResult& result : results) n += result.truncated;
  }
  return n;
}

}  // namespace

struct Reranker::Impl {
  std::shared_ptr<const Session> session;

  /// Ids of (query, passage) inputs for a cross-encoder, in order of request, passage and chunk.
  Inputs pair_inputs(std::span<const RerankRequest> requests, const RerankOptions& options,
                     size_t max_length, std::vector<Results>& all, RunStats& stats) const;
  /// For an embedder: each query, followed by its passages, each in its chunks.
  Inputs single_inputs(std::span<const RerankRequest> requests, const RerankOptions& options,
                       size_t max_length, std::vector<Results>& all, RunStats& stats) const;
};

Reranker::Reranker(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Reranker::Reranker(Reranker&&) noexcept = default;
Reranker& Reranker::operator=(Reranker&&) noexcept = default;
Reranker::~Reranker() = default;

namespace {

void require_scores(const Session& session) {
  if (session.engine->model().spec.pooling != Pooling::kSplade) return;
  fail(ErrorCode::kUnimplemented, "{}: a SPLADE model gives lexical weights: use Embedder",
       session.info.directory.string());
}

}  // namespace

Reranker Reranker::load(const std::filesystem::path& directory, const LoadOptions& options) {
  auto impl = std::make_shared<Impl>();
  impl->session = Session::load(directory, options);
  require_scores(*impl->session);
  return Reranker(std::move(impl));
}

Reranker Reranker::of(const Embedder& embedder) {
  auto impl = std::make_shared<Impl>();
  impl->session = embedder.impl_->session;
  require_scores(*impl->session);
  return Reranker(std::move(impl));
}

const ModelInfo& Reranker::info() const { return impl_->session->info; }
MemoryPlan Reranker::memory_plan() const { return impl_->session->engine->plan(); }
ModelPlace& Reranker::place() const { return *impl_->session->place; }
Tokenizer Reranker::tokenizer() const { return TokenizerAccess::of(impl_->session->tokenizer); }

size_t Reranker::effective_max_length(size_t max_length) const {
  const Session& s = *impl_->session;
  const size_t least = info().kind == ModelKind::kCrossEncoder ? s.tokenizer->pair_overhead()
                                                               : s.tokenizer->single_overhead();
  return s.clamp_length(max_length, least);
}

namespace {

[[noreturn]] void refuse_long(size_t request, size_t passage, size_t tokens, size_t max_length) {
  fail(ErrorCode::kInvalidArgument,
       "request {}, passage {}: {} tokens with the query and special ones, and max_length is {}",
       request, passage, tokens, max_length);
}

/// The windows of a passage in `room` ids; one where they are not asked for.
std::vector<std::span<const int32_t>> chunks_of(std::span<const int32_t> passage, size_t room,
                                                const RerankOptions& options) {
  if (options.long_passages == LongText::kChunk && room > 0) return windows(passage, room);
  return {passage};
}

}  // namespace

Inputs Reranker::Impl::pair_inputs(std::span<const RerankRequest> requests,
                                   const RerankOptions& options, size_t max_length,
                                   std::vector<Results>& all, RunStats& stats) const {
  const text::Tokenizer& tokenizer = *session->tokenizer;
  const PairLimits limits{max_length, options.query_max_length, tokenizer.pair_overhead(),
                          options.keep_end};
  const bool chunk = options.long_passages == LongText::kChunk;
  Inputs inputs;
  std::vector<int32_t> query, query_cut, passage, none;
  for (size_t i = 0; i < requests.size(); ++i) {
    query.clear();
    stats.utf8_replacements += tokenizer.encode(requests[i].query, query);
    for (size_t j = 0; j < requests[i].passages.size(); ++j) {
      passage.clear();
      stats.utf8_replacements += tokenizer.encode(requests[i].passages[j], passage);
      const size_t whole = query.size() + passage.size() + limits.overhead;
      query_cut = query;
      RerankResult& result = all[i][j];
      result.truncated = cut_pair(query_cut, chunk ? none : passage, limits);
      if (result.truncated && options.long_passages == LongText::kRefuse) {
        refuse_long(i, j, whole, max_length);
      }
      const size_t room = max_length - limits.overhead - query_cut.size();
      const auto chunks = chunks_of(passage, room, options);
      result.chunks = chunks.size();
      for (const auto& window : chunks) {
        inputs.add(tokenizer.build_pair(query_cut, window));
        result.tokens += inputs.tokens_of(inputs.size() - 1);
      }
    }
  }
  return inputs;
}

Inputs Reranker::Impl::single_inputs(std::span<const RerankRequest> requests,
                                     const RerankOptions& options, size_t max_length,
                                     std::vector<Results>& all, RunStats& stats) const {
  const text::Tokenizer& tokenizer = *session->tokenizer;
  const size_t overhead = tokenizer.single_overhead();
  Inputs inputs;
  std::vector<int32_t> ids;
  const auto cut = [&](std::string_view text) {
    ids.clear();
    stats.utf8_replacements += tokenizer.encode(text, ids);
  };
  for (size_t i = 0; i < requests.size(); ++i) {
    cut(requests[i].query);
    const bool query_cut = cut_single(ids, max_length, overhead);
    inputs.add(tokenizer.build_single(ids));
    for (size_t j = 0; j < requests[i].passages.size(); ++j) {
      cut(requests[i].passages[j]);
      const size_t whole = ids.size() + overhead;
      RerankResult& result = all[i][j];
      result.truncated = query_cut;
      if (options.long_passages != LongText::kChunk) {
        result.truncated |= cut_single(ids, max_length, overhead, options.keep_end);
      }
      if (result.truncated && options.long_passages == LongText::kRefuse) {
        refuse_long(i, j, whole, max_length);
      }
      const auto chunks = chunks_of(ids, max_length - overhead, options);
      result.chunks = chunks.size();
      for (const auto& window : chunks) {
        inputs.add(tokenizer.build_single(window));
        result.tokens += inputs.tokens_of(inputs.size() - 1);
      }
    }
  }
  return inputs;
}

namespace {

/// Of a passage's chunks the best one counts.
void fill_logits(std::span<const float> outputs, size_t labels, std::vector<Results>& all) {
  size_t row = 0;
  for (Results& results : all) {
    for (RerankResult& result : results) {
      for (size_t chunk = 0; chunk < result.chunks; ++chunk) {
        const auto logits = outputs.subspan(row++ * labels, labels);
        if (chunk > 0 && !(logits[0] > result.logit)) continue;
        result.logit = logits[0];
        if (labels > 1) result.logits.assign(logits.begin(), logits.end());
      }
      result.score = sigmoid(result.logit);
    }
  }
}

float cosine(std::span<const float> a, std::span<const float> b) {
  double dot = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    dot += static_cast<double>(a[i]) * b[i];
    aa += static_cast<double>(a[i]) * a[i];
    bb += static_cast<double>(b[i]) * b[i];
  }
  return static_cast<float>(dot / std::max(std::sqrt(aa) * std::sqrt(bb), 1e-12));
}

void fill_cosines(std::span<const float> outputs, size_t size, std::vector<Results>& all) {
  size_t row = 0;
  for (Results& results : all) {
    const auto query = outputs.subspan(row++ * size, size);
    for (RerankResult& result : results) {
      for (size_t chunk = 0; chunk < result.chunks; ++chunk) {
        const float near = cosine(query, outputs.subspan(row++ * size, size));
        if (chunk == 0 || near > result.logit) result.logit = near;
      }
      result.score = static_cast<double>(result.logit);
    }
  }
}

}  // namespace

std::vector<Results> Reranker::rerank(std::span<const RerankRequest> requests,
                                      const RerankOptions& options, RunStats* stats) const {
  std::vector<Results> all(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    if (requests[i].passages.empty()) {
      fail(ErrorCode::kInvalidArgument, "request {}: no passages to rerank", i);
    }
    all[i].resize(requests[i].passages.size());
    for (size_t j = 0; j < all[i].size(); ++j) all[i][j].index = j;
  }
  const std::shared_ptr<Impl> alive = impl_;  // should the reranker be destroyed meanwhile
  const Session& session = *alive->session;
  const bool pairs = info().kind == ModelKind::kCrossEncoder;
  const size_t max_length = effective_max_length(options.max_length);
  RunStats run;
  const Stopwatch tokenizing;
  const Inputs inputs = pairs ? alive->pair_inputs(requests, options, max_length, all, run)
                              : alive->single_inputs(requests, options, max_length, all, run);
  run.tokenize_ms = tokenizing.ms();
  const Stopwatch inferring;
  const RunResult result = session.engine->run(inputs.views(), session.run_options(options));
  const auto width = static_cast<size_t>(session.engine->model().output_size());
  if (pairs) {
    fill_logits(result.values, width, all);
  } else {
    fill_cosines(result.values, width, all);
  }
  run.queue_ms = result.queue_ms;
  run.inference_ms = inferring.ms() - run.queue_ms;
  run.truncated = count_truncated(all);
  run.sequences = inputs.size();
  for (size_t i = 0; i < inputs.size(); ++i) run.tokens += inputs.tokens_of(i);
  for (Results& results : all) rank(results, !pairs || width == 1, options.top_n);
  if (stats != nullptr) *stats = run;
  return all;
}

Results Reranker::rerank(std::string_view query, std::span<const std::string_view> passages,
                         const RerankOptions& options, RunStats* stats) const {
  const RerankRequest request{query, {passages.begin(), passages.end()}};
  return std::move(rerank(std::span(&request, 1), options, stats).front());
}

}  // namespace tamis

#include "tamis/reranker.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "engine/pair_rule.h"
#include "tamis/session.h"

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
  Session session;

  /// Ids of (query, passage) inputs for a cross-encoder, in order of request and passage.
  Inputs pair_inputs(std::span<const RerankRequest> requests, const PairLimits& limits,
                     std::vector<Results>& all, RunStats& stats) const;
  /// For an embedder: each query, followed by its passages.
  Inputs single_inputs(std::span<const RerankRequest> requests, size_t max_length,
                       std::vector<Results>& all, RunStats& stats) const;
};

Reranker::Reranker(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Reranker::Reranker(Reranker&&) noexcept = default;
Reranker& Reranker::operator=(Reranker&&) noexcept = default;
Reranker::~Reranker() = default;

Reranker Reranker::load(const std::filesystem::path& directory, const LoadOptions& options) {
  auto impl = std::make_shared<Impl>();
  impl->session = Session::load(directory, options);
  if (impl->session.engine->model().spec.pooling == Pooling::kSplade) {
    fail(ErrorCode::kUnimplemented, "{}: a SPLADE model gives lexical weights: use Embedder",
         directory.string());
  }
  return Reranker(std::move(impl));
}

const ModelInfo& Reranker::info() const { return impl_->session.info; }
MemoryPlan Reranker::memory_plan() const { return impl_->session.engine->plan(); }
ModelPlace& Reranker::place() const { return *impl_->session.place; }

size_t Reranker::effective_max_length(size_t max_length) const {
  const Session& s = impl_->session;
  const size_t least = info().kind == ModelKind::kCrossEncoder ? s.tokenizer->pair_overhead()
                                                               : s.tokenizer->single_overhead();
  return s.clamp_length(max_length, least);
}

Inputs Reranker::Impl::pair_inputs(std::span<const RerankRequest> requests,
                                   const PairLimits& limits, std::vector<Results>& all,
                                   RunStats& stats) const {
  const text::Tokenizer& tokenizer = *session.tokenizer;
  Inputs inputs;
  std::vector<int32_t> query, query_cut, passage;
  for (size_t i = 0; i < requests.size(); ++i) {
    query.clear();
    stats.utf8_replacements += tokenizer.encode(requests[i].query, query);
    for (size_t j = 0; j < requests[i].passages.size(); ++j) {
      passage.clear();
      stats.utf8_replacements += tokenizer.encode(requests[i].passages[j], passage);
      query_cut = query;
      RerankResult& result = all[i][j];
      result.truncated = cut_pair(query_cut, passage, limits);
      inputs.add(tokenizer.build_pair(query_cut, passage));
      result.tokens = inputs.tokens_of(inputs.size() - 1);
    }
  }
  return inputs;
}

Inputs Reranker::Impl::single_inputs(std::span<const RerankRequest> requests, size_t max_length,
                                     std::vector<Results>& all, RunStats& stats) const {
  const text::Tokenizer& tokenizer = *session.tokenizer;
  Inputs inputs;
  std::vector<int32_t> ids;
  auto add = [&](std::string_view text) {
    ids.clear();
    stats.utf8_replacements += tokenizer.encode(text, ids);
    const bool cut = cut_single(ids, max_length, tokenizer.single_overhead());
    inputs.add(tokenizer.build_single(ids));
    return cut;
  };
  for (size_t i = 0; i < requests.size(); ++i) {
    const bool query_cut = add(requests[i].query);
    for (size_t j = 0; j < requests[i].passages.size(); ++j) {
      RerankResult& result = all[i][j];
      result.truncated = add(requests[i].passages[j]) || query_cut;
      result.tokens = inputs.tokens_of(inputs.size() - 1);
    }
  }
  return inputs;
}

namespace {

void fill_logits(std::span<const float> outputs, size_t labels, std::vector<Results>& all) {
  size_t row = 0;
  for (Results& results : all) {
    for (RerankResult& result : results) {
      const auto logits = outputs.subspan(row++ * labels, labels);
      result.logit = logits[0];
      result.score = sigmoid(logits[0]);
      if (labels > 1) result.logits.assign(logits.begin(), logits.end());
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
      result.logit = cosine(query, outputs.subspan(row++ * size, size));
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
  const Session& session = alive->session;
  const bool pairs = info().kind == ModelKind::kCrossEncoder;
  const size_t max_length = effective_max_length(options.max_length);
  RunStats run;
  const Stopwatch tokenizing;
  const PairLimits limits{max_length, options.query_max_length, session.tokenizer->pair_overhead()};
  const Inputs inputs = pairs ? impl_->pair_inputs(requests, limits, all, run)
                              : impl_->single_inputs(requests, max_length, all, run);
  run.tokenize_ms = tokenizing.ms();
  const Stopwatch inferring;
  const auto outputs = session.engine->run(inputs.views(), session.run_options(options)).values;
  const auto width = static_cast<size_t>(session.engine->model().output_size());
  if (pairs) {
    fill_logits(outputs, width, all);
  } else {
    fill_cosines(outputs, width, all);
  }
  run.inference_ms = inferring.ms();
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

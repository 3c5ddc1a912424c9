#include "tamis/embedder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <unordered_map>

#include "base/fail.h"
#include "engine/pair_rule.h"
#include "tamis/embedder_impl.h"

namespace tamis {
namespace {

/// A text is a whole vocabulary of numbers until its positive ones are picked: some 30 MB of
/// BERT's.
constexpr size_t kSpladeTexts = 256;

/// The largest weight of each id that is above 0, ids as they come in the text; BGE-M3 gives none
/// to cls, eos, pad and unk, but one to mask.
SparseVector lexical_weights(std::span<const int32_t> ids, std::span<const float> weights,
                             const text::SpecialTokens& specials) {
  const std::array unused = {specials.cls, specials.eos, specials.pad, specials.unk};
  std::unordered_map<int32_t, size_t> places;
  SparseVector out;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (weights[i] <= 0 || std::find(unused.begin(), unused.end(), ids[i]) != unused.end()) {
      continue;
    }
    const auto [place, is_new] = places.emplace(ids[i], out.ids.size());
    if (is_new) {
      out.ids.push_back(ids[i]);
      out.weights.push_back(weights[i]);
    } else {
      float& weight = out.weights[place->second];
      weight = std::max(weight, weights[i]);
    }
  }
  return out;
}

/// log(1 + max(0, logit)) of each word of the vocabulary that has one [SPLADE, max pooling].
SparseVector splade_weights(std::span<const float> logits) {
  SparseVector out;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] > 0)) continue;
    out.ids.push_back(static_cast<int32_t>(i));
    out.weights.push_back(std::log1p(logits[i]));
  }
  return out;
}

Outputs outputs_for(const EmbedOptions& options, const ModelSpec& spec) {
  if (!options.dense && !options.sparse && !options.colbert) {
    fail(ErrorCode::kInvalidArgument, "nothing to compute: dense, sparse and colbert are all off");
  }
  if (spec.pooling == Pooling::kSplade) {
    if (options.dense || options.colbert || !options.sparse) {
      fail(ErrorCode::kInvalidArgument,
           "{}: a SPLADE model gives lexical weights and nothing else: ask for sparse alone",
           spec.directory.string());
    }
    return Outputs{};
  }
  Outputs out;
  out.vector = options.dense;
  out.token_weights = options.sparse;
  out.token_vectors = options.colbert;
  out.normalize = options.normalize.value_or(spec.normalize);
  out.dimension = options.dimension;
  return out;
}

/// The first `dimension` numbers of each row, behind what is in `to`.
void append_rows(std::span<const float> rows, size_t width, size_t dimension,
                 std::vector<float>& to) {
  if (dimension == width) {
    to.insert(to.end(), rows.begin(), rows.end());
    return;
  }
  for (size_t at = 0; at < rows.size(); at += width) {
    const auto row = rows.subspan(at, dimension);
    to.insert(to.end(), row.begin(), row.end());
  }
}

void fill_dense(RunResult& result, size_t dimension, Embeddings& out) {
  const size_t width = result.layout.vector;
  out.dimension = dimension > 0 ? std::min(dimension, width) : width;
  if (result.layout.of_token() == 0 && out.dimension == width) {
    out.values = std::move(result.values);
    return;
  }
  out.values.reserve(out.count * out.dimension);
  for (size_t i = 0; i < out.count; ++i) {
    append_rows(result.of(i).vector, width, out.dimension, out.values);
  }
}

/// Without the vector of the first token, which has no word.
void fill_colbert(const RunResult& result, size_t dimension, Embeddings& out) {
  const size_t width = result.layout.token_vector;
  out.colbert_dimension = dimension > 0 ? std::min(dimension, width) : width;
  out.colbert_offsets.push_back(0);
  for (size_t i = 0; i < out.count; ++i) {
    out.colbert_offsets.push_back(out.colbert_offsets.back() + out.tokens[i] - 1);
  }
  out.colbert_values.reserve(out.colbert_offsets.back() * out.colbert_dimension);
  for (size_t i = 0; i < out.count; ++i) {
    append_rows(result.of(i).token_vectors.subspan(width), width, out.colbert_dimension,
                out.colbert_values);
  }
}

}  // namespace

Embedder::Embedder(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Embedder::Embedder(Embedder&&) noexcept = default;
Embedder& Embedder::operator=(Embedder&&) noexcept = default;
Embedder::~Embedder() = default;

Embedder Embedder::load(const std::filesystem::path& directory, const LoadOptions& options) {
  auto impl = std::make_shared<Impl>();
  impl->session = Session::load(directory, options);
  if (impl->session.info.kind != ModelKind::kEmbedder) {
    fail(ErrorCode::kInvalidArgument,
         "{}: {} is a cross-encoder: it scores pairs and has no vectors", directory.string(),
         impl->session.info.architecture);
  }
  return Embedder(std::move(impl));
}

const ModelInfo& Embedder::info() const { return impl_->session.info; }
MemoryPlan Embedder::memory_plan() const { return impl_->session.engine->plan(); }
ModelPlace& Embedder::place() const { return *impl_->session.place; }

size_t Embedder::effective_max_length(size_t max_length) const {
  const Session& s = impl_->session;
  const size_t asked = max_length > 0 ? max_length : s.engine->model().spec.default_max_length;
  return s.clamp_length(asked, s.tokenizer->single_overhead());
}

Embeddings Embedder::in_windows(std::span<const std::string_view> texts,
                                const EmbedOptions& options, RunStats* stats) const {
  Embeddings all;
  RunStats sum;
  while (all.count < texts.size()) {
    EmbedOptions some = options;
    const size_t before = all.count;
    if (options.progress) {
      some.progress = [&, before](size_t done, size_t) {
        options.progress(before + done, texts.size());
      };
    }
    RunStats part;
    const size_t count = std::min(kSpladeTexts, texts.size() - before);
    Embeddings window = embed(texts.subspan(before, count), some, &part);
    all.count += window.count;
    all.tokens.insert(all.tokens.end(), window.tokens.begin(), window.tokens.end());
    std::move(window.sparse.begin(), window.sparse.end(), std::back_inserter(all.sparse));
    sum += part;
  }
  if (stats != nullptr) *stats = sum;
  return all;
}

Embeddings Embedder::embed(std::span<const std::string_view> texts, const EmbedOptions& options,
                           RunStats* stats) const {
  const std::shared_ptr<Impl> alive = impl_;  // should the embedder be destroyed meanwhile
  const Session& session = alive->session;
  const ModelSpec& spec = session.engine->model().spec;
  if (spec.pooling == Pooling::kSplade && texts.size() > kSpladeTexts) {
    return in_windows(texts, options, stats);
  }
  const text::Tokenizer& tokenizer = *session.tokenizer;
  const size_t max_length = effective_max_length(options.max_length);
  RunOptions run_options = session.run_options(options);
  run_options.outputs = outputs_for(options, spec);
  RunStats run;
  Embeddings out;
  Inputs inputs;
  std::vector<int32_t> ids;
  const Stopwatch tokenizing;
  for (std::string_view text : texts) {
    ids.clear();
    run.utf8_replacements += tokenizer.encode(text, ids);
    run.truncated += cut_single(ids, max_length, tokenizer.single_overhead());
    inputs.add(tokenizer.build_single(ids));
    out.tokens.push_back(inputs.tokens_of(inputs.size() - 1));
    run.tokens += out.tokens.back();
  }
  run.sequences = texts.size();
  run.tokenize_ms = tokenizing.ms();
  const Stopwatch inferring;
  out.count = texts.size();
  RunResult result = session.engine->run(inputs.views(), run_options);
  run.inference_ms = inferring.ms();
  if (spec.pooling == Pooling::kSplade) {
    for (size_t i = 0; i < out.count; ++i)
      out.sparse.push_back(splade_weights(result.of(i).vector));
  } else if (options.sparse) {
    const std::vector<SequenceView> views = inputs.views();
    for (size_t i = 0; i < out.count; ++i) {
      out.sparse.push_back(
          lexical_weights(views[i].ids, result.of(i).token_weights, tokenizer.special_tokens()));
    }
  }
  if (options.colbert) fill_colbert(result, options.dimension, out);
  if (options.dense) fill_dense(result, options.dimension, out);
  if (stats != nullptr) *stats = run;
  return out;
}

}  // namespace tamis

#include "tamis/embedder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <limits>
#include <unordered_map>

#include "base/fail.h"
#include "batch/pair_rule.h"
#include "tamis/embedder_impl.h"
#include "tamis/tokenizer_access.h"

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
  if (!options.dense && !options.sparse && !options.colbert && !options.hidden_states) {
    fail(ErrorCode::kInvalidArgument, "nothing to compute: dense, sparse and colbert are all off");
  }
  if (spec.pooling == Pooling::kSplade) {
    if (options.dense || options.colbert || options.hidden_states || !options.sparse) {
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
  out.hidden_states = options.hidden_states;
  out.normalize = options.normalize.value_or(spec.normalize && !options.hidden_states);
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

/// ColBERT vectors go without that of the first token, which has no word: `skipped` is 1.
void fill_tokens(const RunResult& result, size_t dimension, size_t skipped, Embeddings& out) {
  const size_t width = result.layout.token_vector;
  out.colbert_dimension = dimension > 0 ? std::min(dimension, width) : width;
  out.colbert_offsets.push_back(0);
  for (size_t i = 0; i < out.count; ++i) {
    out.colbert_offsets.push_back(out.colbert_offsets.back() + out.tokens[i] - skipped);
  }
  out.colbert_values.reserve(out.colbert_offsets.back() * out.colbert_dimension);
  for (size_t i = 0; i < out.count; ++i) {
    append_rows(result.of(i).token_vectors.subspan(skipped * width), width, out.colbert_dimension,
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
  const ModelInfo& info = impl->session->info;
  if (info.kind != ModelKind::kEmbedder) {
    fail(ErrorCode::kInvalidArgument,
         "{}: {} is a cross-encoder: it scores pairs and has no vectors", directory.string(),
         info.architecture);
  }
  return Embedder(std::move(impl));
}

const ModelInfo& Embedder::info() const { return impl_->session->info; }
MemoryPlan Embedder::memory_plan() const { return impl_->session->engine->plan(); }
ModelPlace& Embedder::place() const { return *impl_->session->place; }
Tokenizer Embedder::tokenizer() const { return TokenizerAccess::of(impl_->session->tokenizer); }

size_t Embedder::effective_max_length(size_t max_length) const {
  const Session& s = *impl_->session;
  const size_t asked = max_length > 0 ? max_length : s.engine->model().spec.default_max_length;
  return s.clamp_length(asked, s.tokenizer->single_overhead());
}

namespace {

/// Runs `part(first, count)` on so many texts at once as memory suits, and joins what it gives.
template <class Part>
Embeddings in_windows(size_t texts, size_t window, const EmbedOptions& options, RunStats* stats,
                      const Part& part) {
  Embeddings all;
  RunStats sum;
  do {
    EmbedOptions some = options;
    const size_t before = all.count;
    if (options.progress) {
      some.progress = [&, before](size_t done, size_t) { options.progress(before + done, texts); };
    }
    RunStats run;
    Embeddings next = part(before, std::min(window, texts - before), some, run);
    sum += run;
    if (before == 0 && next.count == texts) {
      all = std::move(next);
      break;
    }
    all.count += next.count;
    all.tokens.insert(all.tokens.end(), next.tokens.begin(), next.tokens.end());
    std::move(next.sparse.begin(), next.sparse.end(), std::back_inserter(all.sparse));
  } while (all.count < texts);
  if (stats != nullptr) *stats = sum;
  return all;
}

/// How many texts run together.
size_t window_of(const ModelSpec& spec) {
  return spec.pooling == Pooling::kSplade ? kSpladeTexts : std::numeric_limits<size_t>::max();
}

void check_ids(std::span<const int32_t> ids, size_t text, size_t max_length, int64_t vocab) {
  if (ids.empty()) fail(ErrorCode::kInvalidArgument, "text {}: no token ids", text);
  if (ids.size() > max_length) {
    fail(ErrorCode::kInvalidArgument, "text {}: {} token ids, and max_length is {}", text,
         ids.size(), max_length);
  }
  for (int32_t id : ids) {
    if (id >= 0 && id < vocab) continue;
    fail(ErrorCode::kInvalidArgument,
         "text {}: token id {} is none of this model, whose ids are 0 to {}", text, id, vocab - 1);
  }
}

}  // namespace

text::Encoding Embedder::Impl::encode(std::string_view text, const EmbedOptions& options,
                                      size_t max_length, RunStats& run) const {
  const text::Tokenizer& tokenizer = *session->tokenizer;
  std::vector<int32_t> ids;
  run.utf8_replacements += tokenizer.encode(text, ids);
  const size_t whole = ids.size() + tokenizer.single_overhead();
  if (cut_single(ids, max_length, tokenizer.single_overhead(), options.keep_end)) {
    if (options.long_texts == LongText::kRefuse) {
      fail(ErrorCode::kInvalidArgument, "a text has {} tokens, and max_length is {}", whole,
           max_length);
    }
    ++run.truncated;
  }
  return tokenizer.build_single(ids);
}

Embeddings Embedder::Impl::embed(const Inputs& inputs, const EmbedOptions& options,
                                 RunStats& run) const {
  const ModelSpec& spec = session->engine->model().spec;
  RunOptions run_options = session->run_options(options);
  run_options.outputs = outputs_for(options, spec);
  Embeddings out;
  out.count = run.sequences = inputs.size();
  for (size_t i = 0; i < out.count; ++i) {
    out.tokens.push_back(inputs.tokens_of(i));
    run.tokens += out.tokens.back();
  }
  const Stopwatch inferring;
  const std::vector<SequenceView> views = inputs.views();
  RunResult result = session->engine->run(views, run_options);
  run.queue_ms = result.queue_ms;
  run.inference_ms = inferring.ms() - run.queue_ms;
  if (spec.pooling == Pooling::kSplade) {
    for (size_t i = 0; i < out.count; ++i)
      out.sparse.push_back(splade_weights(result.of(i).vector));
  } else if (options.sparse) {
    for (size_t i = 0; i < out.count; ++i) {
      out.sparse.push_back(lexical_weights(views[i].ids, result.of(i).token_weights,
                                           session->tokenizer->special_tokens()));
    }
  }
  if (options.colbert || options.hidden_states) {
    fill_tokens(result, options.dimension, options.colbert ? 1 : 0, out);
  }
  if (options.dense) fill_dense(result, options.dimension, out);
  return out;
}

Embeddings Embedder::embed(std::span<const std::string_view> texts, const EmbedOptions& options,
                           RunStats* stats) const {
  const std::shared_ptr<Impl> alive = impl_;  // should the embedder be destroyed meanwhile
  if (options.long_texts == LongText::kChunk) {
    fail(ErrorCode::kInvalidArgument, "an embedder has no chunks: truncate or refuse long texts");
  }
  const size_t max_length = effective_max_length(options.max_length);
  return in_windows(texts.size(), window_of(alive->session->engine->model().spec), options, stats,
                    [&](size_t first, size_t count, const EmbedOptions& some, RunStats& run) {
                      Inputs inputs;
                      const Stopwatch tokenizing;
                      for (std::string_view text : texts.subspan(first, count)) {
                        inputs.add(alive->encode(text, options, max_length, run));
                      }
                      run.tokenize_ms = tokenizing.ms();
                      return alive->embed(inputs, some, run);
                    });
}

Embeddings Embedder::embed_ids(std::span<const std::vector<int32_t>> texts,
                               const EmbedOptions& options, RunStats* stats) const {
  const std::shared_ptr<Impl> alive = impl_;
  const size_t max_length = effective_max_length(options.max_length);
  for (size_t i = 0; i < texts.size(); ++i) {
    check_ids(texts[i], i, max_length, alive->session->info.vocab_size);
  }
  return in_windows(texts.size(), window_of(alive->session->engine->model().spec), options, stats,
                    [&](size_t first, size_t count, const EmbedOptions& some, RunStats& run) {
                      Inputs inputs;
                      for (const std::vector<int32_t>& ids : texts.subspan(first, count)) {
                        inputs.add({ids, std::vector<int32_t>(ids.size(), 0)});
                      }
                      return alive->embed(inputs, some, run);
                    });
}

}  // namespace tamis

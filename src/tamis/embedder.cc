#include "tamis/embedder.h"

#include "base/fail.h"
#include "engine/pair_rule.h"
#include "tamis/session.h"

namespace tamis {

struct Embedder::Impl {
  Session session;
};

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

Embeddings Embedder::embed(std::span<const std::string_view> texts, const EmbedOptions& options,
                           RunStats* stats) const {
  const std::shared_ptr<Impl> alive = impl_;  // should the embedder be destroyed meanwhile
  const Session& session = alive->session;
  const text::Tokenizer& tokenizer = *session.tokenizer;
  const size_t max_length = effective_max_length(options.max_length);
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
  out.dimension = static_cast<size_t>(session.engine->model().output_size());
  out.values =
      session.engine->run(inputs.views(), {options.batch_tokens, options.progress, nullptr});
  run.inference_ms = inferring.ms();
  if (stats != nullptr) *stats = run;
  return out;
}

}  // namespace tamis

#include "routes/work.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace tamis::server {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

/// A sequence of this model's own ids begins and ends as its tokenizer makes them. What another
/// tokenizer made would be embedded without an error, as a text that nobody wrote.
void require_own_ids(const ServedModel& model, const std::vector<std::vector<int32_t>>& all) {
  const std::vector<int32_t> frame = model.tokenizer().encode("").ids;
  for (size_t i = 0; i < all.size(); ++i) {
    const auto& ids = all[i];
    const bool framed =
        frame.empty() ||
        (ids.size() >= frame.size() && ids.front() == frame.front() && ids.back() == frame.back());
    const bool known = std::all_of(ids.begin(), ids.end(), [&](int32_t id) {
      return id >= 0 && id < model.info().vocab_size;
    });
    if (framed && known) continue;
    throw HttpError{
        400, "invalid_argument",
        fmt::format(
            "input {}: token ids are taken only as POST /tokenize of this server gives them, "
            "special tokens included; these are not of the vocabulary of {}, and would give "
            "a vector of another text. Send the text itself: with LangChain's "
            "OpenAIEmbeddings, set check_embedding_ctx_length=False",
            i, model.id())};
  }
}

size_t special_tokens(const ServedModel& model) {
  const Tokenizer& tokenizer = model.tokenizer();
  return model.info().kind == ModelKind::kCrossEncoder ? tokenizer.encode_pair("", "").ids.size()
                                                       : tokenizer.encode("").ids.size();
}

/// The pair's length that leaves so many tokens to the document. An embedder reads it by itself.
size_t pair_length(const ServedModel& model, const Lengths& lengths, std::string_view query) {
  if (lengths.document_tokens == 0) return lengths.max_length;
  size_t length = lengths.document_tokens + special_tokens(model);
  if (model.info().kind == ModelKind::kCrossEncoder) {
    const Tokenizer& tokenizer = model.tokenizer();
    length += tokenizer.encode(query).ids.size() - tokenizer.encode("").ids.size();
  }
  return lengths.max_length > 0 ? std::min(length, lengths.max_length) : length;
}

}  // namespace

ModelSet::Ref model_for(Call& call, std::string_view name, Task task) {
  try {
    ModelSet::Ref model = call.services.models.find(name, task);
    call.report.model = model->id();
    call.report.device = model->place().device();
    return model;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInvalidArgument) throw;
    throw HttpError{400, "wrong_model", error.what(), {}, "model"};
  }
}

CallControl control_of(const Call& call, const Urgency& urgency) {
  CallControl out = call.control();
  if (urgency.priority) out.priority = *urgency.priority;
  if (urgency.timeout_ms)
    out.deadline = call.begun() + std::chrono::milliseconds(*urgency.timeout_ms);
  return out;
}

RerankOptions options_of(const ServedModel& model, const Lengths& lengths, std::string_view query) {
  RerankOptions out;
  out.max_length = model.max_length(pair_length(model, lengths, query));
  out.query_max_length = lengths.query_max_length;
  out.long_passages = lengths.long_texts;
  out.keep_end = lengths.keep_end;
  return out;
}

EmbedOptions options_of(const ServedModel& model, const Lengths& lengths) {
  EmbedOptions out;
  out.max_length = model.max_length(lengths.max_length);
  out.long_texts = lengths.long_texts;
  out.keep_end = lengths.keep_end;
  return out;
}

std::vector<RerankResult> run_rerank(Call& call, const RerankAsk& ask) {
  const ModelSet::Ref model = model_for(call, ask.model, Task::kRerank);
  if (model->info().kind == ModelKind::kCrossEncoder && model->info().labels.size() > 1) {
    throw HttpError{
        400,
        "wrong_model",
        fmt::format("the model {} has {} labels and no order of relevance: use /predict "
                    "or /v1/score",
                    model->id(), model->info().labels.size()),
        {},
        "model"};
  }
  RerankOptions options = options_of(*model, ask.lengths, ask.query);
  options.top_n = ask.top_n;
  options.call = control_of(call, ask.urgency);
  report_texts(call, "rerank", ask.documents);
  return model->reranker()->rerank(ask.query, ask.documents, options, &call.report.stats);
}

Task task_of(const EmbedAsk& ask) {
  if (ask.colbert) return Task::kColbert;
  return ask.sparse ? Task::kSparse : Task::kEmbed;
}

Embeddings run_embed(Call& call, const EmbedAsk& ask) {
  return run_embed(call, *model_for(call, ask.model, task_of(ask)), ask);
}

Embeddings run_embed(Call& call, const ServedModel& model, const EmbedAsk& ask) {
  EmbedOptions options = options_of(model, ask.lengths);
  options.dense = ask.dense;
  options.sparse = ask.sparse;
  options.colbert = ask.colbert;
  options.hidden_states = ask.hidden_states;
  options.dimension = ask.dimension;
  options.normalize = ask.normalize;
  options.call = control_of(call, ask.urgency);
  report_texts(call, "embed", ask.texts);
  if (ask.ids.empty()) return model.embedder()->embed(ask.texts, options, &call.report.stats);
  call.report.texts = ask.ids.size();
  require_own_ids(model, ask.ids);
  return model.embedder()->embed_ids(ask.ids, options, &call.report.stats);
}

std::vector<RerankResult> run_pairs(Call& call, const ServedModel& model,
                                    std::span<const RerankRequest> pairs,
                                    const RerankOptions& options) {
  std::vector<RerankResult> out;
  out.reserve(pairs.size());
  for (auto& results : model.reranker()->rerank(pairs, options, &call.report.stats)) {
    results.front().index = out.size();
    out.push_back(std::move(results.front()));
  }
  return out;
}

void report_pairs(Call& call, std::string_view task, std::span<const RerankRequest> pairs) {
  std::vector<std::string_view> passages;
  for (const RerankRequest& pair : pairs) passages.push_back(pair.passages.front());
  report_texts(call, task, passages);
}

void report_texts(Call& call, std::string_view task, std::span<const std::string_view> texts) {
  call.report.task = task;
  call.report.texts = texts.size();
  call.report.characters = 0;
  for (const std::string_view text : texts) call.report.characters += text.size();
}

Answer answer_of(const Call& call) {
  return {call.id, call.report.model, call.report.stats, ms_since(call.begun())};
}

Response json_response(std::string body) {
  Response out;
  out.body = std::move(body);
  return out;
}

void add_timings(Response& response, const Call& call) {
  const CallReport& report = call.report;
  if (report.task.empty()) return;
  const auto add = [&](const char* name, const std::string& value) {
    response.headers.add(name, value);
  };
  const auto whole = [](double ms) { return std::to_string(std::llround(ms)); };
  const RunStats& stats = report.stats;
  const double total = ms_since(call.begun());
  add("x-compute-type", report.device);
  add("x-compute-time", whole(stats.tokenize_ms + stats.inference_ms));
  add("x-compute-characters", std::to_string(report.characters));
  add("x-compute-tokens", std::to_string(stats.tokens));
  add("x-total-time", whole(total));
  add("x-tokenization-time", whole(stats.tokenize_ms));
  add("x-queue-time", whole(stats.queue_ms));
  add("x-inference-time", whole(stats.inference_ms));
  add("Server-Timing",
      fmt::format("tokenize;dur={:.3f}, queue;dur={:.3f}, inference;dur={:.3f}, total;dur={:.3f}",
                  stats.tokenize_ms, stats.queue_ms, stats.inference_ms, total));
}

}  // namespace tamis::server

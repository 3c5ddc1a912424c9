#include "tamis/session.h"

#include <algorithm>
#include <future>
#include <limits>
#include <mutex>

#include "base/fail.h"
#include "batch/packed_batch.h"
#include "tamis/calibration_text.h"
#include "tamis/model_inputs.h"

namespace tamis {
namespace {

/// The same sink for several threads.
LogSink one_at_a_time(const LogSink& log) {
  if (!log) return {};
  return [log, mutex = std::make_shared<std::mutex>()](LogLevel level, std::string_view text) {
    const std::lock_guard lock(*mutex);
    log(level, text);
  };
}

}  // namespace

ModelInfo make_info(const HostModel& model) {
  const ModelSpec& spec = model.spec;
  ModelInfo info;
  info.directory = spec.directory;
  info.architecture = spec.architecture;
  info.kind = spec.kind;
  info.hidden_size = spec.config.hidden_size;
  info.num_layers = spec.config.num_hidden_layers;
  info.num_heads = spec.config.num_attention_heads;
  info.intermediate_size = spec.config.intermediate_size;
  info.vocab_size = spec.config.vocab_size;
  info.max_length = spec.max_length;
  info.parameters = model.tensors.elements();
  if (spec.kind == ModelKind::kCrossEncoder) {
    info.labels = spec.config.labels;
    for (size_t i = info.labels.size(); i < static_cast<size_t>(model.output_size()); ++i) {
      info.labels.push_back(fmt::format("LABEL_{}", i));
    }
  } else {
    info.pooling = pooling_name(spec.pooling);
    info.normalize = spec.normalize;
    info.sparse = spec.sparse_head || spec.pooling == Pooling::kSplade;
    info.colbert_dimension = spec.colbert_dimension;
  }
  return info;
}

PlacementOptions placement_options(const LoadOptions& options) {
  PlacementOptions out;
  out.isa = options.isa;
  out.threads = options.threads;
  if (!options.dtype.empty()) out.dtype = parse_dtype(options.dtype);
  out.batch_tokens = options.batch_tokens;
  out.memory_limit_bytes = options.memory_limit_bytes;
  out.packed_cache = options.cache_directory;
  out.timeout_ms = options.device_timeout_ms;
  return out;
}

void settle_dtype(const LoadOptions& options, const HostModel& model, PlacementOptions& placement) {
  if (options.dtype.empty() && model.tensors.quantized()) placement.dtype = DType::kI8;
}

std::shared_ptr<DeviceSet> device_set(const LoadOptions& options) {
  return options.devices ? options.devices->impl() : Devices().impl();
}

namespace {

/// Errors: data_loss.
void require_rows_for(const text::Tokenizer& tokenizer, const ModelSpec& spec) {
  if (tokenizer.vocab_size() <= static_cast<size_t>(spec.config.vocab_size)) return;
  fail(ErrorCode::kDataLoss,
       "{}: the tokenizer has ids up to {}, but the word table has only {} rows",
       spec.directory.string(), tokenizer.vocab_size() - 1, spec.config.vocab_size);
}

PackedBatch calibration_sample(const text::Tokenizer& tokenizer, const ModelSpec& spec) {
  require_rows_for(tokenizer, spec);
  ModelInputs inputs(tokenizer, spec.kind == ModelKind::kCrossEncoder, spec.max_length);
  for (const CalibrationText& text : calibration_texts()) {
    const std::string passage(text.passage);
    inputs.add(text.query, {&passage, 1}, std::numeric_limits<size_t>::max());
  }
  const std::vector<SequenceView> views = inputs.views();
  return pack(views, longest_first(views), spec.positions);
}

}  // namespace

std::shared_ptr<const Session> Session::load(const std::filesystem::path& directory,
                                             const LoadOptions& options) {
  PlacementOptions placement = placement_options(options);
  parse_device_names(options.device);  // before anything is read
  const ModelSpec spec = read_spec(directory, options);
  const LogSink log = one_at_a_time(options.log);
  // The 17 MB tokenizer.json of XLM-R takes a core 0.14 s, a good part of what packing the
  // weights takes two; they have nothing to do with each other.
  auto tokenizer =
      std::async(std::launch::async, [&] { return text::Tokenizer::load(directory, log); }).share();
  auto loaded = std::make_shared<Session>();
  Session& session = *loaded;
  session.engine = std::make_unique<ModelEngine>(HostModel::open(spec, log), device_set(options),
                                                 log, options.on_batch);
  settle_dtype(options, session.engine->model(), placement);
  // Kept by the engine for a later move to int8 as well.
  session.engine->set_sample(
      [tokenizer, spec] { return calibration_sample(*tokenizer.get(), spec); });
  session.engine->place(options.device, placement);
  session.place = std::make_unique<ModelPlace>(*session.engine);
  session.tokenizer = tokenizer.get();
  require_rows_for(*session.tokenizer, spec);
  session.info = make_info(session.engine->model());
  return loaded;
}

size_t Session::clamp_length(size_t asked, size_t least) const {
  return std::clamp(asked, least, std::max(least, info.max_length));
}

std::vector<SequenceView> Inputs::views() const {
  std::vector<SequenceView> out;
  out.reserve(encodings_.size());
  for (const text::Encoding& e : encodings_) out.push_back({e.ids, e.type_ids});
  return out;
}

RunStats& RunStats::operator+=(const RunStats& part) {
  sequences += part.sequences;
  tokens += part.tokens;
  truncated += part.truncated;
  utf8_replacements += part.utf8_replacements;
  tokenize_ms += part.tokenize_ms;
  queue_ms += part.queue_ms;
  inference_ms += part.inference_ms;
  return *this;
}

double Stopwatch::ms() const {
  const auto elapsed = std::chrono::steady_clock::now() - start_;
  return std::chrono::duration<double, std::milli>(elapsed).count();
}

}  // namespace tamis

#include "tamis/bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/fail.h"
#include "base/host.h"
#include "tamis/model_inputs.h"
#include "tamis/session.h"

namespace tamis {
namespace {

struct Work {
  std::string name;
  std::vector<SequenceView> sequences;
  size_t tokens = 0;
};

/// Work, and the ids that it refers to.
struct Works {
  std::vector<std::vector<int32_t>> ids;
  std::vector<Work> all;
};

/// One sequence of each length, for latency, and as many as fill some batches, for throughput.
Works made_up(const ModelSpec& spec, const std::vector<size_t>& lengths) {
  constexpr size_t kTokens = 4096;
  Works out;
  const auto vocab = static_cast<uint32_t>(spec.config.vocab_size);
  for (size_t asked : lengths) {
    const size_t length = std::min(asked, spec.max_length);
    if (length == 0) fail(ErrorCode::kInvalidArgument, "length: expected at least 1, got 0");
    auto& ids = out.ids.emplace_back(length);
    uint32_t state = 1;  // any ids will do; padding would not count as a token
    for (int32_t& id : ids) {
      state = state * 1664525 + 1013904223;
      id = static_cast<int32_t>((state >> 8) % vocab);
      if (id == spec.positions.pad_id) id = vocab > 1 ? (id == 0 ? 1 : 0) : id;
    }
    for (const size_t count : {size_t{1}, std::max<size_t>(2, kTokens / length)}) {
      out.all.push_back({fmt::format("{} x {}", count, length),
                         std::vector<SequenceView>(count, SequenceView{ids, {}}), count * length});
    }
  }
  return out;
}

/// What a forward pass of these sequences multiplies and adds (src/model/encoder.cc).
double operations(const ModelSpec& spec, const Work& work) {
  const auto h = static_cast<double>(spec.config.hidden_size);
  const auto f = static_cast<double>(spec.config.intermediate_size);
  const auto layers = static_cast<double>(spec.config.num_hidden_layers);
  double sum = 0;
  for (const SequenceView& s : work.sequences) {
    const auto t = static_cast<double>(s.ids.size());
    const double rows_of_last = spec.pooling == Pooling::kMean ? t : 1;
    const double rows = t * (layers - 1) + rows_of_last;
    sum += 2 * (layers * t * 2 * h * h + rows * (2 * h * h + 2 * h * f)) + 4 * rows * t * h;
  }
  return sum;
}

BenchRow measure(ModelEngine& engine, const Work& work, double seconds) {
  engine.run(work.sequences, {});
  std::vector<double> times;
  const Stopwatch all;
  while (times.size() < 3 || all.ms() < seconds * 1000) {
    const Stopwatch one;
    engine.run(work.sequences, {});
    times.push_back(one.ms());
  }
  std::sort(times.begin(), times.end());
  BenchRow row;
  row.work = work.name;
  row.sequences = work.sequences.size();
  row.tokens = work.tokens;
  row.times = times.size();
  row.best_ms = times.front();
  row.median_ms = times[times.size() / 2];
  row.worst_ms = times.back();
  const double per_second = 1000 / row.median_ms;
  row.sequences_per_s = per_second * static_cast<double>(row.sequences);
  row.tokens_per_s = per_second * static_cast<double>(row.tokens);
  row.operations_per_s = per_second * operations(engine.model().spec, work);
  return row;
}

std::vector<int> thread_counts(const BenchOptions& options) {
  if (!options.threads.empty()) return options.threads;
  const int all = usable_cores();
  return all > 1 ? std::vector<int>{1, all} : std::vector<int>{1};
}

}  // namespace

BenchReport bench(const std::filesystem::path& directory, const BenchOptions& options) {
  if (options.dtypes.empty()) fail(ErrorCode::kInvalidArgument, "no dtype to measure");
  PlacementOptions placement = placement_options(options.load);
  placement.packed_cache.clear();  // what is calibrated here, on ids drawn at random, is for nobody
  const ModelSpec spec = read_spec(directory, options.load);
  ModelEngine engine(HostModel::open(spec, options.load.log), device_set(options.load),
                     options.load.log);
  BenchReport report;
  report.model = make_info(engine.model());
  report.cpu = HostProbe().cpu_model();
  report.isa = options.load.isa.empty() ? cpu_isas().front() : options.load.isa;
  report.cores = usable_cores();

  Works works;
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::optional<ModelInputs> inputs;
  if (options.requests.empty()) {
    works = made_up(spec, options.lengths);
  } else {
    tokenizer = text::Tokenizer::load(directory, options.load.log);
    inputs.emplace(*tokenizer, spec.kind == ModelKind::kCrossEncoder,
                   std::min(options.max_length, spec.max_length));
    for (const BenchRequest& r : options.requests) {
      inputs->add(r.query, r.passages, std::numeric_limits<size_t>::max());
    }
    works.all.push_back({"requests", inputs->views(), inputs->tokens()});
  }
  std::erase_if(works.all, [](const Work& work) { return work.sequences.empty(); });
  if (works.all.empty())
    fail(ErrorCode::kInvalidArgument, "nothing to measure: no lengths, or no passages");

  for (const std::string& dtype : options.dtypes) {
    for (const int threads : thread_counts(options)) {
      if (options.stage) {
        options.stage(
            fmt::format("{}, {} {}", dtype, threads, threads == 1 ? "thread" : "threads"));
      }
      placement.dtype = parse_dtype(dtype);
      placement.threads = threads;
      BenchPlace place{dtype, threads};
      place.peak = cpu_peak(options.load.isa, placement.dtype == DType::kI8, threads);
      place.load_ms = engine.place("cpu", placement).load_ms;
      place.weight_bytes = engine.plan().weight_bytes;
      for (const Work& work : works.all) {
        BenchRow row = measure(engine, work, options.seconds);
        row.place = report.places.size();
        row.share_of_peak = row.operations_per_s / place.peak;
        report.rows.push_back(std::move(row));
      }
      place.workspace_bytes = engine.plan().workspace_bytes;
      report.places.push_back(std::move(place));
    }
  }
  return report;
}

}  // namespace tamis

#include "engine/model_engine.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <filesystem>
#include <future>

#include "base/fail.h"
#include "base/host.h"
#include "base/thread_pool.h"
#include "model/calibration.h"
#include "model/packed_cache.h"

namespace tamis {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// The directory's own name, also if it was given as "models/x/" or ".".
std::string name_of_directory(const std::filesystem::path& directory) {
  std::error_code unknown;
  const auto whole = std::filesystem::weakly_canonical(directory, unknown);
  return (unknown || whole.filename().empty() ? directory : whole).filename().string();
}

/// Ids that every model has, none of them padding.
std::vector<int32_t> made_up_ids(const ModelSpec& spec, size_t tokens) {
  const auto vocab = static_cast<int32_t>(spec.config.vocab_size);
  std::vector<int32_t> ids;
  for (int32_t id = 0; ids.size() < tokens; id = (id + 1) % vocab) {
    if (id != spec.positions.pad_id || vocab == 1) ids.push_back(id);
  }
  return ids;
}

}  // namespace

ModelEngine::ModelEngine(std::shared_ptr<const HostModel> model, std::shared_ptr<DeviceSet> devices,
                         LogSink log, std::function<void(const BatchReport&)> on_batch)
    : model_(std::move(model)),
      devices_(std::move(devices)),
      log_(log),
      scheduler_(log, std::move(on_batch)) {}

ModelEngine::~ModelEngine() = default;

PlacementOptions ModelEngine::options() const {
  const std::lock_guard lock(mutex_);
  return options_;
}

MemoryPlan ModelEngine::plan() const {
  const std::lock_guard lock(mutex_);
  return plan_;
}

std::string ModelEngine::device() const {
  std::string out;
  for (const Placement& p : scheduler_.placement()) {
    if (!p.retired) out += (out.empty() ? "" : ",") + p.device;
  }
  return out;
}

std::shared_ptr<MemoryAccount> ModelEngine::account(Device& device,
                                                    const PlacementOptions& options) {
  const size_t limit = options.memory_limit_bytes.value_or(MemoryAccount::no_limit);
  const std::lock_guard lock(mutex_);
  std::weak_ptr<MemoryAccount>& known = accounts_[&device];
  auto account = known.lock();
  if (account) {
    account->set_limit(limit);
  } else {
    known = account = device.open_account(name_of_directory(model_->spec.directory), limit);
  }
  return account;
}

std::shared_ptr<const ModelWeights> ModelEngine::weights(const std::shared_ptr<Device>& device,
                                                         Stream& stream,
                                                         const PlacementOptions& options) {
  std::weak_ptr<const ModelWeights> known;
  {
    const std::lock_guard lock(mutex_);
    known = weights_[{device.get(), options.dtype}];
  }
  if (auto shared = known.lock()) return shared;
  const bool cached = !options.packed_cache.empty() && !device->info().packed_form.empty();
  auto placed =
      cached ? cached_weights(*device, stream, options) : make_weights(*device, stream, options);
  const std::lock_guard lock(mutex_);
  weights_[{device.get(), options.dtype}] = placed;
  return placed;
}

std::shared_ptr<const ModelWeights> ModelEngine::make_weights(Device& device, Stream& stream,
                                                              const PlacementOptions& options) {
  const auto quantized =
      options.dtype == DType::kI8 && !model_->tensors.quantized() ? quantization(options) : nullptr;
  return place_weights(model_, device, stream, options.dtype, quantized.get(),
                       account(device, options), std::chrono::milliseconds(options.timeout_ms));
}

std::shared_ptr<const ModelWeights> ModelEngine::cached_weights(Device& device, Stream& stream,
                                                                const PlacementOptions& options) {
  const PackedCache cache(options.packed_cache, log_);
  const PackedKey key = packed_key(*model_, device, options.dtype);
  ThreadPool pool(options.threads > 0 ? options.threads : usable_cores());
  const io::RunTasks run = [&](size_t count, const std::function<void(size_t)>& task) {
    pool.parallel_for(count, [&](size_t i, int) { task(i); });
  };
  if (const auto file = cache.find(key, *model_, run)) {
    return place_packed(model_, device, options.dtype, file, PackedCache::contents(*file),
                        account(device, options));
  }
  auto placed = make_weights(device, stream, options);
  cache.store(key, {placed->buffer.data(), placed->buffer.bytes()}, run);
  return placed;
}

std::shared_ptr<const ModelQuantization> ModelEngine::quantization(
    const PlacementOptions& options) {
  {
    const std::lock_guard lock(mutex_);
    if (quantization_) return quantization_;
  }
  const auto cpu = devices_->open({"cpu", -1}, options.isa);
  const auto account = cpu->open_account("calibration", MemoryAccount::no_limit);
  StreamOptions stream;
  stream.threads = options.threads;
  auto found = std::make_shared<const ModelQuantization>(
      calibrate(model_, cpu, stream, account, sample_ ? sample_() : random_sample(*model_),
                std::chrono::milliseconds(options.timeout_ms)));
  const std::lock_guard lock(mutex_);
  return quantization_ = found;
}

ModelEngine::Replicas ModelEngine::build(const PlacementPlan& plan,
                                         const PlacementOptions& options) {
  Replicas out;
  for (const PlannedReplica& planned : plan.replicas) {
    const auto money = account(*planned.device, options);
    Workspace workspace(planned.device, planned.stream, money,
                        std::chrono::milliseconds(options.timeout_ms));
    // Linux puts a page where it is first touched: on the node whose cores will read it.
    auto placing = std::async(std::launch::async, [&] {
      pin_this_thread(planned.stream.cores);
      return weights(planned.device, workspace.stream(), options);
    });
    auto placed = placing.get();
    out.push_back(std::make_shared<Replica>(std::move(placed), planned.device, std::move(workspace),
                                            planned.stream, planned.batch_tokens));
    try {
      out.back()->reserve(planned.batch_tokens);
    } catch (const Error& e) {
      if (e.code() != ErrorCode::kResourceExhausted) throw;
      // Smaller batches may still run: the scheduler finds out which.
      log_to(log_, LogLevel::kWarning, "{}", e.what());
    }
  }
  for (const PlannedDevice& d : plan.devices) account(*d.device, options)->reserve(d.needed());
  return out;
}

bool ModelEngine::fits(const PlacementPlan& plan, const PlacementOptions& options,
                       bool beside) const {
  for (PlannedDevice d : plan.devices) {
    size_t used = 0;
    {
      const std::lock_guard lock(mutex_);
      const auto account = accounts_.find(d.device.get());
      if (account != accounts_.end()) {
        if (const auto open = account->second.lock()) used = open->use().used();
      }
      const auto shared = weights_.find({d.device.get(), options.dtype});
      if (beside && shared != weights_.end() && !shared->second.expired()) d.weight_bytes = 0;
    }
    try {
      check_fits(*model_, d, options, beside ? used : 0, beside ? 0 : used);
    } catch (const Error&) {
      if (!beside) throw;
      return false;
    }
  }
  return true;
}

MoveReport ModelEngine::place(std::string_view names, const PlacementOptions& options) {
  const auto parsed = parse_device_names(names);
  const std::lock_guard move(move_mutex_);
  MoveReport report;
  report.from = device();
  const PlacementPlan plan = plan_placement(*model_, *devices_, parsed, options);
  report.reason = plan.reason;
  if (!plan.reason.empty()) log_to(log_, LogLevel::kInfo, "{}", plan.reason);
  if (fits(plan, options, true)) {
    replace_beside(plan, options, report);
  } else {
    fits(plan, options, false);
    replace_after(plan, options, report);
  }
  scheduler_.clear_retired();
  report.to = device();
  MemoryPlan sum;
  for (const PlannedDevice& d : plan.devices) {
    const MemoryPlan one = memory_plan(*model_, d);
    sum.device += (sum.device.empty() ? "" : ",") + one.device;
    sum.mapped_bytes = std::max(sum.mapped_bytes, one.mapped_bytes);
    sum.weight_bytes += one.weight_bytes;
    sum.workspace_bytes += one.workspace_bytes;
    sum.batch_tokens = std::max(sum.batch_tokens, one.batch_tokens);
  }
  report.weight_bytes = sum.weight_bytes;
  const std::lock_guard lock(mutex_);
  names_ = names;
  options_ = options;
  plan_ = sum;
  std::erase_if(accounts_, [](const auto& entry) { return entry.second.expired(); });
  std::erase_if(weights_, [](const auto& entry) { return entry.second.expired(); });
  return report;
}

void ModelEngine::replace_beside(const PlacementPlan& plan, const PlacementOptions& options,
                                 MoveReport& report) {
  const auto start = Clock::now();
  Replicas fresh;
  try {
    fresh = build(plan, options);
  } catch (...) {
    // The replicas that stay have their old limit again.
    for (const PlannedDevice& d : plan.devices) account(*d.device, this->options());
    throw;
  }
  report.load_ms = ms_since(start);
  const Replicas old = scheduler_.replicas();
  try {
    for (const auto& replica : fresh) scheduler_.add(replica);
  } catch (...) {
    scheduler_.remove(fresh, false);
    throw;
  }
  scheduler_.remove(old, false);
}

void ModelEngine::replace_after(const PlacementPlan& plan, const PlacementOptions& options,
                                MoveReport& report) {
  const auto start = Clock::now();
  scheduler_.remove(scheduler_.replicas(), true);
  const auto put = [&](const PlacementPlan& p, const PlacementOptions& o) {
    for (const auto& replica : build(p, o)) scheduler_.add(replica);
  };
  try {
    put(plan, options);
  } catch (...) {
    scheduler_.remove(scheduler_.replicas(), true);
    try {
      const PlacementOptions before = this->options();
      put(plan_placement(*model_, *devices_, parse_device_names(names_), before), before);
    } catch (const Error& e) {
      log_to(log_, LogLevel::kError, "the model could not go back to {}: {}", names_, e.what());
    }
    scheduler_.end_move();
    throw;
  }
  scheduler_.end_move();
  report.load_ms = report.pause_ms = ms_since(start);
}

RunResult ModelEngine::run(std::span<const SequenceView> sequences, const RunOptions& options) {
  const OutputLayout layout = model_->layout(options.outputs);
  note_shapes(sequences);
  return scheduler_.run(sequences, layout, model_->spec.positions, options);
}

void ModelEngine::note_shapes(std::span<const SequenceView> sequences) {
  std::map<size_t, size_t> counts;
  for (const SequenceView& s : sequences) ++counts[std::bit_ceil(s.ids.size())];
  const std::lock_guard lock(mutex_);
  for (auto [tokens, count] : counts) seen_[tokens] = std::max(seen_[tokens], count);
}

std::vector<WarmupResult> ModelEngine::warmup(const WarmupOptions& options) {
  const size_t longest = model_->spec.max_length;
  std::vector<WarmupShape> shapes = options.shapes;
  if (shapes.empty()) {
    const std::lock_guard lock(mutex_);
    for (auto [tokens, count] : seen_) shapes.push_back({count, std::min(tokens, longest)});
  }
  if (shapes.empty())
    shapes = {{1, std::min<size_t>(64, longest)}, {0, std::min<size_t>(128, longest)}};
  const auto start = Clock::now();
  std::vector<WarmupResult> out;
  for (const auto& replica : scheduler_.replicas()) {
    double tokens_per_ms = 0;
    for (const WarmupShape& asked : shapes) {
      WarmupResult result;
      result.device = replica->device().info().name;
      result.shape.tokens = std::clamp<size_t>(asked.tokens, 1, longest);
      const size_t whole = std::max<size_t>(1, replica->batch_tokens() / result.shape.tokens);
      result.shape.sequences = asked.sequences > 0 ? std::min(asked.sequences, whole) : whole;
      const size_t tokens = result.shape.sequences * result.shape.tokens;
      const double left = options.limit_ms - ms_since(start);
      const double guess = tokens_per_ms > 0 ? 2 * static_cast<double>(tokens) / tokens_per_ms : 0;
      result.skipped = left <= guess;
      if (!result.skipped) {
        const std::vector<int32_t> ids = made_up_ids(model_->spec, result.shape.tokens);
        const std::vector<SequenceView> batch(result.shape.sequences, SequenceView{ids, {}});
        RunOptions run;
        run.outputs = usual_outputs(model_->spec);
        run.only = replica.get();
        try {
          for (double* ms : {&result.first_ms, &result.second_ms}) {
            const auto begin = Clock::now();
            scheduler_.run(batch, model_->layout(run.outputs), model_->spec.positions, run);
            *ms = ms_since(begin);
          }
          tokens_per_ms = static_cast<double>(tokens) / std::max(result.second_ms, 1e-3);
        } catch (const Error& e) {
          result.error = e.what();
        }
      }
      out.push_back(std::move(result));
    }
  }
  return out;
}

}  // namespace tamis

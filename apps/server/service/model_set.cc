#include "service/model_set.h"

#include <algorithm>
#include <utility>

#include "base/fail.h"

namespace tamis::server {
namespace {

std::string names_of(const std::vector<ModelSet::Ref>& models) {
  std::string out;
  for (const auto& model : models) out += (out.empty() ? "" : ", ") + model->id();
  return out.empty() ? "no model is loaded" : "loaded: " + out;
}

bool can(const ServedModel& model, Task task) {
  const ModelInfo& info = model.info();
  switch (task) {
    case Task::kRerank:
      return model.reranker() != nullptr;
    case Task::kClassify:
      return info.kind == ModelKind::kCrossEncoder;
    case Task::kEmbed:
      return model.embedder() != nullptr && info.pooling != "splade";
    case Task::kSparse:
      return model.embedder() != nullptr && info.sparse;
    case Task::kColbert:
      return model.embedder() != nullptr && info.colbert_dimension > 0;
    case Task::kAny:
      break;
  }
  return true;
}

std::string_view described(Task task) {
  switch (task) {
    case Task::kRerank:
      return "rerank";
    case Task::kClassify:
      return "score or classify pairs with a head";
    case Task::kEmbed:
      return "give a vector of a text";
    case Task::kSparse:
      return "give lexical weights";
    case Task::kColbert:
      return "give vectors of tokens";
    case Task::kAny:
      break;
  }
  return "do that";
}

bool is_called(const ServedModel& model, std::string_view name) {
  const auto& aliases = model.source().aliases;
  return model.id() == name || std::find(aliases.begin(), aliases.end(), name) != aliases.end();
}

ModelSet::Ref require(ModelSet::Ref model, Task task) {
  if (can(*model, task)) return model;
  const ModelInfo& info = model->info();
  const bool splade = info.pooling == "splade";
  fail(ErrorCode::kInvalidArgument, "the model {} cannot {}: it is {}, {}", model->id(),
       described(task),
       info.kind == ModelKind::kCrossEncoder ? "a cross-encoder"
       : splade                              ? "a SPLADE model"
                                             : "an embedder",
       info.architecture);
}

/// The first that can do the task; an embedder only approximates what a cross-encoder was made for.
ModelSet::Ref first_for(const std::vector<ModelSet::Ref>& models, Task task) {
  ModelSet::Ref second;
  for (const auto& model : models) {
    if (!can(*model, task)) continue;
    if (task != Task::kRerank || can(*model, Task::kClassify)) return model;
    if (!second) second = model;
  }
  return second;
}

std::string name_of(const std::filesystem::path& directory) {
  std::error_code unknown;
  const auto whole = std::filesystem::weakly_canonical(directory, unknown);
  return (unknown || whole.filename().empty() ? directory : whole).filename().string();
}

}  // namespace

std::shared_ptr<const ServedModel> ServedModel::load(const ModelSource& source) {
  auto out = std::make_shared<ServedModel>();
  out->source_ = source;
  if (source.id.empty()) out->source_.id = name_of(source.directory);
  // What the model is decides how it is loaded, and its memory is held once either way.
  const ModelInfo described = describe_model(source.directory, source.options).info;
  if (described.kind == ModelKind::kEmbedder) {
    out->embedder_ = Embedder::load(source.directory, source.options);
    if (described.pooling != "splade") out->reranker_ = Reranker::of(*out->embedder_);
    out->info_ = &out->embedder_->info();
    out->tokenizer_ = out->embedder_->tokenizer();
  } else {
    out->reranker_ = Reranker::load(source.directory, source.options);
    out->info_ = &out->reranker_->info();
    out->tokenizer_ = out->reranker_->tokenizer();
  }
  out->loaded_ = std::chrono::system_clock::now();
  return out;
}

ModelPlace& ServedModel::place() const {
  return embedder_ ? embedder_->place() : reranker_->place();
}

MemoryPlan ServedModel::memory_plan() const {
  return embedder_ ? embedder_->memory_plan() : reranker_->memory_plan();
}

size_t ServedModel::max_length(size_t asked) const {
  const size_t wanted = asked > 0 ? asked : source_.max_length;
  if (wanted > 0) return std::min(wanted, info_->max_length);
  return embedder_ ? embedder_->effective_max_length(0) : info_->max_length;
}

std::string ServedModel::dtype() const {
  for (const Placement& p : place().placement()) {
    if (!p.retired) return p.dtype;
  }
  return {};
}

size_t ServedModel::replicas() const {
  const auto placement = place().placement();
  return static_cast<size_t>(
      std::count_if(placement.begin(), placement.end(), [](auto& p) { return !p.retired; }));
}

ModelSet::Ref ModelSet::find(std::string_view name, Task task) const {
  const std::lock_guard lock(mutex_);
  if (models_.empty()) fail(ErrorCode::kUnavailable, "no model is loaded");
  if (models_.size() == 1) return require(models_.front(), task);
  if (name.empty()) {
    if (Ref model = first_for(models_, task)) return model;
    fail(ErrorCode::kInvalidArgument, "no model that is loaded can {}; {}", described(task),
         names_of(models_));
  }
  for (const Ref& model : models_) {
    if (is_called(*model, name)) return require(model, task);
  }
  fail(ErrorCode::kNotFound, "there is no model '{}'; {}", name.substr(0, 100), names_of(models_));
}

std::vector<ModelSet::Ref> ModelSet::all() const {
  const std::lock_guard lock(mutex_);
  return models_;
}

ModelSet::Ref ModelSet::load(const ModelSource& source) {
  const std::lock_guard turn(changing_);
  Ref loaded = ServedModel::load(source);
  std::vector<std::string_view> names = {loaded->id()};
  names.insert(names.end(), source.aliases.begin(), source.aliases.end());
  Ref replaced;  // its memory is given back without the lock
  const std::lock_guard lock(mutex_);
  for (Ref& model : models_) {
    if (model->id() == loaded->id()) continue;
    for (std::string_view name : names) {
      if (!is_called(*model, name)) continue;
      fail(ErrorCode::kInvalidArgument, "the name '{}' is that of the model {} already", name,
           model->id());
    }
  }
  const auto same = std::find_if(models_.begin(), models_.end(),
                                 [&](const Ref& model) { return model->id() == loaded->id(); });
  if (same == models_.end()) {
    models_.push_back(loaded);
  } else {
    replaced = std::exchange(*same, loaded);
  }
  return loaded;
}

void ModelSet::unload(std::string_view id) {
  const std::lock_guard turn(changing_);
  Ref gone;
  const std::lock_guard lock(mutex_);
  const auto at = std::find_if(models_.begin(), models_.end(),
                               [&](const Ref& model) { return model->id() == id; });
  if (at == models_.end()) {
    fail(ErrorCode::kNotFound, "there is no model '{}'; {}", id, names_of(models_));
  }
  gone = std::move(*at);
  models_.erase(at);
}

ModelSet::Ref ModelSet::named(std::string_view name) const {
  const std::vector<Ref> models = all();
  for (const Ref& model : models) {
    if (is_called(*model, name)) return model;
  }
  fail(ErrorCode::kNotFound, "there is no model '{}'; {}", name.substr(0, 100), names_of(models));
}

MoveReport ModelSet::move(std::string_view id, std::string_view devices,
                          const MoveOptions& options) {
  return named(id)->place().to(devices, options);
}

}  // namespace tamis::server

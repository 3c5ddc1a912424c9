#pragma once

// The models in service: loaded, unloaded, replaced and moved while requests run.

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tamis/embedder.h"
#include "tamis/reranker.h"
#include "tamis/tokenizer.h"

namespace tamis::server {

/// A model that the operator wants served.
struct ModelSource {
  std::string id;  ///< what requests call it; "" = the name of its directory
  std::vector<std::string> aliases;
  std::filesystem::path directory;
  size_t max_length =
      0;  ///< tokens of an input where a request names none; 0 = what the model takes
  LoadOptions options;
};

/// A loaded model; requests that use it keep it alive. Thread rule: any thread.
class ServedModel {
 public:
  /// Errors: as Reranker::load.
  static std::shared_ptr<const ServedModel> load(const ModelSource& source);

  const std::string& id() const { return source_.id; }
  const ModelSource& source() const { return source_; }
  const ModelInfo& info() const { return *info_; }
  /// Null of a SPLADE model. Of an embedder it scores by cosine.
  const Reranker* reranker() const { return reranker_ ? &*reranker_ : nullptr; }
  /// Null of a cross-encoder.
  const Embedder* embedder() const { return embedder_ ? &*embedder_ : nullptr; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  ModelPlace& place() const;
  MemoryPlan memory_plan() const;
  /// Tokens of an input: `asked`, or the source's where that is 0, or else what the model's
  /// directory says of an embedder; at most what the model takes.
  size_t max_length(size_t asked) const;
  std::string dtype() const;  ///< of its weights where it is: "f32"
  std::chrono::system_clock::time_point loaded() const { return loaded_; }

 private:
  ModelSource source_;
  std::optional<Embedder> embedder_;
  std::optional<Reranker> reranker_;
  std::optional<Tokenizer> tokenizer_;
  const ModelInfo* info_ = nullptr;
  std::chrono::system_clock::time_point loaded_;
};

enum class Task {
  kRerank,    ///< scores of passages: a cross-encoder, or an embedder by cosine
  kClassify,  ///< logits of pairs: a cross-encoder
  kEmbed,     ///< one vector of a text
  kSparse,    ///< lexical weights: BGE-M3, SPLADE
  kColbert,   ///< a vector of each token: BGE-M3
  kAny
};

/// Thread rule: any thread. Loading, unloading and moving take turns; find never waits for them.
class ModelSet {
 public:
  using Ref = std::shared_ptr<const ServedModel>;

  /// With one model in service any name means it. Else an id or an alias; "" means the first that
  /// can do the task, and to rerank a cross-encoder before an embedder. Errors: not_found (no such
  /// model: lists them), unavailable (none is loaded), invalid_argument (it cannot do the task:
  /// says what it is).
  Ref find(std::string_view name, Task task) const;
  std::vector<Ref> all() const;  ///< in the order of loading

  /// Loads it beside the others, and puts it in the place of one of the same id when it is ready;
  /// if it fails, that one stays. Errors: those of ServedModel::load; invalid_argument (an alias
  /// or id that another has).
  Ref load(const ModelSource& source);
  /// Requests that run on it end first, then its memory is given back. Errors: not_found.
  void unload(std::string_view id);
  /// Errors: not_found, and those of ModelPlace::to.
  MoveReport move(std::string_view id, std::string_view devices, const MoveOptions& options = {});
  /// By id or alias alone, whatever their number. Errors: not_found.
  Ref named(std::string_view name) const;

 private:
  std::mutex changing_;
  mutable std::mutex mutex_;  // of models_
  std::vector<Ref> models_;
};

}  // namespace tamis::server

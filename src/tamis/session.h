#pragma once

// What Reranker and Embedder share: a tokenizer and an engine that were loaded together.

#include <chrono>
#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

#include "engine/model_engine.h"
#include "tamis/model.h"
#include "tamis/place.h"
#include "tamis/types.h"
#include "text/tokenizer.h"

namespace tamis {

struct Session {
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::unique_ptr<ModelEngine> engine;
  std::unique_ptr<ModelPlace> place;
  ModelInfo info;

  static std::shared_ptr<const Session> load(const std::filesystem::path& directory,
                                             const LoadOptions& options);

  /// What RerankOptions say of a run; outputs as the model's directory has them.
  template <class Options>
  RunOptions run_options(const Options& options) const {
    return {options.batch_tokens, options.progress, usual_outputs(engine->model().spec), nullptr,
            options.call};
  }

  /// The limit that will hold: at most what the model allows, at least `least`.
  size_t clamp_length(size_t asked, size_t least) const;
};

ModelInfo make_info(const HostModel& model);
/// Errors: invalid_argument (dtype). Where none is named it depends on the model: settle_dtype.
PlacementOptions placement_options(const LoadOptions& options);
void settle_dtype(const LoadOptions& options, const HostModel& model, PlacementOptions& placement);
/// The caller's devices, or new ones.
std::shared_ptr<DeviceSet> device_set(const LoadOptions& options);

/// Model inputs in one arena; views stay valid while this lives and nothing is added.
class Inputs {
 public:
  void add(text::Encoding encoding) { encodings_.push_back(std::move(encoding)); }
  std::vector<SequenceView> views() const;
  size_t tokens_of(size_t i) const { return encodings_[i].ids.size(); }
  size_t size() const { return encodings_.size(); }

 private:
  std::vector<text::Encoding> encodings_;
};

/// Milliseconds since construction.
class Stopwatch {
 public:
  double ms() const;

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace tamis

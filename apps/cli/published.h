#pragma once

#include <span>
#include <string_view>

namespace tamis::cli {

/// A number that the authors of a model, or of a library that runs it, have published.
struct PublishedValue {
  enum class Kind {
    kLogit,    ///< of a reranker, for query and passage
    kSigmoid,  ///< of that logit
    kCosine,   ///< of the two vectors
    kLexical,  ///< BGE-M3's sparse score
    kColbert,  ///< BGE-M3's multi-vector score
    kNumber,   ///< number `place` of the vector of `query`, as the model gives it
  };
  std::string_view model;  ///< last part of its name
  Kind kind;
  std::string_view query;
  std::string_view passage;
  double value;
  /// What it may differ by: the published ones were computed in f16 on GPUs (1e-3 of a logit's
  /// range), or are rounded to so many digits.
  double tolerance;
  int place = 0;
};

/// In the order of the models.
std::span<const PublishedValue> published_values();
std::string_view kind_name(PublishedValue::Kind kind);

}  // namespace tamis::cli

#pragma once

#include <cstddef>
#include <span>

#include "model/spec.h"

namespace tamis {

/// Which numbers of a model a run wants; one pass gives them all.
struct Outputs {
  bool vector = true;          ///< logits of a cross-encoder, or an embedder's pooled vector
  bool token_weights = false;  ///< BGE-M3's lexical weights: relu(w x + b), one a token
  bool token_vectors = false;  ///< BGE-M3's ColBERT vectors: W x + b, one a token
  bool hidden_states = false;  ///< the last layer's output, one a token; by itself alone
  bool normalize = false;      ///< vectors, also of tokens, are scaled to length 1 ...
  size_t dimension = 0;        ///< ... over so many of their first numbers; 0 = all

  bool of_tokens() const { return token_weights || token_vectors || hidden_states; }
  bool operator==(const Outputs&) const = default;
};

/// The pooled vector as the model directory describes it, or the logits.
inline Outputs usual_outputs(const ModelSpec& spec) {
  Outputs out;
  out.normalize = spec.normalize;
  return out;
}

/// How many numbers that makes. A batch's lie in three blocks: vectors [sequences, vector], weights
/// [tokens, token_weight], token vectors [tokens, token_vector]; a sequence's by itself alike.
struct OutputLayout {
  size_t vector = 0;
  size_t token_weight = 0;  ///< 1 or 0
  size_t token_vector = 0;

  size_t of_token() const { return token_weight + token_vector; }
  size_t numbers(size_t sequences, size_t tokens) const {
    return sequences * vector + tokens * of_token();
  }
};

/// The numbers of one sequence.
struct SequenceOutput {
  std::span<const float> vector;
  std::span<const float> token_weights;  ///< [tokens] or empty
  std::span<const float> token_vectors;  ///< [tokens, token_vector] or empty
};

}  // namespace tamis

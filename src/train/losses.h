#pragma once

// Losses as FlagEmbedding has them, and their gradients. On the host, in double: they are small.

#include <cstdint>
#include <span>
#include <vector>

namespace tamis::training {

/// Logits in groups of `group`, the positive one first.
struct GroupScores {
  std::span<const float> logits;    ///< [groups * group]
  std::span<const double> teacher;  ///< the same, or empty: no distillation
  int64_t group = 0;
};

/// The sum over the groups of the cross-entropy with the first one as target, and, with a teacher,
/// of the cross-entropy with its softmax [finetune/reranker/encoder_only: compute_loss]; each times
/// `weight`, which is 1 / (groups of the step). d_logits [groups * group] is written.
double group_loss(const GroupScores& scores, double weight, std::span<float> d_logits);

enum class Distillation { kNone, kKlDiv, kM3 };

struct ContrastiveOptions {
  double temperature = 0.02;
  bool normalize = true;
  bool in_batch_negatives = true;
  Distillation distillation = Distillation::kNone;
  /// Matryoshka: the mean of the losses over these first dimensions; empty = all of them at once.
  std::vector<int64_t> dimensions;
};

/// Vectors of a step: queries [n, dim], passages [n * group, dim], a query's positive one first.
struct ContrastiveBatch {
  std::span<const float> queries;
  std::span<const float> passages;
  std::span<const double> teacher;  ///< [n * group] or empty
  int64_t dimension = 0;
  int64_t group = 0;
};

/// InfoNCE over normalised inner products / temperature, or over each group alone; with a teacher
/// also its distillation [abc/finetune/embedder/AbsModeling.py]. Gradients are written.
double contrastive_loss(const ContrastiveBatch& batch, const ContrastiveOptions& options,
                        std::span<float> d_queries, std::span<float> d_passages);

/// What BGE-M3 gives for the texts of a step, queries first, then passages.
struct UnifiedBatch {
  std::span<const float> vectors;        ///< [texts, dimension]: of the first token, not normalised
  std::span<const float> token_weights;  ///< [tokens]: before relu
  std::span<const float> token_vectors;  ///< [tokens, token_dimension]: not normalised
  std::span<const int32_t> ids;          ///< [tokens]
  std::span<const int32_t> cu_seqlens;   ///< [texts + 1]
  std::span<const int32_t> special_ids;  ///< that have no lexical weight
  std::span<const double> teacher;       ///< [passages] or empty
  int64_t queries = 0;
  int64_t group = 0;
  int64_t dimension = 0;
  int64_t token_dimension = 0;
};

struct UnifiedGradients {
  std::vector<float> vectors, token_weights, token_vectors;
};

/// (dense + ensemble + 0.1 sparse + ColBERT) / 4, each a contrastive loss on its own scores and the
/// ensemble's being dense + 0.3 sparse + ColBERT; with `self_distill` the ensemble also teaches the
/// three [finetune/embedder/encoder_only/m3/modeling.py]. A difference: a query's token finds its
/// best among the tokens of a passage, not also among padding, which scores 0 there.
double unified_loss(const UnifiedBatch& batch, const ContrastiveOptions& options, bool self_distill,
                    UnifiedGradients& gradients);

}  // namespace tamis::training

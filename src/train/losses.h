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

}  // namespace tamis::training

#include "train/losses.h"

#include <algorithm>

#include "train/contrast.h"

namespace tamis::training {

double group_loss(const GroupScores& s, double weight, std::span<float> d_logits) {
  const auto group = static_cast<size_t>(s.group);
  double loss = 0;
  for (size_t begin = 0; begin < s.logits.size(); begin += group) {
    const std::vector<double> scores(s.logits.begin() + static_cast<std::ptrdiff_t>(begin),
                                     s.logits.begin() + static_cast<std::ptrdiff_t>(begin + group));
    std::vector<double> d(group, 0.0);
    loss += cross_entropy(scores, one_hot(group, 0), weight, d);
    if (!s.teacher.empty()) {
      loss += cross_entropy(scores, softmax(s.teacher.subspan(begin, group)), weight, d);
    }
    for (size_t i = 0; i < group; ++i) d_logits[begin + i] = static_cast<float>(d[i]);
  }
  return loss;
}

double contrastive_loss(const ContrastiveBatch& batch, const ContrastiveOptions& options,
                        std::span<float> d_queries, std::span<float> d_passages) {
  std::fill(d_queries.begin(), d_queries.end(), 0.0f);
  std::fill(d_passages.begin(), d_passages.end(), 0.0f);
  std::vector<int64_t> dimensions = options.dimensions;
  if (dimensions.empty()) dimensions.push_back(batch.dimension);
  double loss = 0;
  for (const int64_t dimension : dimensions) {
    Unit queries(batch.queries, batch.dimension, dimension, options.normalize);
    Unit passages(batch.passages, batch.dimension, dimension, options.normalize);
    ScoreTable table(queries.count, batch.group, options.in_batch_negatives);
    fill_products(queries, passages, options.temperature, table);
    loss += table_loss(table, batch.teacher, options.distillation,
                       1.0 / static_cast<double>(dimensions.size()));
    products_backward(table, options.temperature, queries, passages);
    queries.unscale(batch.dimension, d_queries);
    passages.unscale(batch.dimension, d_passages);
  }
  return loss;
}

}  // namespace tamis::training

#include "train/losses.h"

#include <algorithm>
#include <cmath>

namespace tamis::training {
namespace {

/// log of the sum of e^x.
double log_sum_exp(std::span<const double> x) {
  const double most = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (double v : x) sum += std::exp(v - most);
  return most + std::log(sum);
}

std::vector<double> softmax(std::span<const double> x) {
  std::vector<double> out;
  const double all = log_sum_exp(x);
  for (double v : x) out.push_back(std::exp(v - all));
  return out;
}

/// -sum target log softmax(scores) for targets that add up to `mass`; adds weight times its
/// gradient.
double cross_entropy(std::span<const double> scores, std::span<const double> target, double weight,
                     std::span<double> d_scores) {
  const double all = log_sum_exp(scores);
  double loss = 0, mass = 0;
  for (double t : target) mass += t;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (target[i] != 0) loss -= target[i] * (scores[i] - all);
    d_scores[i] += weight * (mass * std::exp(scores[i] - all) - target[i]);
  }
  return weight * loss;
}

std::vector<double> one_hot(size_t n, size_t at) {
  std::vector<double> out(n, 0.0);
  out[at] = 1;
  return out;
}

/// Rows of `count` vectors, cut to `dim` numbers and scaled to length 1.
struct Unit {
  Unit(std::span<const float> vectors, int64_t width, int64_t dim, bool normalize)
      : count(static_cast<int64_t>(vectors.size()) / width), dimension(dim) {
    for (int64_t r = 0; r < count; ++r) {
      double squares = 0;
      for (int64_t i = 0; i < dim; ++i) {
        const double v = vectors[static_cast<size_t>(r * width + i)];
        values.push_back(v);
        squares += v * v;
      }
      length.push_back(normalize ? std::max(std::sqrt(squares), 1e-12) : 1.0);
      for (int64_t i = 0; i < dim; ++i) values[static_cast<size_t>(r * dim + i)] /= length.back();
    }
    gradient.assign(values.size(), 0.0);
    normalized = normalize;
  }
  double dot(int64_t r, const Unit& other, int64_t c) const {
    double sum = 0;
    for (int64_t i = 0; i < dimension; ++i) {
      sum += values[static_cast<size_t>(r * dimension + i)] *
             other.values[static_cast<size_t>(c * dimension + i)];
    }
    return sum;
  }
  void add(int64_t r, double factor, const Unit& other, int64_t c) {
    for (int64_t i = 0; i < dimension; ++i) {
      gradient[static_cast<size_t>(r * dimension + i)] +=
          factor * other.values[static_cast<size_t>(c * dimension + i)];
    }
  }
  /// Adds the gradient of the vectors themselves: (g - u (u g)) / length.
  void unscale(int64_t width, std::span<float> out) const {
    for (int64_t r = 0; r < count; ++r) {
      const double* u = values.data() + r * dimension;
      const double* g = gradient.data() + r * dimension;
      double along = 0;
      for (int64_t i = 0; normalized && i < dimension; ++i) along += u[i] * g[i];
      for (int64_t i = 0; i < dimension; ++i) {
        out[static_cast<size_t>(r * width + i)] +=
            static_cast<float>((g[i] - u[i] * along) / length[static_cast<size_t>(r)]);
      }
    }
  }
  int64_t count, dimension;
  bool normalized = true;
  std::vector<double> values, length, gradient;
};

/// One query's scores over all passages or over its group, and the loss on them.
double query_loss(std::span<const double> scores, int64_t query, const ContrastiveBatch& batch,
                  const ContrastiveOptions& options, double weight, std::span<double> d_scores) {
  const auto group = static_cast<size_t>(batch.group);
  const size_t begin =
      options.in_batch_negatives ? static_cast<size_t>(query) * group : 0;  // of its own group
  if (options.distillation == Distillation::kNone || batch.teacher.empty()) {
    return cross_entropy(scores, one_hot(scores.size(), begin), weight, d_scores);
  }
  const std::vector<double> teacher =
      softmax(batch.teacher.subspan(static_cast<size_t>(query) * group, group));
  if (options.distillation == Distillation::kKlDiv) {
    double loss = cross_entropy(scores.subspan(begin, group), teacher, weight,
                                d_scores.subspan(begin, group));
    return loss + cross_entropy(scores, one_hot(scores.size(), begin), weight, d_scores);
  }
  // Each member of the group in turn is the target, among all that are not of the group before it.
  double loss = 0;
  std::vector<double> left(scores.begin(), scores.end());
  std::vector<double> d_left(left.size(), 0.0);
  for (size_t i = 0; i < group; ++i) {
    if (i > 0) left[begin + i - 1] = -1e30;
    loss += cross_entropy(left, one_hot(left.size(), begin + i), weight * teacher[i], d_left);
  }
  for (size_t i = 0; i < left.size(); ++i) d_scores[i] += d_left[i];
  return loss;
}

}  // namespace

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
    const double weight =
        1.0 / static_cast<double>(queries.count) / static_cast<double>(dimensions.size());
    for (int64_t q = 0; q < queries.count; ++q) {
      const int64_t first = options.in_batch_negatives ? 0 : q * batch.group;
      const int64_t count = options.in_batch_negatives ? passages.count : batch.group;
      std::vector<double> scores, d(static_cast<size_t>(count), 0.0);
      for (int64_t p = 0; p < count; ++p) {
        scores.push_back(queries.dot(q, passages, first + p) / options.temperature);
      }
      loss += query_loss(scores, q, batch, options, weight, d);
      for (int64_t p = 0; p < count; ++p) {
        const double factor = d[static_cast<size_t>(p)] / options.temperature;
        queries.add(q, factor, passages, first + p);
        passages.add(first + p, factor, queries, q);
      }
    }
    queries.unscale(batch.dimension, d_queries);
    passages.unscale(batch.dimension, d_passages);
  }
  return loss;
}

}  // namespace tamis::training

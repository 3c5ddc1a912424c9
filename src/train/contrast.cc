#include "train/contrast.h"

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

}  // namespace

std::vector<double> softmax(std::span<const double> x) {
  std::vector<double> out;
  const double all = log_sum_exp(x);
  for (double v : x) out.push_back(std::exp(v - all));
  return out;
}

std::vector<double> one_hot(size_t n, size_t at) {
  std::vector<double> out(n, 0.0);
  out[at] = 1;
  return out;
}

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

namespace {

/// One query's scores over all passages or over its group, and the loss on them.
double query_loss(std::span<const double> scores, int64_t query, size_t group, bool in_batch,
                  std::span<const double> teacher_scores, Distillation distillation, double weight,
                  std::span<double> d_scores) {
  const size_t begin = in_batch ? static_cast<size_t>(query) * group : 0;  // of its own group
  if (distillation == Distillation::kNone || teacher_scores.empty()) {
    return cross_entropy(scores, one_hot(scores.size(), begin), weight, d_scores);
  }
  const std::vector<double> teacher =
      softmax(teacher_scores.subspan(static_cast<size_t>(query) * group, group));
  if (distillation == Distillation::kKlDiv) {
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

Unit::Unit(std::span<const float> vectors, int64_t width, int64_t dim, bool normalize)
    : count(static_cast<int64_t>(vectors.size()) / width), dimension(dim), normalized(normalize) {
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
}

double Unit::dot(int64_t r, const Unit& other, int64_t c) const {
  // Four sums, so that one addition need not wait for the one before.
  double sum[4] = {};
  const double* a = values.data() + r * dimension;
  const double* b = other.values.data() + c * dimension;
  int64_t i = 0;
  for (; i + 4 <= dimension; i += 4) {
    for (int64_t k = 0; k < 4; ++k) sum[k] += a[i + k] * b[i + k];
  }
  for (; i < dimension; ++i) sum[0] += a[i] * b[i];
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

void Unit::add(int64_t r, double factor, const Unit& other, int64_t c) {
  double* g = gradient.data() + r * dimension;
  const double* v = other.values.data() + c * dimension;
  for (int64_t i = 0; i < dimension; ++i) g[i] += factor * v[i];
}

// With u = v / |v| and g the gradient of u, that of v is (g - u (u g)) / |v|.
void Unit::unscale(int64_t width, std::span<float> out) const {
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

ScoreTable::ScoreTable(int64_t n, int64_t passages_of_query, bool all_passages)
    : queries(n),
      group(passages_of_query),
      in_batch(all_passages),
      count(in_batch ? n * group : group),
      scores(static_cast<size_t>(n * count)),
      gradient(scores.size(), 0.0) {}

double table_loss(ScoreTable& table, std::span<const double> teacher, Distillation distillation,
                  double weight) {
  double loss = 0;
  for (int64_t q = 0; q < table.queries; ++q) {
    loss += query_loss(table.row(table.scores, q), q, static_cast<size_t>(table.group),
                       table.in_batch, teacher, distillation,
                       weight / static_cast<double>(table.queries), table.row(table.gradient, q));
  }
  return loss;
}

void fill_products(const Unit& queries, const Unit& passages, double temperature,
                   ScoreTable& table) {
  for (int64_t q = 0; q < table.queries; ++q) {
    for (int64_t p = 0; p < table.count; ++p) {
      table.row(table.scores, q)[static_cast<size_t>(p)] =
          queries.dot(q, passages, table.first(q) + p) / temperature;
    }
  }
}

void products_backward(ScoreTable& table, double temperature, Unit& queries, Unit& passages) {
  for (int64_t q = 0; q < table.queries; ++q) {
    for (int64_t p = 0; p < table.count; ++p) {
      const double d = table.row(table.gradient, q)[static_cast<size_t>(p)] / temperature;
      queries.add(q, d, passages, table.first(q) + p);
      passages.add(table.first(q) + p, d, queries, q);
    }
  }
}

}  // namespace tamis::training

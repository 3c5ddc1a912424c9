#pragma once

// What the contrastive losses are made of: tables of scores, softmax cross-entropy on their rows,
// and vectors scaled to length 1, each with its way back.

#include <cstdint>
#include <span>
#include <vector>

#include "train/losses.h"

namespace tamis::training {

std::vector<double> softmax(std::span<const double> x);
std::vector<double> one_hot(size_t n, size_t at);

/// -sum target log softmax(scores), times weight; adds its gradient.
double cross_entropy(std::span<const double> scores, std::span<const double> target, double weight,
                     std::span<double> d_scores);

/// Rows of vectors, cut to their first `dimension` numbers and, if `normalize`, scaled to length 1.
struct Unit {
  Unit(std::span<const float> vectors, int64_t width, int64_t dimension, bool normalize);
  double dot(int64_t r, const Unit& other, int64_t c) const;
  /// gradient of row r += factor * other's row c
  void add(int64_t r, double factor, const Unit& other, int64_t c);
  /// Adds the gradients of the vectors as they were given, rows `width` apart.
  void unscale(int64_t width, std::span<float> out) const;

  int64_t count, dimension;
  bool normalized;
  std::vector<double> values, length, gradient;
};

/// Scores of a step: query q over `count` passages from first(q) on, all of them or its own group.
struct ScoreTable {
  ScoreTable(int64_t queries, int64_t group, bool in_batch);
  int64_t first(int64_t q) const { return in_batch ? 0 : q * group; }
  std::span<double> row(std::vector<double>& values, int64_t q) const {
    return std::span(values).subspan(static_cast<size_t>(q * count), static_cast<size_t>(count));
  }

  int64_t queries, group;
  bool in_batch;
  int64_t count;
  std::vector<double> scores;
  std::vector<double> gradient;
};

/// The mean over the queries times `weight`; adds to the table's gradient.
double table_loss(ScoreTable& table, std::span<const double> teacher, Distillation distillation,
                  double weight);

/// Inner products / temperature; and the gradients of both sides from the table's.
void fill_products(const Unit& queries, const Unit& passages, double temperature,
                   ScoreTable& table);
void products_backward(ScoreTable& table, double temperature, Unit& queries, Unit& passages);

}  // namespace tamis::training

// BGE-M3's loss over its three kinds of scores and their sum.

#include <algorithm>
#include <map>

#include "train/contrast.h"

namespace tamis::training {
namespace {

constexpr double kSparseInEnsemble = 0.3, kSparseLoss = 0.1;

/// Lexical weights of a text: of each word the largest of its tokens, and which token that is.
struct Lexicon {
  struct Entry {
    double weight = 0;
    size_t token = 0;
  };
  std::map<int32_t, Entry> words;
};

std::vector<Lexicon> lexicons_of(const UnifiedBatch& b) {
  std::vector<Lexicon> out(b.cu_seqlens.size() - 1);
  for (size_t s = 0; s < out.size(); ++s) {
    for (auto t = static_cast<size_t>(b.cu_seqlens[s]);
         t < static_cast<size_t>(b.cu_seqlens[s + 1]); ++t) {
      const int32_t id = b.ids[t];
      if (std::find(b.special_ids.begin(), b.special_ids.end(), id) != b.special_ids.end())
        continue;
      const double weight = b.token_weights[t];
      if (weight <= 0) continue;  // relu: nothing, and no gradient
      Lexicon::Entry& entry = out[s].words[id];
      if (weight > entry.weight) entry = {weight, t};
    }
  }
  return out;
}

/// Calls f(entry of q, entry of p) for the words that both have.
template <class F>
void for_common_words(const Lexicon& q, const Lexicon& p, const F& f) {
  const bool fewer = q.words.size() <= p.words.size();
  for (const auto& [word, entry] : fewer ? q.words : p.words) {
    const auto& other = fewer ? p.words : q.words;
    if (const auto found = other.find(word); found != other.end()) {
      fewer ? f(entry, found->second) : f(found->second, entry);
    }
  }
}

void fill_sparse(const std::vector<Lexicon>& texts, double temperature, ScoreTable& table) {
  for (int64_t q = 0; q < table.queries; ++q) {
    for (int64_t p = 0; p < table.count; ++p) {
      double sum = 0;
      for_common_words(texts[static_cast<size_t>(q)],
                       texts[static_cast<size_t>(table.queries + table.first(q) + p)],
                       [&](const auto& a, const auto& b) { sum += a.weight * b.weight; });
      table.row(table.scores, q)[static_cast<size_t>(p)] = sum / temperature;
    }
  }
}

void sparse_backward(const std::vector<Lexicon>& texts, double temperature, ScoreTable& table,
                     std::span<float> d_weights) {
  for (int64_t q = 0; q < table.queries; ++q) {
    for (int64_t p = 0; p < table.count; ++p) {
      const double d = table.row(table.gradient, q)[static_cast<size_t>(p)] / temperature;
      for_common_words(texts[static_cast<size_t>(q)],
                       texts[static_cast<size_t>(table.queries + table.first(q) + p)],
                       [&](const auto& a, const auto& b) {
                         d_weights[a.token] += static_cast<float>(d * b.weight);
                         d_weights[b.token] += static_cast<float>(d * a.weight);
                       });
    }
  }
}

/// ColBERT: the mean over a query's tokens of their best match, without the first token of either.
class LateInteraction {
 public:
  LateInteraction(const UnifiedBatch& b, bool normalize)
      : tokens_(b.token_vectors, b.token_dimension, b.token_dimension, normalize),
        cu_(b.cu_seqlens),
        queries_(b.queries) {}

  void fill(double temperature, ScoreTable& table) {
    best_.clear();
    for (int64_t q = 0; q < table.queries; ++q) {
      for (int64_t p = 0; p < table.count; ++p) {
        double sum = 0;
        for_tokens(q, [&](int64_t i) {
          const auto [token, score] = best_match(i, queries_ + table.first(q) + p);
          best_.push_back(token);
          if (token >= 0) sum += score;
        });
        const int64_t n = length(q);
        table.row(table.scores, q)[static_cast<size_t>(p)] =
            n > 0 ? sum / static_cast<double>(n) / temperature : 0;
      }
    }
  }

  void backward(double temperature, ScoreTable& table, std::span<float> d_vectors) {
    size_t next = 0;
    for (int64_t q = 0; q < table.queries; ++q) {
      for (int64_t p = 0; p < table.count; ++p) {
        const double d = table.row(table.gradient, q)[static_cast<size_t>(p)] / temperature /
                         static_cast<double>(std::max<int64_t>(1, length(q)));
        for_tokens(q, [&](int64_t i) {
          const int64_t token = best_[next++];
          if (token < 0) return;
          tokens_.add(i, d, tokens_, token);
          tokens_.add(token, d, tokens_, i);
        });
      }
    }
    tokens_.unscale(tokens_.dimension, d_vectors);
  }

 private:
  int64_t length(int64_t text) const {
    return cu_[static_cast<size_t>(text + 1)] - cu_[static_cast<size_t>(text)] - 1;
  }
  template <class F>
  void for_tokens(int64_t text, const F& f) const {
    for (int64_t t = cu_[static_cast<size_t>(text)] + 1; t < cu_[static_cast<size_t>(text + 1)];
         ++t) {
      f(t);
    }
  }
  /// Token -1: the passage has none.
  std::pair<int64_t, double> best_match(int64_t token, int64_t passage) const {
    std::pair<int64_t, double> best = {-1, 0};
    for_tokens(passage, [&](int64_t j) {
      const double score = tokens_.dot(token, tokens_, j);
      if (best.first < 0 || score > best.second) best = {j, score};
    });
    return best;
  }

  Unit tokens_;
  std::span<const int32_t> cu_;
  int64_t queries_;
  std::vector<int64_t> best_;  ///< in the order of fill
};

/// The ensemble's probabilities as targets; it has no gradient of its own here.
double distil(ScoreTable& student, ScoreTable& teacher, double weight) {
  double loss = 0;
  for (int64_t q = 0; q < student.queries; ++q) {
    loss += cross_entropy(student.row(student.scores, q), softmax(teacher.row(teacher.scores, q)),
                          weight / static_cast<double>(student.queries),
                          student.row(student.gradient, q));
  }
  return loss;
}

}  // namespace

double unified_loss(const UnifiedBatch& b, const ContrastiveOptions& options, bool self_distill,
                    UnifiedGradients& gradients) {
  const double temperature = options.temperature;
  const auto queries_end = static_cast<size_t>(b.queries * b.dimension);
  Unit queries(b.vectors.first(queries_end), b.dimension, b.dimension, options.normalize);
  Unit passages(b.vectors.subspan(queries_end), b.dimension, b.dimension, options.normalize);
  const std::vector<Lexicon> lexicons = lexicons_of(b);
  LateInteraction late(b, options.normalize);

  const ScoreTable empty(b.queries, b.group, options.in_batch_negatives);
  ScoreTable dense = empty, sparse = empty, colbert = empty, all = empty;
  fill_products(queries, passages, temperature, dense);
  fill_sparse(lexicons, temperature, sparse);
  late.fill(temperature, colbert);
  for (size_t i = 0; i < all.scores.size(); ++i) {
    all.scores[i] = dense.scores[i] + kSparseInEnsemble * sparse.scores[i] + colbert.scores[i];
  }

  const double share = self_distill ? 0.5 / 4 : 1.0 / 4;
  const auto loss_of = [&](ScoreTable& table, double weight) {
    return table_loss(table, b.teacher, options.distillation, weight);
  };
  double loss = loss_of(dense, share) + loss_of(all, share) + loss_of(sparse, kSparseLoss * share) +
                loss_of(colbert, share);
  if (self_distill) {
    const double taught = 0.5 / 3;
    loss += distil(dense, all, taught) + distil(sparse, all, kSparseLoss * taught) +
            distil(colbert, all, taught);
  }
  for (size_t i = 0; i < all.gradient.size(); ++i) {
    dense.gradient[i] += all.gradient[i];
    sparse.gradient[i] += kSparseInEnsemble * all.gradient[i];
    colbert.gradient[i] += all.gradient[i];
  }

  gradients.vectors.assign(b.vectors.size(), 0.0f);
  gradients.token_weights.assign(b.token_weights.size(), 0.0f);
  gradients.token_vectors.assign(b.token_vectors.size(), 0.0f);
  products_backward(dense, temperature, queries, passages);
  queries.unscale(b.dimension, std::span(gradients.vectors).first(queries_end));
  passages.unscale(b.dimension, std::span(gradients.vectors).subspan(queries_end));
  sparse_backward(lexicons, temperature, sparse, gradients.token_weights);
  late.backward(temperature, colbert, gradients.token_vectors);
  return loss;
}

}  // namespace tamis::training

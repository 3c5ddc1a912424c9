// Attention for training on the CUDA backend against the ref device; see cuda_train_ops_test.cc.

#include "train_on_card.h"

namespace tamis {
namespace {

/// Operands of attention on both sides.
struct Attention {
  Attention(const std::vector<int32_t>& lengths, int64_t heads, int64_t d, float rate,
            std::mt19937& random, OnCard& card)
      : tokens(std::accumulate(lengths.begin(), lengths.end(), int64_t{0})),
        width(heads * d),
        q(tokens, width),
        k(tokens, width, 1),
        v(tokens, width),
        d_out(tokens, width, 4),
        noise(noise_rows(tokens)) {
    for (const int32_t n : lengths) cu.push_back(cu.back() + n);
    for (GuardedMat* m : {&q, &k, &v, &d_out}) m->fill(random);
    host.q = q.view();
    host.k = k.view();
    host.v = v.view();
    host.cu_seqlens = host.host_cu_seqlens = cu.data();
    host.sequences = static_cast<int64_t>(lengths.size());
    host.heads = heads;
    host.dropout = {rate, 99, 3};
    host.noise_rows = noise.data();
    on = host;
    on.q = card.put(q);
    on.k = card.put(k);
    on.v = card.put(v);
    on.cu_seqlens = card.put(cu);
    on.noise_rows = rate > 0 ? card.put(noise) : nullptr;
    on_d_out = card.put(d_out);
  }
  int64_t tokens, width;
  GuardedMat q, k, v, d_out;
  std::vector<uint32_t> noise;
  std::vector<int32_t> cu{0};
  TrainAttention host, on;
  ConstMat on_d_out;
};

TEST_P(CudaTrainOpsTest, AttentionAndItsGradients) {
  struct Case {
    std::vector<int32_t> lengths;
    int64_t heads, d;
    float rate;
  };
  // Sequences of over 128 take their queries in several steps.
  for (const Case& c : {Case{{1}, 1, 1, 0},
                        {{5, 1, 12}, 3, 7, 0},
                        {{5, 1, 12}, 3, 7, 0.2f},
                        {{40, 17}, 2, 32, 0.1f},
                        {{300}, 1, 64, 0.1f},
                        {{128, 129}, 2, 8, 0.5f},
                        {{129, 3, 100}, 2, 16, 0},
                        {{}, 2, 16, 0.1f}}) {
    Attention a(c.lengths, c.heads, c.d, c.rate, random_, *card_);
    const std::string what = testing::PrintToString(c.lengths);
    GuardedMat out(a.tokens, a.width), want_out(a.tokens, a.width);
    const Mat y = put(out);
    ops().attention(a.on, y);
    want().attention(a.host, want_out.view());
    expect_got(y, out, want_out, 1e-5, what + " out");
    const Mat same_out = put(want_out);
    GuardedMat got[3] = {{a.tokens, a.width}, {a.tokens, a.width}, {a.tokens, a.width}};
    GuardedMat expected[3] = {{a.tokens, a.width}, {a.tokens, a.width}, {a.tokens, a.width}};
    const Mat to[3] = {put(got[0]), put(got[1]), put(got[2])};
    ops().attention_backward(a.on, same_out, a.on_d_out, to[0], to[1], to[2]);
    want().attention_backward(a.host, want_out.view(), a.d_out.view(), expected[0].view(),
                              expected[1].view(), expected[2].view());
    const char* names[] = {" d_q", " d_k", " d_v"};
    for (int i = 0; i < 3; ++i) expect_got(to[i], got[i], expected[i], 4e-5, what + names[i]);
  }
}

TEST_P(CudaTrainOpsTest, AttentionDropsTheSameProbabilities) {
  // With values of 1 at one place the output is the probabilities after dropout.
  constexpr int64_t kTokens = 60, kHeads = 2, kWidth = 64;
  Attention a({7, kTokens}, kHeads, kWidth, 0.3f, random_, *card_);
  for (int64_t t = 0; t < 7 + kTokens; ++t) {
    for (int64_t i = 0; i < kHeads * kWidth; ++i)
      a.v.view().row(t)[i] = t - 7 == i % kWidth ? 1.0f : 0.0f;
  }
  a.on.v = put(a.v);
  GuardedMat got(7 + kTokens, kHeads * kWidth), expected(7 + kTokens, kHeads * kWidth);
  const Mat y = put(got);
  ops().attention(a.on, y);
  want().attention(a.host, expected.view());
  card_->get(y, got);
  size_t dropped = 0;
  for (int64_t t = 7; t < 7 + kTokens; ++t) {
    for (int64_t i = 0; i < kHeads * kWidth; ++i) {
      if (i % kWidth >= kTokens) continue;
      const bool zero = expected.view().row(t)[i] == 0;
      ASSERT_EQ(got.view().row(t)[i] == 0, zero) << t << " " << i;
      dropped += zero ? 1 : 0;
    }
  }
  EXPECT_NEAR(static_cast<double>(dropped) / (kTokens * kTokens * kHeads), 0.3, 0.03);
}

}  // namespace
}  // namespace tamis

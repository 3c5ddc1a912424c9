#include "engine/selftest_ops.h"

#include <fmt/format.h>

#include <cmath>
#include <numeric>
#include <random>

namespace tamis {
namespace {

/// Of the largest case below.
const ScratchShape kScratch{2048, 4096, 128, DType::kF16, 16};

std::vector<float> normal(std::mt19937& random, int64_t n, float scale = 1) {
  std::normal_distribution<float> distribution(0, scale);
  std::vector<float> out(static_cast<size_t>(n));
  for (float& x : out) x = distribution(random);
  return out;
}

std::string_view text(DType dtype) {
  return dtype == DType::kF16 ? "f16" : dtype == DType::kBF16 ? "bf16" : "f32";
}

/// What numbers of so many bits lose: unit roundoff.
double unit(DType dtype) {
  return dtype == DType::kF32 ? 0x1p-24 : dtype == DType::kF16 ? 0x1p-11 : 0x1p-8;
}

OpCase linear_case(int64_t rows, int64_t in, int64_t out, DType dtype, Activation activation) {
  const char* names[] = {"", " + gelu", " + tanh", " + relu"};
  OpCase c;
  c.name = fmt::format("linear {}, [{}, {}] to {}{}", text(dtype), rows, in, out,
                       names[static_cast<int>(activation)]);
  // Terms of unit variance: a sum of k errs by about sqrt(k) units of its terms (16 bits), or of
  // its own size (f32); 6 times that is allowed.
  c.tolerance = 6 * unit(dtype) * std::sqrt(in) * (dtype == DType::kF32 ? std::sqrt(in) : 1);
  c.run = [=](OpBench& bench) {
    std::mt19937 random(7);
    const PackedLinear w = bench.pack(normal(random, in * out), normal(random, out), dtype);
    const Mat x = bench.put(normal(random, rows * in), rows), y = bench.room(rows, out);
    bench.ops().linear(w, x, activation, y);
    return bench.get(y);
  };
  return c;
}

std::vector<int32_t> bounds(const std::vector<int32_t>& lengths) {
  std::vector<int32_t> out{0};
  for (int32_t length : lengths) out.push_back(out.back() + length);
  return out;
}

OpCase attention_case(std::vector<int32_t> lengths, int64_t heads, int64_t head_dim, DType dtype) {
  OpCase c;
  c.attention = true;
  c.name = fmt::format("attention {}, {} sequences, {} heads of {}", text(dtype), lengths.size(),
                       heads, head_dim);
  c.tolerance = dtype == DType::kF32 ? 2e-5 : dtype == DType::kF16 ? 2e-3 : 1.2e-2;
  c.run = [=](OpBench& bench) {
    std::mt19937 random(11);
    const std::vector<int32_t> cu = bounds(lengths);
    const int64_t tokens = cu.back(), width = heads * head_dim;
    const Mat q = bench.put(normal(random, tokens * width), tokens);
    const Mat kv = bench.put(normal(random, tokens * 2 * width), tokens);
    const Mat out = bench.room(tokens, width);
    const int32_t* on_device = bench.put(cu);
    bench.ops().attention(
        {q, kv.col_range(0, width), kv.col_range(width, 2 * width), on_device, on_device,
         static_cast<int64_t>(lengths.size()), heads, dtype, cu.data(), cu.data()},
        out);
    return bench.get(out);
  };
  return c;
}

OpCase embed_case() {
  OpCase c{"embed_layer_norm", false, 1e-5, {}};
  c.run = [](OpBench& bench) {
    std::mt19937 random(13);
    const int64_t hidden = 384, tokens = 70;
    std::vector<int32_t> ids(tokens), positions(tokens), types(tokens, 0);
    for (int32_t& id : ids) id = static_cast<int32_t>(random() % 500);
    std::iota(positions.begin(), positions.end(), 2);
    const std::vector<float> words = normal(random, 500 * hidden);
    EmbeddingWeights w;
    w.words = reinterpret_cast<const std::byte*>(bench.put(words));
    w.vocab = 500;
    w.hidden = hidden;
    w.positions = bench.put(normal(random, 100 * hidden));
    w.max_positions = 100;
    w.types = bench.put(normal(random, 2 * hidden));
    w.type_vocab = 2;
    w.norm = {bench.put(normal(random, hidden)), bench.put(normal(random, hidden)), 1e-5f};
    const Mat out = bench.room(tokens, hidden);
    bench.ops().embed_layer_norm(w,
                                 {bench.put(ids), bench.put(positions), bench.put(types),
                                  bench.put(std::vector<int32_t>{0, 70}), tokens, 1},
                                 out);
    return bench.get(out);
  };
  return c;
}

/// Ops on rows, each on a matrix of 300 x 1,000 of its own.
OpCase rows_case(std::string name, double tolerance, const std::function<Mat(OpBench&, Mat)>& op) {
  return {std::move(name), false, tolerance, [op](OpBench& bench) {
            std::mt19937 random(17);
            return bench.get(op(bench, bench.put(normal(random, 300 * 1000), 300)));
          }};
}

}  // namespace

OpBench::OpBench(std::shared_ptr<Device> device, std::chrono::milliseconds timeout)
    : device_(std::move(device)),
      account_(device_->open_account("selftest", MemoryAccount::no_limit)),
      timeout_(timeout),
      stream_(device_->make_stream({})) {
  buffers_.push_back(
      device_->allocate(device_->scratch_bytes(kScratch, {}), account_, Purpose::kWorkspace));
  ops().set_scratch({buffers_[0].data(), buffers_[0].bytes()});
}

TrainOps* OpBench::train_ops() {
  TrainOps* ops = stream_->train_ops();
  if (ops == nullptr || train_scratch_) return ops;
  const size_t bytes = ops->scratch_bytes({512, 512, 1024, 32});
  buffers_.push_back(device_->allocate(std::max<size_t>(bytes, 64), account_, Purpose::kWorkspace));
  ops->set_scratch({buffers_.back().data(), buffers_.back().bytes()});
  train_scratch_ = true;
  return ops;
}

std::byte* OpBench::put_bytes(const void* data, size_t bytes) {
  buffers_.push_back(device_->allocate(std::max<size_t>(bytes, 64), account_, Purpose::kWeights));
  stream_->upload(buffers_.back().data(), data, bytes);
  finish();  // `data` is a temporary of the caller's
  return buffers_.back().data();
}

Mat OpBench::room(int64_t rows, int64_t cols) {
  const auto bytes = static_cast<size_t>(rows * cols) * sizeof(float);
  buffers_.push_back(device_->allocate(bytes, account_, Purpose::kWorkspace));
  return {reinterpret_cast<float*>(buffers_.back().data()), rows, cols};
}

PackedLinear OpBench::pack(const std::vector<float>& weights, const std::vector<float>& bias,
                           DType dtype) {
  PackedLinear out;
  out.out_features = static_cast<int64_t>(bias.size());
  out.in_features = static_cast<int64_t>(weights.size()) / out.out_features;
  out.dtype = dtype;
  out.bytes = device_->linear_bytes(out.in_features, out.out_features, dtype);
  const TensorView w{"weight",
                     DType::kF32,
                     {out.out_features, out.in_features},
                     std::as_bytes(std::span(weights))};
  const TensorView b{"bias", DType::kF32, {out.out_features}, std::as_bytes(std::span(bias))};
  std::byte* packed = allocate_host(out.bytes);
  try {
    ops().pack_linear({{&w}, {&b}}, dtype, packed);
    out.data = put_bytes(packed, out.bytes);
  } catch (...) {
    free_host(packed);
    throw;
  }
  free_host(packed);
  return out;
}

std::vector<float> OpBench::get(ConstMat m) {
  std::vector<float> out(static_cast<size_t>(m.rows * m.cols));
  stream_->download(out.data(), m.data, out.size() * sizeof(float));
  finish();
  return out;
}

std::vector<OpCase> op_cases() {
  std::vector<OpCase> out;
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    out.push_back(linear_case(1, 1024, 1024, dtype, Activation::kNone));
    out.push_back(linear_case(64, 1024, 4096, dtype, Activation::kGelu));
    out.push_back(linear_case(37, 384, 1536, dtype, Activation::kRelu));
    out.push_back(linear_case(5, 768, 768, dtype, Activation::kTanh));
    out.push_back(linear_case(33, 1024, 1, dtype, Activation::kNone));
    out.push_back(linear_case(9, 33, 17, dtype, Activation::kNone));
    out.push_back(attention_case({128, 7, 1, 65}, 16, 64, dtype));
    out.push_back(attention_case({200, 33}, 12, 32, dtype));
    out.push_back(attention_case({70, 70}, 4, 128, dtype));
    out.push_back(attention_case({50}, 3, 24, dtype));
  }
  out.push_back(embed_case());
  out.push_back(rows_case("add_layer_norm", 1e-4, [](OpBench& bench, Mat x) {
    std::mt19937 random(19);
    const float* gamma = bench.put(normal(random, x.cols));
    bench.ops().add_layer_norm(x, bench.put(normal(random, x.rows * x.cols), x.rows),
                               {gamma, bench.put(normal(random, x.cols)), 1e-5f}, x);
    return x;
  }));
  out.push_back(rows_case("gather_rows in place", 0, [](OpBench& bench, Mat x) {
    bench.ops().gather_rows(x, bench.put(std::vector<int32_t>{0, 5, 6, 299}), x.row_range(0, 4));
    return x.row_range(0, 4);
  }));
  out.push_back(rows_case("mean_rows", 1e-5, [](OpBench& bench, Mat x) {
    const Mat y = bench.room(3, x.cols);
    bench.ops().mean_rows(x, bench.put(std::vector<int32_t>{0, 1, 100, 300}), y);
    return y;
  }));
  out.push_back(rows_case("max_rows", 0, [](OpBench& bench, Mat x) {
    const Mat y = bench.room(1, x.cols);
    bench.ops().max_rows(x.row_range(0, 100), false, y);
    bench.ops().max_rows(x.row_range(100, 300), true, y);
    return y;
  }));
  out.push_back(rows_case("l2_normalize", 1e-6, [](OpBench& bench, Mat x) {
    bench.ops().l2_normalize(x);
    return x;
  }));
  return out;
}

std::vector<OpTiming> op_timings() {
  std::vector<OpTiming> out;
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    out.push_back({fmt::format("linear {}, [2048, 1024] to 4096 + gelu", text(dtype)),
                   2.0 * 2048 * 1024 * 4096, [dtype](OpBench& bench) -> std::function<void()> {
                     std::mt19937 random(23);
                     const PackedLinear w =
                         bench.pack(normal(random, 1024 * 4096), normal(random, 4096), dtype);
                     const Mat x = bench.put(normal(random, 2048 * 1024), 2048);
                     const Mat y = bench.room(2048, 4096);
                     return [&bench, w, x, y] { bench.ops().linear(w, x, Activation::kGelu, y); };
                   }});
    out.push_back(
        {fmt::format("attention {}, 4 x 512 tokens, 16 heads of 64", text(dtype)),
         4.0 * 4 * 512 * 512 * 1024, [dtype](OpBench& bench) -> std::function<void()> {
           std::mt19937 random(29);
           const auto cu = std::make_shared<std::vector<int32_t>>(
               std::vector<int32_t>{0, 512, 1024, 1536, 2048});
           const Mat q = bench.put(normal(random, 2048 * 1024), 2048);
           const Mat y = bench.room(2048, 1024);
           const int32_t* on = bench.put(*cu);
           return [&bench, q, y, on, cu, dtype] {
             bench.ops().attention({q, q, q, on, on, 4, 16, dtype, cu->data(), cu->data()}, y);
           };
         }});
  }
  return out;
}

}  // namespace tamis

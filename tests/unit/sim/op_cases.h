#pragma once

// Every op with all of its operands, each by name and in an allocation of its own.

#include <algorithm>
#include <map>
#include <random>
#include <span>

#include "sim_fixture.h"

namespace tamis {

constexpr int64_t kGap = 3;  // between the rows of a matrix

struct Operand {
  size_t element_bytes = 1;
  std::vector<std::byte> initial;
};

/// Where each operand is.
struct Places {
  std::map<std::string, std::byte*> by_name;

  template <class T = float>
  T* at(const std::string& name) const {
    return reinterpret_cast<T*>(by_name.at(name));
  }
  Mat mat(const std::string& name, int64_t rows, int64_t cols) const {
    return {at(name), rows, cols, cols + kGap};
  }
};

/// A call of an op on ragged shapes.
struct OpCase {
  std::string op;
  std::map<std::string, Operand> operands;
  std::function<void(Ops&, const Places&)> run;
};

template <class T>
Operand operand(const std::vector<T>& values) {
  Operand out;
  out.element_bytes = sizeof(T);
  out.initial.resize(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(out.initial.data(), values.data(), out.initial.size());
  return out;
}

class Cases {
 public:
  Cases(Device& host, int64_t rows, int64_t heads, int64_t head_dim)
      : host_(host), rows_(rows), heads_(heads), width_(heads * head_dim) {
    // Sequences of 1, 2, 3, ... tokens and the rest.
    for (int64_t length = 1; bounds_.back() < rows; ++length) {
      bounds_.push_back(static_cast<int32_t>(std::min<int64_t>(rows, bounds_.back() + length)));
    }
    scratch_ = host.scratch_bytes({rows, width_ + 5, head_dim}, one_thread());
    embed();
    for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) linear(dtype);
    add_layer_norm();
    attention();
    gather_rows();
    mean_rows();
    max_rows();
    l2_normalize();
  }
  const std::vector<OpCase>& all() const& { return all_; }
  static StreamOptions one_thread() {
    StreamOptions options;
    options.threads = 1;
    return options;
  }

 private:
  std::vector<float> numbers(int64_t n) {
    std::normal_distribution<float> normal;
    std::vector<float> out(static_cast<size_t>(n));
    for (float& x : out) x = normal(random_);
    return out;
  }
  Operand mat(int64_t rows, int64_t cols) {
    return operand(numbers(rows == 0 ? 0 : (rows - 1) * (cols + kGap) + cols));
  }
  std::vector<int32_t> indices(int64_t n, int32_t limit) {
    std::vector<int32_t> out(static_cast<size_t>(n));
    for (int32_t& x : out) x = static_cast<int32_t>(random_() % static_cast<uint32_t>(limit));
    return out;
  }
  OpCase& add(const std::string& op) {
    all_.emplace_back().op = op;
    if (scratch_ > 0) all_.back().operands["scratch"].initial.resize(scratch_);
    return all_.back();
  }
  int64_t sequences() const { return static_cast<int64_t>(bounds_.size()) - 1; }

  void embed() {
    OpCase& c = add("embed_layer_norm");
    std::vector<uint16_t> words;
    for (float x : numbers(7 * width_)) words.push_back(f32_to_f16(x));
    c.operands["words"] = operand(words);
    c.operands["position table"] = operand(numbers(11 * width_));
    c.operands["type table"] = operand(numbers(2 * width_));
    c.operands["gamma"] = operand(numbers(width_));
    c.operands["beta"] = operand(numbers(width_));
    c.operands["ids"] = operand(indices(rows_, 7));
    c.operands["positions"] = operand(indices(rows_, 11));
    c.operands["type_ids"] = operand(indices(rows_, 2));
    c.operands["cu_seqlens"] = operand(bounds_);
    c.operands["out"] = mat(rows_, width_);
    c.run = [tokens = rows_, n = sequences(), hidden = width_](Ops& ops, const Places& p) {
      EmbeddingWeights w;
      w.words = p.at<std::byte>("words");
      w.word_dtype = DType::kF16;
      w.vocab = 7;
      w.hidden = hidden;
      w.positions = p.at("position table");
      w.max_positions = 11;
      w.types = p.at("type table");
      w.type_vocab = 2;
      w.norm = {p.at("gamma"), p.at("beta"), 1e-5f};
      const BatchView batch{p.at<int32_t>("ids"),
                            p.at<int32_t>("positions"),
                            p.at<int32_t>("type_ids"),
                            p.at<int32_t>("cu_seqlens"),
                            tokens,
                            n};
      ops.embed_layer_norm(w, batch, p.mat("out", tokens, hidden));
    };
  }

  void linear(DType dtype) {
    OpCase& c = add("linear");
    const int64_t in = width_, out = width_ + 5;
    const std::vector<float> weight = numbers(in * out), bias = numbers(out);
    const TensorView w{"w", DType::kF32, {out, in}, std::as_bytes(std::span(weight))};
    const TensorView b{"b", DType::kF32, {out}, std::as_bytes(std::span(bias))};
    const size_t bytes = host_.linear_bytes(in, out, dtype);
    const std::unique_ptr<std::byte, void (*)(std::byte*)> packed(allocate_host(bytes), free_host);
    host_.make_stream(one_thread())->ops().pack_linear({{&w}, {&b}}, dtype, packed.get());
    c.operands["weights"] = operand(std::vector<std::byte>(packed.get(), packed.get() + bytes));
    c.operands["x"] = mat(rows_, in);
    c.operands["y"] = mat(rows_, out);
    c.run = [=, rows = rows_](Ops& ops, const Places& p) {
      ops.linear({in, out, dtype, p.at<std::byte>("weights"), bytes}, p.mat("x", rows, in),
                 Activation::kGelu, p.mat("y", rows, out));
    };
  }

  void add_layer_norm() {
    OpCase& c = add("add_layer_norm");
    c.operands["x"] = mat(rows_, width_);
    c.operands["residual"] = mat(rows_, width_);
    c.operands["y"] = mat(rows_, width_);
    c.operands["gamma"] = operand(numbers(width_));
    c.operands["beta"] = operand(numbers(width_));
    c.run = [rows = rows_, cols = width_](Ops& ops, const Places& p) {
      ops.add_layer_norm(p.mat("x", rows, cols), p.mat("residual", rows, cols),
                         {p.at("gamma"), p.at("beta"), 1e-5f}, p.mat("y", rows, cols));
    };
  }

  void attention() {
    OpCase& c = add("attention");
    for (const char* name : {"q", "k", "v", "out"}) c.operands[name] = mat(rows_, width_);
    c.operands["cu_queries"] = operand(bounds_);
    c.operands["cu_keys"] = operand(bounds_);
    c.run = [rows = rows_, cols = width_, n = sequences(), heads = heads_](Ops& ops,
                                                                           const Places& p) {
      const AttentionView a{p.mat("q", rows, cols),
                            p.mat("k", rows, cols),
                            p.mat("v", rows, cols),
                            p.at<int32_t>("cu_queries"),
                            p.at<int32_t>("cu_keys"),
                            n,
                            heads};
      ops.attention(a, p.mat("out", rows, cols));
    };
  }

  void gather_rows() {
    OpCase& c = add("gather_rows");
    const int64_t picked = rows_ / 2;
    c.operands["x"] = mat(rows_, width_);
    c.operands["rows"] = operand(indices(picked, static_cast<int32_t>(rows_)));
    c.operands["y"] = mat(picked, width_);
    c.run = [=, rows = rows_, cols = width_](Ops& ops, const Places& p) {
      ops.gather_rows(p.mat("x", rows, cols), p.at<int32_t>("rows"), p.mat("y", picked, cols));
    };
  }

  void mean_rows() {
    OpCase& c = add("mean_rows");
    c.operands["x"] = mat(rows_, width_);
    c.operands["cu_seqlens"] = operand(bounds_);
    c.operands["y"] = mat(sequences(), width_);
    c.run = [rows = rows_, cols = width_, n = sequences()](Ops& ops, const Places& p) {
      ops.mean_rows(p.mat("x", rows, cols), p.at<int32_t>("cu_seqlens"), p.mat("y", n, cols));
    };
  }

  void max_rows() {
    OpCase& c = add("max_rows");
    c.operands["x"] = mat(rows_, width_);
    c.operands["y"] = mat(1, width_);
    c.run = [rows = rows_, cols = width_](Ops& ops, const Places& p) {
      ops.max_rows(p.mat("x", rows, cols), true, p.mat("y", 1, cols));
    };
  }

  void l2_normalize() {
    OpCase& c = add("l2_normalize");
    c.operands["y"] = mat(rows_, width_);
    c.run = [rows = rows_, cols = width_](Ops& ops, const Places& p) {
      ops.l2_normalize(p.mat("y", rows, cols));
    };
  }

  Device& host_;
  int64_t rows_, heads_, width_;
  size_t scratch_;
  std::vector<int32_t> bounds_{0};
  std::mt19937 random_{42};
  std::vector<OpCase> all_;
};

/// An op's operands on a device, each in an allocation of its own.
class OnDevice {
 public:
  OnDevice(const std::shared_ptr<Device>& device, const OpCase& op_case, size_t short_by = 0,
           const std::string& which = "")
      : op_case_(op_case), stream_(device->make_stream(Cases::one_thread())) {
    const auto account = device->open_account("test", MemoryAccount::no_limit);
    for (const auto& [name, operand] : op_case.operands) {
      const size_t bytes = operand.initial.size() - (name == which ? short_by : 0);
      Buffer& buffer = buffers_[name] = device->allocate(bytes, account, Purpose::kWorkspace);
      stream_->upload(buffer.data(), operand.initial.data(), bytes);
      places.by_name[name] = buffer.data();
    }
    stream_->synchronize(kSoon);
  }

  void run() {
    if (const auto scratch = places.by_name.find("scratch"); scratch != places.by_name.end()) {
      stream_->ops().set_scratch({scratch->second, op_case_.operands.at("scratch").initial.size()});
    }
    op_case_.run(stream_->ops(), places);
  }
  void synchronize() { stream_->synchronize(kSoon); }
  void free(const std::string& name) { buffers_.erase(name); }

  /// All bytes of all operands, those between the rows included.
  std::map<std::string, std::vector<std::byte>> contents() {
    std::map<std::string, std::vector<std::byte>> out;
    for (const auto& [name, buffer] : buffers_) {
      if (name == "scratch") continue;
      out[name].resize(buffer.bytes());
      stream_->download(out[name].data(), buffer.data(), buffer.bytes());
    }
    stream_->synchronize(kSoon);
    return out;
  }

  Places places;

 private:
  const OpCase& op_case_;
  std::map<std::string, Buffer> buffers_;
  std::shared_ptr<Stream> stream_;
};

}  // namespace tamis

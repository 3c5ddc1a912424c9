#include "model/weights.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <span>

#include "base/fail.h"
#include "model/int8_checkpoint.h"
#include "model/int8_writer.h"

namespace tamis {

std::shared_ptr<const HostModel> HostModel::open(const ModelSpec& spec, const LogSink& log) {
  check_int8_manifest(spec.directory);
  auto checkpoint = io::Checkpoint::open(spec.directory, log);
  ModelSpec whole = spec;
  if (spec.kind == ModelKind::kEmbedder) {
    for (const char* head : {"sparse_linear", "colbert_linear"}) checkpoint.add_part(head, log);
    find_token_heads(whole, checkpoint);
  }
  ModelTensors tensors(whole, checkpoint, log);
  return std::make_shared<HostModel>(
      HostModel{std::move(whole), std::move(checkpoint), std::move(tensors)});
}

int64_t HostModel::output_size() const {
  if (spec.pooling == Pooling::kSplade) return spec.config.vocab_size;
  if (spec.kind != ModelKind::kCrossEncoder) return spec.config.hidden_size;
  return tensors.at(Slot::kHeadOutWeight).shape[0];
}

OutputLayout HostModel::widest_layout() const {
  return {static_cast<size_t>(output_size()), spec.sparse_head ? size_t{1} : 0,
          static_cast<size_t>(spec.colbert_dimension)};
}

OutputLayout HostModel::layout(const Outputs& outputs) const {
  const OutputLayout all = widest_layout();
  const auto require = [&](bool there, std::string_view what, std::string_view head) {
    if (there) return;
    fail(ErrorCode::kInvalidArgument,
         "{}: {} are BGE-M3's, and this model has no {}: neither {}.pt nor {}.safetensors is there",
         spec.directory.string(), what, head, head, head);
  };
  const auto hidden = static_cast<size_t>(spec.config.hidden_size);
  if (outputs.hidden_states && (outputs.vector || outputs.token_weights || outputs.token_vectors)) {
    fail(ErrorCode::kInvalidArgument, "hidden states come by themselves, without other outputs");
  }
  if (outputs.token_weights) require(spec.sparse_head, "sparse weights", "sparse_linear");
  if (outputs.token_vectors) {
    require(spec.colbert_dimension > 0, "ColBERT vectors", "colbert_linear");
  }
  const size_t of_token = outputs.hidden_states   ? hidden
                          : outputs.token_vectors ? all.token_vector
                                                  : 0;
  const size_t widest = std::max(outputs.vector ? all.vector : 0, of_token);
  if (outputs.dimension > widest) {
    fail(ErrorCode::kInvalidArgument, "{}: vectors have {} numbers; {} were asked for",
         spec.directory.string(), widest, outputs.dimension);
  }
  return {outputs.vector ? all.vector : 0, outputs.token_weights ? all.token_weight : 0, of_token};
}

namespace {

constexpr size_t kChunkBytes = size_t{16} << 20;

/// Host memory for uploads, two pieces in turns: one is filled while the other is on its way.
class Staging {
 public:
  Staging(Stream& stream, std::chrono::milliseconds timeout) : stream_(stream), timeout_(timeout) {}
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  ~Staging() {
    for (Piece& piece : pieces_) {
      // After an error the stream may still want to read what is freed here.
      try {
        if (piece.sent) piece.sent->synchronize(timeout_);
      } catch (const Error&) {
      }
      free_host(piece.data);
    }
  }

  std::byte* next(size_t bytes) {
    piece_ = &pieces_[turn_++ % pieces_.size()];
    if (piece_->sent) piece_->sent->synchronize(timeout_);
    piece_->sent = nullptr;
    if (piece_->bytes < bytes) {
      free_host(std::exchange(piece_->data, nullptr));
      piece_->bytes = 0;
      piece_->data = allocate_host(bytes);
      piece_->bytes = bytes;
    }
    return piece_->data;
  }
  void send(std::byte* to, size_t bytes) {
    stream_.upload(to, piece_->data, bytes);
    piece_->sent = stream_.record();
  }

 private:
  struct Piece {
    std::byte* data = nullptr;
    size_t bytes = 0;
    std::unique_ptr<Event> sent;
  };
  Stream& stream_;
  std::chrono::milliseconds timeout_;
  std::array<Piece, 2> pieces_;
  size_t turn_ = 0;
  Piece* piece_ = nullptr;
};

/// Walks the model in one order and gives each part its place in the buffer. Without a stream it
/// only counts bytes, so that the plan cannot differ from what is done.
class Placer {
 public:
  Placer(const HostModel& model, const Device& device, DType dtype,
         const ModelQuantization* quantization = nullptr)
      : model_(model), device_(device), dtype_(dtype), quantization_(quantization) {}

  void write_to(std::byte* base, Stream& stream, std::chrono::milliseconds timeout) {
    base_ = base;
    stream_ = &stream;
    staging_ = std::make_unique<Staging>(stream, timeout);
  }

  /// The buffer was filled before: only find everything in it.
  void read_from(const std::byte* base) { base_ = const_cast<std::byte*>(base); }

  size_t bytes() const { return at_; }

  void place(ModelWeights& out) {
    const ModelSpec& spec = model_.spec;
    out.embeddings = embeddings();
    for (int64_t i = 0; i < spec.config.num_hidden_layers; ++i) out.layers.push_back(layer(i));
    // Nothing is won in int8 here, and these numbers are the results.
    const DType dtype = dtype_ == DType::kI8 ? DType::kF32 : dtype_;
    if (spec.kind == ModelKind::kCrossEncoder) {
      out.head_dense = linear({{Slot::kHeadDenseWeight, Slot::kHeadDenseBias}}, 0, dtype);
      out.head_out = linear({{Slot::kHeadOutWeight, Slot::kHeadOutBias}}, 0, dtype);
    }
    if (spec.pooling == Pooling::kSplade) {
      out.lm_dense = linear({{Slot::kLmDenseWeight, Slot::kLmDenseBias}}, 0, dtype);
      out.lm_norm = norm(Slot::kLmGamma, Slot::kLmBeta);
      out.lm_decoder = linear({{Slot::kLmDecoderWeight, Slot::kLmDecoderBias}}, 0, dtype);
    }
    if (spec.sparse_head) {
      out.sparse = linear({{Slot::kSparseWeight, Slot::kSparseBias}}, 0, dtype);
    }
    if (spec.colbert_dimension > 0) {
      out.colbert = linear({{Slot::kColbertWeight, Slot::kColbertBias}}, 0, dtype);
    }
  }

  EmbeddingWeights embeddings() {
    EmbeddingWeights out;
    words(out);
    out.positions = floats(Slot::kPositions);
    out.max_positions = model_.tensors.at(Slot::kPositions).shape[0];
    if (model_.tensors.has(Slot::kTypes)) {
      out.types = floats(Slot::kTypes);
      out.type_vocab = model_.tensors.at(Slot::kTypes).shape[0];
    } else {
      const size_t bytes = static_cast<size_t>(out.hidden) * sizeof(float);
      out.types = reinterpret_cast<const float*>(
          put(bytes, [&](std::byte* to) { std::fill_n(to, bytes, std::byte{0}); }));
      out.type_vocab = 1;
    }
    out.norm = norm(Slot::kEmbeddingGamma, Slot::kEmbeddingBeta);
    return out;
  }

  LayerWeights layer(int64_t i) {
    static const LayerQuantization kAsTheyAre;
    const LayerQuantization& q =
        quantization_ != nullptr ? quantization_->at(static_cast<size_t>(i)) : kAsTheyAre;
    LayerWeights out;
    out.query = linear({{Slot::kQueryWeight, Slot::kQueryBias}}, i, dtype_, &q.attention);
    out.key_value =
        linear({{Slot::kKeyWeight, Slot::kKeyBias}, {Slot::kValueWeight, Slot::kValueBias}}, i,
               dtype_, &q.attention);
    out.attention_out =
        linear({{Slot::kAttentionWeight, Slot::kAttentionBias}}, i, dtype_, &q.context);
    out.up = linear({{Slot::kUpWeight, Slot::kUpBias}}, i, dtype_, &q.up);
    out.down = linear({{Slot::kDownWeight, Slot::kDownBias}}, i, dtype_, &q.down);
    out.attention_norm = norm(Slot::kAttentionGamma, Slot::kAttentionBeta, i);
    out.output_norm = norm(Slot::kOutputGamma, Slot::kOutputBeta, i);
    return out;
  }

 private:
  /// The next piece of the buffer, filled on the host and sent where there is a stream.
  const std::byte* put(size_t bytes, const std::function<void(std::byte*)>& fill) {
    // Without a buffer this only counts.
    std::byte* to = base_ == nullptr ? nullptr : base_ + at_;
    at_ += (bytes + 63) / 64 * 64;
    if (stream_ == nullptr) return to;
    if (device_.info().host_memory) {
      fill(to);
    } else {
      fill(staging_->next(bytes));
      staging_->send(to, bytes);
    }
    return to;
  }

  const float* floats(Slot slot, int64_t layer = 0) {
    const TensorView& tensor = model_.tensors.at(slot, layer);
    const auto n = static_cast<size_t>(element_count(tensor.shape));
    return reinterpret_cast<const float*>(put(n * sizeof(float), [&](std::byte* to) {
      require_finite(tensor);
      convert_to_f32(tensor.dtype, tensor.bytes.data(), reinterpret_cast<float*>(to), n);
      model_.checkpoint.drop_pages(tensor);
    }));
  }

  LayerNormWeights norm(Slot gamma, Slot beta, int64_t layer = 0) {
    const float* g = floats(gamma, layer);
    return {g, floats(beta, layer), static_cast<float>(model_.spec.config.layer_norm_eps)};
  }

  PackedLinear linear(std::initializer_list<std::pair<Slot, Slot>> parts, int64_t layer,
                      DType dtype, const InputQuantization* quantization = nullptr) {
    LinearSource source;
    PackedLinear out;
    size_t int8 = 0;
    for (auto [weight, bias] : parts) {
      source.weights.push_back(&model_.tensors.at(weight, layer));
      source.biases.push_back(&model_.tensors.at(bias, layer));
      out.out_features += source.weights.back()->shape[0];
      int8 += source.weights.back()->dtype == DType::kI8;
    }
    // A quantised checkpoint has chosen: what it left alone is not quantised here.
    const bool all_int8 = int8 == parts.size();
    if (dtype == DType::kI8 && model_.tensors.quantized() && !all_int8) dtype = DType::kF16;
    out.in_features = source.weights[0]->shape[1];
    out.dtype = dtype;
    out.bytes = device_.linear_bytes(out.in_features, out.out_features, dtype);
    out.data = put(out.bytes, [&](std::byte* to) {
      const std::vector<const TensorView*> stored = source.weights;
      source.quantization = quantization;
      if (all_int8 && dtype == DType::kI8) take_stored_int8(source);
      const auto wide = widen_int8(source);
      stream_->ops().pack_linear(source, dtype, to);
      for (const TensorView* w : stored) model_.checkpoint.drop_pages(*w);
    });
    return out;
  }

  /// Inputs that are stacked share one quantisation (a check of the writer's own rule).
  void take_stored_int8(LinearSource& source) const {
    for (const TensorView* w : source.weights) {
      const Int8Weight& parts = *model_.tensors.int8(*w);
      if (source.int8.empty()) source.quantization = &parts.input;
      if (parts.input.outlier_columns != source.quantization->outlier_columns ||
          parts.input.smoothing != source.quantization->smoothing) {
        fail(ErrorCode::kDataLoss,
             "tensors {} and {} read the same input, but their outlier columns or smoothing differ",
             source.weights[0]->name, w->name);
      }
      source.int8.push_back({parts.scale.data(), parts.outliers.data()});
    }
  }

  struct Widened {
    TensorView view;
    std::vector<float> values;
  };

  /// int8 weights that are packed as something else become f32 tensors for the time being.
  std::vector<std::unique_ptr<Widened>> widen_int8(LinearSource& source) const {
    std::vector<std::unique_ptr<Widened>> out;
    if (!source.int8.empty()) return out;
    for (const TensorView*& w : source.weights) {
      if (w->dtype != DType::kI8) continue;
      out.push_back(std::make_unique<Widened>());
      Widened& wide = *out.back();
      wide.values = dequantize(*w, *model_.tensors.int8(*w));
      wide.view = {w->name, DType::kF32, w->shape, std::as_bytes(std::span(wide.values))};
      w = &wide.view;
    }
    return out;
  }

  /// Where the device reads host memory nothing: each batch reads its rows from the file. Elsewhere
  /// a copy, no wider than the file's and no wider than dtype.
  void words(EmbeddingWeights& out) {
    const TensorView& table = model_.tensors.at(Slot::kWords);
    out.word_dtype = table.dtype;
    out.vocab = table.shape[0];
    out.hidden = table.shape[1];
    if (device_.info().host_memory) return;
    const bool as_stored = size_of(table.dtype) == 2;
    out.word_dtype = as_stored ? table.dtype : dtype_ == DType::kI8 ? DType::kF16 : dtype_;
    out.words = base_ + at_;
    if (stream_ != nullptr) send_words(table, out.word_dtype, base_ + at_);
    at_ += (table_bytes(table, out.word_dtype) + 63) / 64 * 64;
  }

  static size_t table_bytes(const TensorView& table, DType dtype) {
    return static_cast<size_t>(element_count(table.shape)) * size_of(dtype);
  }

  /// In chunks: the table is a gigabyte.
  void send_words(const TensorView& table, DType dtype, std::byte* to) {
    const auto count = static_cast<size_t>(element_count(table.shape));
    constexpr size_t kStep = kChunkBytes / sizeof(float);
    std::vector<float> wide(dtype == table.dtype ? 0 : kStep);
    for (size_t i = 0; i < count; i += kStep) {
      const size_t n = std::min(kStep, count - i);
      const std::byte* from = table.bytes.data() + i * size_of(table.dtype);
      std::byte* staged = staging_->next(n * size_of(dtype));
      if (dtype == table.dtype) {
        std::copy_n(from, n * size_of(dtype), staged);
      } else {
        convert_to_f32(table.dtype, from, wide.data(), n);
        convert_from_f32(dtype, wide.data(), staged, n);
        if (dtype == DType::kF16 && !fit_f16(std::span(wide).first(n))) {
          require_finite(table, dtype);
        }
      }
      staging_->send(to + i * size_of(dtype), n * size_of(dtype));
    }
    model_.checkpoint.drop_pages(table);
  }

  /// NaN and Inf pass here: words are checked when they are used.
  static bool fit_f16(std::span<const float> values) {
    return std::none_of(values.begin(), values.end(),
                        [](float x) { return std::abs(x) >= 65520.0f && std::isfinite(x); });
  }

  const HostModel& model_;
  const Device& device_;
  DType dtype_;
  const ModelQuantization* quantization_;
  std::byte* base_ = nullptr;
  Stream* stream_ = nullptr;
  std::unique_ptr<Staging> staging_;
  size_t at_ = 0;
};

}  // namespace

size_t weight_bytes(const HostModel& model, const Device& device, DType dtype) {
  ModelWeights ignored;
  Placer placer(model, device, dtype);
  placer.place(ignored);
  return placer.bytes();
}

namespace {

/// Counts what `place` asks for, allocates that, and lets it place.
template <class Place>
Buffer place_in_buffer(const HostModel& model, Device& device, Stream& stream, DType dtype,
                       const ModelQuantization* quantization,
                       const std::shared_ptr<MemoryAccount>& account,
                       std::chrono::milliseconds timeout, const Place& place) {
  Placer counter(model, device, dtype);
  place(counter);
  Buffer buffer = device.allocate(counter.bytes(), account, Purpose::kWeights);
  Placer placer(model, device, dtype, quantization);
  placer.write_to(buffer.data(), stream, timeout);
  place(placer);
  stream.synchronize(timeout);
  return buffer;
}

}  // namespace

std::shared_ptr<const ModelWeights> place_embeddings(std::shared_ptr<const HostModel> model,
                                                     Device& device, Stream& stream,
                                                     const std::shared_ptr<MemoryAccount>& account,
                                                     std::chrono::milliseconds timeout) {
  auto out = std::make_shared<ModelWeights>();
  out->host = model;
  out->buffer = place_in_buffer(*model, device, stream, DType::kF32, nullptr, account, timeout,
                                [&](Placer& placer) { out->embeddings = placer.embeddings(); });
  return out;
}

PlacedLayer place_layer(const HostModel& model, int64_t layer, Device& device, Stream& stream,
                        DType dtype, const std::shared_ptr<MemoryAccount>& account,
                        std::chrono::milliseconds timeout) {
  PlacedLayer out;
  out.buffer = place_in_buffer(model, device, stream, dtype, nullptr, account, timeout,
                               [&](Placer& placer) { out.weights = placer.layer(layer); });
  return out;
}

std::shared_ptr<const ModelWeights> place_packed(std::shared_ptr<const HostModel> model,
                                                 Device& device, DType dtype,
                                                 std::shared_ptr<const void> owner,
                                                 std::span<const std::byte> packed,
                                                 const std::shared_ptr<MemoryAccount>& account) {
  auto out = std::make_shared<ModelWeights>();
  out->host = model;
  out->dtype = dtype;
  out->buffer = device.adopt(std::move(owner), packed, account, Purpose::kWeights);
  Placer placer(*model, device, dtype);
  placer.read_from(packed.data());
  placer.place(*out);
  return out;
}

std::shared_ptr<const ModelWeights> place_weights(std::shared_ptr<const HostModel> model,
                                                  Device& device, Stream& stream, DType dtype,
                                                  const ModelQuantization* quantization,
                                                  const std::shared_ptr<MemoryAccount>& account,
                                                  std::chrono::milliseconds timeout) {
  auto out = std::make_shared<ModelWeights>();
  out->host = model;
  out->dtype = dtype;
  out->buffer = place_in_buffer(*model, device, stream, dtype, quantization, account, timeout,
                                [&](Placer& placer) {
                                  out->layers.clear();
                                  placer.place(*out);
                                });
  return out;
}

}  // namespace tamis

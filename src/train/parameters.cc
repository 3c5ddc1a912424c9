#include "train/parameters.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numbers>
#include <tuple>

#include "base/fail.h"
#include "numeric/philox.h"
#include "train/aligned.h"

namespace tamis::training {
namespace {

bool is_embedding(Slot slot) {
  return slot == Slot::kWords || slot == Slot::kPositions || slot == Slot::kTypes ||
         slot == Slot::kEmbeddingGamma || slot == Slot::kEmbeddingBeta;
}

bool is_head(Slot slot) {
  return is_token_head(slot) || slot == Slot::kHeadDenseWeight || slot == Slot::kHeadDenseBias ||
         slot == Slot::kHeadOutWeight || slot == Slot::kHeadOutBias;
}

/// The order in memory: embeddings, layers, heads; what is stacked in one product stands together.
std::tuple<int, int64_t, int> order_of(const SlotSpec& s) {
  if (is_embedding(s.slot)) return {0, 0, 0};
  if (is_head(s.slot)) return {2, 0, 0};
  constexpr std::array kStacked = {Slot::kQueryWeight, Slot::kKeyWeight, Slot::kValueWeight,
                                   Slot::kQueryBias,   Slot::kKeyBias,   Slot::kValueBias};
  const auto at = std::find(kStacked.begin(), kStacked.end(), s.slot) - kStacked.begin();
  return {1, s.layer, static_cast<int>(at)};
}

/// The checkpoint's tensor for a slot; null if it has none. Also of a slot that the model it was
/// opened as does not have: the pooler of a bare BERT, which a reranker's head begins with.
const TensorView* stored(const HostModel& model, const SlotSpec& s) {
  if (model.tensors.has(s.slot, s.layer)) return &model.tensors.at(s.slot, s.layer);
  for (const char* prefix : {"", "bert.", "roberta."}) {
    const TensorView* tensor = model.checkpoint.find(prefix + s.name);
    if (tensor != nullptr && tensor->shape == s.shape && is_floating(tensor->dtype)) return tensor;
  }
  return nullptr;
}

bool is_frozen(const SlotSpec& slot, const Freeze& freeze) {
  if (is_token_head(slot.slot)) return !freeze.token_heads_train;
  if (freeze.encoder || freeze.lora) return !is_head(slot.slot);
  if (slot.slot == Slot::kWords) return freeze.words || freeze.layers > 0;
  if (slot.slot == Slot::kPositions) return freeze.positions || freeze.layers > 0;
  if (is_embedding(slot.slot)) return freeze.layers > 0;
  return !is_head(slot.slot) && slot.layer < freeze.layers;
}

/// Standard normal, by Box and Muller.
double normal(PhiloxStream& random) {
  const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
  return radius * std::cos(2 * std::numbers::pi * random.uniform());
}

/// For now a mark; allocate gives each its place.
float* const kTrains = reinterpret_cast<float*>(1);

/// What a parameter begins with that no checkpoint has: a head's matrix and its bias as
/// transformers draws them; an adapter such that its product is 0, A as torch.nn.Linear [peft].
std::vector<float> drawn(const Parameter& p, double initializer_range, uint64_t seed,
                         uint32_t number) {
  std::vector<float> out(static_cast<size_t>(p.size), 0.0f);
  PhiloxStream random(seed, number);
  if (p.role == Role::kLoraA) {
    const double bound = 1 / std::sqrt(static_cast<double>(p.shape[1]));
    for (float& x : out) x = static_cast<float>((2 * random.uniform() - 1) * bound);
  } else if (p.role == Role::kTensor && p.decays) {
    for (float& x : out) x = static_cast<float>(normal(random) * initializer_range);
  }
  return out;
}

size_t bytes_of(int64_t floats) { return static_cast<size_t>(floats) * sizeof(float); }

}  // namespace

bool is_token_head(Slot slot) {
  return slot == Slot::kSparseWeight || slot == Slot::kSparseBias || slot == Slot::kColbertWeight ||
         slot == Slot::kColbertBias;
}

Parameters::Parameters(const HostModel& model, const ModelSpec& spec, const Freeze& freeze,
                       uint64_t seed, Device& device, Stream& stream,
                       const std::shared_ptr<MemoryAccount>& account)
    : lora_(freeze.lora),
      hidden_(spec.config.hidden_size),
      vocab_(spec.config.vocab_size),
      eps_(static_cast<float>(spec.config.layer_norm_eps)),
      stream_(stream) {
  if (model.tensors.quantized()) {
    fail(ErrorCode::kUnimplemented,
         "{}: has int8 weights, which do not train; take the model that it was made of",
         spec.directory.string());
  }
  if (spec.pooling == Pooling::kSplade) {
    fail(ErrorCode::kUnimplemented, "{}: SPLADE models do not train here", spec.directory.string());
  }
  std::vector<SlotSpec> table = tensor_table(spec);
  std::stable_sort(table.begin(), table.end(),
                   [](const SlotSpec& a, const SlotSpec& b) { return order_of(a) < order_of(b); });
  std::vector<const TensorView*> tensors;
  bool words_train = false;
  for (const SlotSpec& slot : table) {
    Parameter p;
    p.slot = slot.slot;
    p.layer = slot.layer;
    tensors.push_back(stored(model, slot));
    p.name = tensors.back() != nullptr ? tensors.back()->name : slot.name;
    p.shape = slot.shape;
    p.size = element_count(slot.shape);
    p.decays = slot.shape.size() > 1;
    p.gradient = is_frozen(slot, freeze) ? nullptr : kTrains;
    words_train = words_train || (slot.slot == Slot::kWords && p.trains());
    parameters_.push_back(std::move(p));
  }
  if (lora_) {
    add_adapters(freeze.layers);
    tensors.resize(parameters_.size());
  }
  lowest_trained_ = spec.config.num_hidden_layers;
  for (const Parameter& p : parameters_) {
    if (!p.trains() || is_head(p.slot)) continue;
    lowest_trained_ = std::min(lowest_trained_, p.layer);
  }
  allocate(device, account, words_train);
  fill(model, tensors, spec.config.initializer_range, seed);
}

void Parameters::add_adapters(int64_t first_layer) {
  std::vector<std::string> adaptable;
  std::vector<Parameter> adapters;
  for (const Parameter& p : parameters_) {
    if (std::find(std::begin(kAdaptable), std::end(kAdaptable), p.slot) == std::end(kAdaptable)) {
      continue;
    }
    adaptable.push_back(p.name);
    if (p.layer < first_layer || !is_target(lora_, p.slot, p.name)) continue;
    Parameter half = p;
    half.gradient = kTrains;
    const std::string module = p.name.substr(0, p.name.rfind(".weight"));
    half.role = Role::kLoraA;
    half.name = module + ".lora_A.weight";
    half.shape = {lora_.rank, p.shape[1]};
    half.size = element_count(half.shape);
    adapters.push_back(half);
    half.role = Role::kLoraB;
    half.name = module + ".lora_B.weight";
    half.shape = {p.shape[0], lora_.rank};
    half.size = element_count(half.shape);
    adapters.push_back(half);
  }
  check(lora_, adaptable);
  parameters_.insert(parameters_.end(), adapters.begin(), adapters.end());
}

void Parameters::allocate(Device& device, const std::shared_ptr<MemoryAccount>& account,
                          bool words_train) {
  int64_t values = 0;
  for (const Parameter& p : parameters_) {
    values += aligned(p.size);
    if (p.trains() && p.slot != Slot::kWords) gradient_count_ += aligned(p.size);
  }
  // Stacked matrices follow each other without a gap where their sizes are multiples of 16, which
  // Parameters::layer checks.
  values_ = device.allocate(bytes_of(values), account, Purpose::kWeights);
  states_ = device.allocate_zeroed(bytes_of(3 * gradient_count_), account, Purpose::kWeights);
  const int64_t words = words_train ? aligned(vocab_ * hidden_) : 0;
  if (words_train) {
    words_state_ = device.allocate_zeroed(bytes_of(3 * words), account, Purpose::kWeights);
  }
  if (words_train && !device.info().host_memory) {
    const int64_t rows = aligned(vocab_);
    row_ids_ = device.allocate(2 * static_cast<size_t>(rows) * sizeof(int32_t), account,
                               Purpose::kWeights);
    touched_.on_device = reinterpret_cast<int32_t*>(row_ids_.data());
    step_rows_.on_device = touched_.on_device + rows;
  }
  no_types_ = device.allocate_zeroed(bytes_of(hidden_), account, Purpose::kWeights);
  auto* value = reinterpret_cast<float*>(values_.data());
  auto* gradient = gradients_ = reinterpret_cast<float*>(states_.data());
  for (Parameter& p : parameters_) {
    p.value = value;
    value += aligned(p.size);
    if (!p.trains()) continue;
    const bool is_words = p.slot == Slot::kWords;
    const int64_t apart = is_words ? words : gradient_count_;
    p.gradient = is_words ? reinterpret_cast<float*>(words_state_.data()) : gradient;
    p.first_moment = p.gradient + apart;
    p.second_moment = p.gradient + 2 * apart;
    if (!is_words) gradient += aligned(p.size);
  }
}

void Parameters::fill(const HostModel& model, const std::vector<const TensorView*>& tensors,
                      double initializer_range, uint64_t seed) {
  constexpr int64_t kPiece = 1 << 20;
  std::vector<float> piece;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& p = parameters_[i];
    if (tensors[i] == nullptr) {
      piece = drawn(p, initializer_range, seed, static_cast<uint32_t>(i));
      stream_.upload(p.value, piece.data(), bytes_of(p.size));
      stream_.synchronize(std::chrono::minutes(1));
      continue;
    }
    const TensorView& tensor = *tensors[i];
    for (int64_t at = 0; at < p.size; at += kPiece) {
      const auto n = static_cast<size_t>(std::min(kPiece, p.size - at));
      piece.resize(n);
      convert_to_f32(tensor.dtype,
                     tensor.bytes.data() + static_cast<size_t>(at) * size_of(tensor.dtype),
                     piece.data(), n);
      if (!std::all_of(piece.begin(), piece.end(), [](float x) { return std::isfinite(x); })) {
        require_finite(tensor);
      }
      stream_.upload(p.value + at, piece.data(), n * sizeof(float));
      stream_.synchronize(std::chrono::minutes(1));
    }
    model.checkpoint.drop_pages(tensor);
  }
}

const Parameter* Parameters::find(Slot slot, int64_t layer, Role role) const {
  for (const Parameter& p : parameters_) {
    if (p.slot == slot && p.layer == layer && p.role == role) return &p;
  }
  return nullptr;
}

const Parameter& Parameters::at(Slot slot, int64_t layer, Role role) const {
  const Parameter* p = find(slot, layer, role);
  if (p == nullptr) {
    fail(ErrorCode::kInternal, "parameter {} of layer {} is not there", static_cast<int>(slot),
         layer);
  }
  return *p;
}

EmbeddingWeights Parameters::embeddings() const {
  EmbeddingWeights out;
  const Parameter& words = at(Slot::kWords);
  out.words = reinterpret_cast<const std::byte*>(words.value);
  out.word_dtype = DType::kF32;
  out.vocab = words.shape[0];
  out.hidden = hidden_;
  out.positions = at(Slot::kPositions).value;
  out.max_positions = at(Slot::kPositions).shape[0];
  out.types = reinterpret_cast<const float*>(no_types_.data());
  out.type_vocab = 1;
  if (const Parameter* types = find(Slot::kTypes, 0); types != nullptr) {
    out.types = types->value;
    out.type_vocab = types->shape[0];
  }
  out.norm = norm(Slot::kEmbeddingGamma, Slot::kEmbeddingBeta).weights;
  return out;
}

Norm Parameters::norm(Slot gamma, Slot beta, int64_t layer) const {
  const Parameter &g = at(gamma, layer), &b = at(beta, layer);
  return {{g.value, b.value, eps_}, g.gradient, b.gradient};
}

Linear Parameters::linear(Slot weight, Slot bias, int64_t layer) const {
  const Parameter &w = at(weight, layer), &b = at(bias, layer);
  return {w.shape[0], w.shape[1], w.value, b.value, w.gradient, b.gradient, {}};
}

void Parameters::add_adapter(Slot slot, int64_t layer, int64_t begin, Linear& to) const {
  const Parameter* a = find(slot, layer, Role::kLoraA);
  if (a == nullptr) return;
  const Parameter& b = at(slot, layer, Role::kLoraB);
  const auto place = std::find(std::begin(kAdaptable), std::end(kAdaptable), slot);
  Adapter out;
  out.begin = begin;
  out.a = {a->value, a->shape[0], a->shape[1]};
  out.b = {b.value, b.shape[0], b.shape[1]};
  out.d_a = {a->gradient, a->shape[0], a->shape[1]};
  out.d_b = {b.gradient, b.shape[0], b.shape[1]};
  out.site = static_cast<uint32_t>(layer * 8 + (place - std::begin(kAdaptable)));
  to.adapters.push_back(out);
}

Linear Parameters::layer_linear(Slot weight, Slot bias, int64_t layer) const {
  Linear out = linear(weight, bias, layer);
  if (lora_) add_adapter(weight, layer, 0, out);
  return out;
}

LayerParameters Parameters::layer(int64_t i) const {
  LayerParameters out;
  out.query_key_value = linear(Slot::kQueryWeight, Slot::kQueryBias, i);
  const Parameter &w = at(Slot::kValueWeight, i), &b = at(Slot::kValueBias, i);
  if (w.value != at(Slot::kQueryWeight, i).value + 2 * hidden_ * hidden_ ||
      b.value != at(Slot::kQueryBias, i).value + 2 * hidden_) {
    fail(ErrorCode::kUnimplemented, "hidden_size {}: training wants a multiple of 16", hidden_);
  }
  out.query_key_value.out *= 3;
  if (lora_) {
    add_adapter(Slot::kQueryWeight, i, 0, out.query_key_value);
    add_adapter(Slot::kKeyWeight, i, hidden_, out.query_key_value);
    add_adapter(Slot::kValueWeight, i, 2 * hidden_, out.query_key_value);
  }
  out.attention_out = layer_linear(Slot::kAttentionWeight, Slot::kAttentionBias, i);
  out.up = layer_linear(Slot::kUpWeight, Slot::kUpBias, i);
  out.down = layer_linear(Slot::kDownWeight, Slot::kDownBias, i);
  out.attention_norm = norm(Slot::kAttentionGamma, Slot::kAttentionBeta, i);
  out.output_norm = norm(Slot::kOutputGamma, Slot::kOutputBeta, i);
  return out;
}

uint64_t Parameters::hash() {
  constexpr int64_t kPiece = 1 << 20;
  std::vector<uint32_t> piece;
  uint64_t out = 14695981039346656037ull;  // FNV-1a, a number at a time
  for (const Parameter& p : parameters_) {
    for (int64_t at = 0; at < p.size; at += kPiece) {
      piece.resize(static_cast<size_t>(std::min(kPiece, p.size - at)));
      stream_.download(piece.data(), p.value + at, piece.size() * sizeof(float));
      stream_.synchronize(std::chrono::minutes(1));
      for (const uint32_t bits : piece) out = (out ^ bits) * 1099511628211ull;
    }
  }
  return out;
}

int64_t Parameters::trained() const {
  int64_t n = 0;
  for (const Parameter& p : parameters_) n += p.trains() ? p.size : 0;
  return n;
}

int64_t Parameters::count() const {
  int64_t n = 0;
  for (const Parameter& p : parameters_) n += p.size;
  return n;
}

void Parameters::touch(std::span<const int32_t> ids) {
  if (!at(Slot::kWords).trains()) return;
  std::vector<int32_t> sorted(ids.begin(), ids.end());
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  const auto merge = [&](RowList& into) {
    std::vector<int32_t> both;
    std::set_union(into.ids.begin(), into.ids.end(), sorted.begin(), sorted.end(),
                   std::back_inserter(both));
    if (both.size() != into.ids.size()) into.set(std::move(both));
  };
  merge(step_rows_);
  merge(touched_);
}

Rows Parameters::rows_of(const Parameter& p, bool ever) {
  if (p.slot != Slot::kWords) return {nullptr, 1, p.size};
  RowList& list = ever ? touched_ : step_rows_;
  const int32_t* ids = list.ids.data();
  if (list.on_device != nullptr) {
    // Behind what still reads the rows of before: one stream, one order.
    if (list.changed) stream_.upload(list.on_device, ids, list.ids.size() * sizeof(int32_t));
    list.changed = false;
    ids = list.on_device;
  }
  return {ids, static_cast<int64_t>(list.ids.size()), hidden_};
}

void Parameters::zero_gradients(TrainOps& ops) {
  ops.zero(gradients_, {nullptr, 1, gradient_count_});
  if (const Parameter& words = at(Slot::kWords); words.trains()) {
    ops.zero(words.gradient, rows_of(words, false));
  }
  step_rows_.set({});
}

}  // namespace tamis::training

#include "model/calibration.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "base/fail.h"
#include "model/encoder.h"
#include "model/workspace.h"

namespace tamis {
namespace {

constexpr float kOutlierRatio = 3.0f;  // of the median column's largest value
constexpr float kSmoothing = 0.5f;

/// Largest |x| of each column.
std::vector<float> column_peaks(ConstMat x) {
  std::vector<float> out(static_cast<size_t>(x.cols), 0.0f);
  for (int64_t r = 0; r < x.rows; ++r) {
    const float* row = x.row(r);
    for (size_t c = 0; c < out.size(); ++c) out[c] = std::max(out[c], std::abs(row[c]));
  }
  return out;
}

/// Largest |w| of each input over the stacked weights.
std::vector<float> weight_peaks(const HostModel& model, std::initializer_list<Slot> slots,
                                int64_t layer) {
  std::vector<float> out;
  for (Slot slot : slots) {
    const TensorView& w = model.tensors.at(slot, layer);
    const auto inputs = static_cast<size_t>(w.shape[1]);
    out.resize(inputs, 0.0f);
    std::vector<float> row(inputs);
    for (size_t r = 0; r < static_cast<size_t>(w.shape[0]); ++r) {
      convert_to_f32(w.dtype, w.bytes.data() + r * inputs * size_of(w.dtype), row.data(), inputs);
      for (size_t i = 0; i < inputs; ++i) out[i] = std::max(out[i], std::abs(row[i]));
    }
    model.checkpoint.drop_pages(w);
  }
  return out;
}

/// The columns furthest above the median one, in ascending order.
std::vector<int32_t> find_outliers(const std::vector<float>& peaks) {
  std::vector<float> sorted = peaks;
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<ptrdiff_t>(sorted.size() / 2),
                   sorted.end());
  const float limit = kOutlierRatio * sorted[sorted.size() / 2];
  std::vector<int32_t> out;
  for (size_t c = 0; c < peaks.size(); ++c) {
    if (peaks[c] > limit) out.push_back(static_cast<int32_t>(c));
  }
  const auto room = static_cast<size_t>(max_outlier_columns(static_cast<int64_t>(peaks.size())));
  const auto higher = [&](int32_t a, int32_t b) {
    return peaks[static_cast<size_t>(a)] > peaks[static_cast<size_t>(b)];
  };
  std::stable_sort(out.begin(), out.end(), higher);
  out.resize(std::min(out.size(), room));
  std::sort(out.begin(), out.end());
  return out;
}

/// 1 / s with s = peak(x)^a / peak(w)^(1 - a), around 1 in the geometric mean; outlier columns 1.
std::vector<float> find_smoothing(const std::vector<float>& x, const std::vector<float>& w,
                                  const std::vector<int32_t>& outliers) {
  constexpr float kLeast = 1e-5f;  // an input or a weight that is always zero
  std::vector<float> logs(x.size());
  double sum = 0;
  for (size_t c = 0; c < x.size(); ++c) {
    logs[c] = kSmoothing * std::log(std::max(x[c], kLeast)) -
              (1 - kSmoothing) * std::log(std::max(w[c], kLeast));
    sum += logs[c];
  }
  const auto mean = static_cast<float>(sum / static_cast<double>(x.size()));
  std::vector<float> out(x.size());
  for (size_t c = 0; c < x.size(); ++c) out[c] = std::exp(mean - logs[c]);
  for (int32_t c : outliers) out[static_cast<size_t>(c)] = 1.0f;
  return out;
}

/// |x - q(x)| / |x| for rows in 255 levels, outliers apart and smoothed (kernels/gemm_int8-inl.h).
float input_error(ConstMat x, const InputQuantization& input) {
  double wrong = 0, all = 0;
  std::vector<float> row(static_cast<size_t>(x.cols));
  for (int64_t r = 0; r < x.rows; ++r) {
    for (size_t c = 0; c < row.size(); ++c) row[c] = x.row(r)[c] * input.smoothing[c];
    for (int32_t c : input.outlier_columns) row[static_cast<size_t>(c)] = 0.0f;
    const auto [low, high] = std::minmax_element(row.begin(), row.end());
    const float step = (std::max(*high, 0.0f) - std::min(*low, 0.0f)) / 255.0f;
    for (size_t c = 0; c < row.size(); ++c) {
      const float x_c = x.row(r)[c];
      all += double{x_c} * double{x_c};
      if (step == 0.0f) continue;
      const float back = std::nearbyintf(row[c] / step) * step;
      const float e = (back - row[c]) / input.smoothing[c];
      wrong += double{e} * double{e};
    }
  }
  return all > 0 ? static_cast<float>(std::sqrt(wrong / all)) : 0.0f;
}

std::string_view name_of(LayerInput input) {
  switch (input) {
    case LayerInput::kAttention:
      return "query, key and value";
    case LayerInput::kContext:
      return "the attention's output layer";
    case LayerInput::kUp:
      return "the first feed-forward layer";
    case LayerInput::kDown:
      return "the second feed-forward layer";
  }
  return "";
}

InputQuantization study(const HostModel& model, int64_t layer, LayerInput input, ConstMat x) {
  const std::vector<float> peaks = column_peaks(x);
  for (size_t c = 0; c < peaks.size(); ++c) {
    if (std::isfinite(peaks[c])) continue;
    fail(ErrorCode::kDataLoss,
         "{}: layer {}: the input of {} is {} in column {}; a weight before it is damaged, or the "
         "model overflows f32",
         model.spec.directory.string(), layer, name_of(input), peaks[c], c);
  }
  std::vector<float> weights;
  switch (input) {
    case LayerInput::kAttention:
      weights =
          weight_peaks(model, {Slot::kQueryWeight, Slot::kKeyWeight, Slot::kValueWeight}, layer);
      break;
    case LayerInput::kContext:
      weights = weight_peaks(model, {Slot::kAttentionWeight}, layer);
      break;
    case LayerInput::kUp:
      weights = weight_peaks(model, {Slot::kUpWeight}, layer);
      break;
    case LayerInput::kDown:
      weights = weight_peaks(model, {Slot::kDownWeight}, layer);
      break;
  }
  InputQuantization out;
  out.outlier_columns = find_outliers(peaks);
  out.smoothing = find_smoothing(peaks, weights, out.outlier_columns);
  out.error = input_error(x, out);
  return out;
}

InputQuantization& slot_of(LayerQuantization& layer, LayerInput input) {
  switch (input) {
    case LayerInput::kAttention:
      return layer.attention;
    case LayerInput::kContext:
      return layer.context;
    case LayerInput::kUp:
      return layer.up;
    case LayerInput::kDown:
      break;
  }
  return layer.down;
}

}  // namespace

ModelQuantization calibrate(const std::shared_ptr<const HostModel>& model,
                            const std::shared_ptr<Device>& device, const StreamOptions& options,
                            const std::shared_ptr<MemoryAccount>& account, const PackedBatch& batch,
                            std::chrono::milliseconds timeout) {
  Workspace workspace(device, options, account, timeout);
  const auto embeddings = place_embeddings(model, *device, workspace.stream(), account, timeout);
  ModelQuantization out(static_cast<size_t>(model->spec.config.num_hidden_layers));
  PlacedLayer current;
  forward_layers(
      *embeddings, batch, workspace,
      [&](int64_t i) -> const LayerWeights& {
        current = {};  // before the next: one layer's memory, not two
        current =
            place_layer(*model, i, *device, workspace.stream(), DType::kF32, account, timeout);
        return current.weights;
      },
      [&](int64_t i, LayerInput input, ConstMat x) {
        slot_of(out[static_cast<size_t>(i)], input) = study(*model, i, input, x);
      });
  return out;
}

PackedBatch random_sample(const HostModel& model) {
  constexpr size_t kTokens = 256, kSequences = 4;
  const bool roberta = model.spec.positions.after_padding;
  const auto vocab = static_cast<int32_t>(model.spec.config.vocab_size);
  // <s> and </s>, [CLS] and [SEP]; where a model has others, they are ids like any other.
  const int32_t first = std::min(roberta ? 0 : 101, vocab - 1);
  const int32_t last = std::min(roberta ? 2 : 102, vocab - 1);
  const size_t length = std::min(kTokens / kSequences, model.spec.max_length);
  std::mt19937 random(1);
  std::uniform_real_distribution<double> uniform(0, 1);
  std::vector<std::vector<int32_t>> ids(kSequences, std::vector<int32_t>(length));
  std::vector<SequenceView> views;
  std::vector<size_t> tickets;
  for (auto& sequence : ids) {
    for (int32_t& id : sequence) {
      do {
        id =
            static_cast<int32_t>(std::exp(uniform(random) * std::log(static_cast<double>(vocab)))) -
            1;
      } while (roberta && id == model.spec.positions.pad_id && vocab > 1);
    }
    sequence.front() = first;
    sequence.back() = last;
    views.push_back({sequence, {}});
    tickets.push_back(tickets.size());
  }
  return pack(views, tickets, model.spec.positions);
}

}  // namespace tamis

#pragma once

// One pass through a model, with all that it leaves behind at hand.

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "device/device_set.h"
#include "train/trainer.h"
#include "train_fixture.h"

namespace tamis::training {

/// A model on a device, and the data's first batch as it runs through it.
class Bench {
 public:
  Bench(const TrainOptions& options, const std::string& device, int threads,
        const CheckpointPolicy& policy, bool dropout, const std::string& isa = "",
        const LoraConfig& lora = {})
      : devices_({}),
        source_(HostModel::open(read_spec(options.model_name_or_path, {}), {})),
        spec_(training_spec(source_->spec, options)),
        tokenizer_(text::Tokenizer::load(options.model_name_or_path)),
        device_(devices_.open(parse_device_name(device), isa)),
        stream_(device_->make_stream({threads, {}})),
        account_(device_->open_account("test", MemoryAccount::no_limit)),
        parameters_(*source_, spec_,
                    {.token_heads_train = options.task == TrainTask::kM3, .lora = lora}, 1,
                    *device_, *stream_, account_),
        network_(spec_, parameters_, device_, stream_, account_,
                 {dropout ? DropoutRates{0.1f, 0.1f, 0.1f} : DropoutRates{}, policy,
                  options.task == TrainTask::kM3}),
        dropout_(dropout) {
    const Dataset data(options);
    std::vector<Group> groups;
    for (size_t i = 0; i < data.size(); ++i) {
      // In the order of the file, with all negatives, as the goldens have them.
      const Example e = data.example(i);
      Group group{e.query, e.positives, e.positive_scores};
      group.passages.insert(group.passages.end(), e.negatives.begin(), e.negatives.end());
      group.teacher.insert(group.teacher.end(), e.negative_scores.begin(), e.negative_scores.end());
      groups.push_back(group);
    }
    sequences_ = Tokenize(*tokenizer_, options, spec_.max_length)(groups);
  }

  TrainBatch batch(size_t begin, size_t end) const {
    TrainBatch out;
    out.packed = sequences_.pack(begin, end, spec_.positions);
    for (size_t i = begin; i < end; ++i) out.numbers.push_back(static_cast<int32_t>(i));
    out.seed = 77;
    out.dropout = dropout_;
    return out;
  }
  std::vector<int32_t> special_ids() const {
    const text::SpecialTokens& special = tokenizer_->special_tokens();
    return {special.cls, special.eos, special.pad, special.unk};
  }
  size_t size() const { return sequences_.encodings.size(); }
  const Sequences& sequences() const { return sequences_; }
  Network& network() { return network_; }
  Parameters& parameters() { return parameters_; }

  /// All gradients, of the word table too, after a pass with these gradients of the outputs.
  std::vector<float> gradients() {
    std::vector<float> out;
    for (const Parameter& p : parameters_.all()) {
      if (p.trains()) out.insert(out.end(), p.gradient, p.gradient + p.size);
    }
    return out;
  }

 private:
  DeviceSet devices_;
  std::shared_ptr<const HostModel> source_;
  ModelSpec spec_;
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  std::shared_ptr<Device> device_;
  std::shared_ptr<Stream> stream_;
  std::shared_ptr<MemoryAccount> account_;
  Parameters parameters_;
  Network network_;
  Sequences sequences_;
  bool dropout_;
};

inline std::vector<float> some_gradients(size_t n) {
  std::vector<float> out(n);
  for (size_t i = 0; i < n; ++i) out[i] = std::sin(static_cast<float>(i) * 0.7f);
  return out;
}

/// Of two arrays, against the largest number of the second.
inline double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double most = 0, scale = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::abs(static_cast<double>(a[i]) - b[i]));
    scale = std::max(scale, std::abs(static_cast<double>(b[i])));
  }
  return most / scale;
}

}  // namespace tamis::training

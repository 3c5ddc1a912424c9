#pragma once

// Learning rates over the steps, clipping, and AdamW over all parameters that train.

#include <cstdint>
#include <string>

#include "tamis/train.h"
#include "train/parameters.h"

namespace tamis::training {

/// Factor of the learning rate at a step from 0 [transformers.optimization].
class Schedule {
 public:
  /// Errors: invalid_argument (a type that is not known).
  Schedule(const std::string& type, int64_t warmup_steps, int64_t steps);
  double factor(int64_t step) const;

 private:
  enum class Type { kLinear, kCosine, kConstant, kConstantWithWarmup } type_;
  int64_t warmup_, steps_;
};

/// Length of all gradients together [torch.nn.utils.clip_grad_norm_].
double gradient_norm(Parameters& parameters, TrainOps& ops);

/// The first parameter with a gradient that is not finite; "" if there is none.
std::string not_finite(Parameters& parameters, TrainOps& ops);

/// One step. Without weight decay, rows of the word table that never had a gradient stay as they
/// are by AdamW's own rule, and are left out.
void update(Parameters& parameters, TrainOps& ops, const TrainOptions& options,
            double learning_rate, double gradient_scale, int64_t step);

}  // namespace tamis::training

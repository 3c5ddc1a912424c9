#include "train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/fail.h"

namespace tamis::training {
Schedule::Schedule(const std::string& type, int64_t warmup_steps, int64_t steps)
    : warmup_(warmup_steps), steps_(steps) {
  if (type == "linear") {
    type_ = Type::kLinear;
  } else if (type == "cosine") {
    type_ = Type::kCosine;
  } else if (type == "constant") {
    type_ = Type::kConstant;
  } else if (type == "constant_with_warmup") {
    type_ = Type::kConstantWithWarmup;
  } else {
    fail(ErrorCode::kInvalidArgument,
         "lr_scheduler_type: expected linear, cosine, constant or constant_with_warmup, got \"{}\"",
         type);
  }
}

double Schedule::factor(int64_t step) const {
  if (type_ == Type::kConstant) return 1;
  if (step < warmup_) {
    return static_cast<double>(step) / static_cast<double>(std::max<int64_t>(1, warmup_));
  }
  if (type_ == Type::kConstantWithWarmup) return 1;
  const auto rest = static_cast<double>(std::max<int64_t>(1, steps_ - warmup_));
  if (type_ == Type::kLinear) return std::max(0.0, static_cast<double>(steps_ - step) / rest);
  const double progress = static_cast<double>(step - warmup_) / rest;
  return std::max(0.0, 0.5 * (1 + std::cos(std::numbers::pi * progress)));
}

double gradient_norm(Parameters& parameters, TrainOps& ops) {
  double squares = 0;
  for (const Parameter& p : parameters.all()) {
    if (p.trains()) squares += ops.sum_of_squares(p.gradient, parameters.rows_of(p, false));
  }
  return std::sqrt(squares);
}

std::string not_finite(Parameters& parameters, TrainOps& ops) {
  for (const Parameter& p : parameters.all()) {
    if (p.trains() &&
        !std::isfinite(ops.sum_of_squares(p.gradient, parameters.rows_of(p, false)))) {
      return p.name;
    }
  }
  return "";
}

void update(Parameters& parameters, TrainOps& ops, const TrainOptions& options,
            double learning_rate, double gradient_scale, int64_t step) {
  AdamW how;
  how.learning_rate = static_cast<float>(learning_rate);
  how.beta1 = static_cast<float>(options.adam_beta1);
  how.beta2 = static_cast<float>(options.adam_beta2);
  how.epsilon = static_cast<float>(options.adam_epsilon);
  how.gradient_scale = static_cast<float>(gradient_scale);
  how.step = step;
  for (const Parameter& p : parameters.all()) {
    if (!p.trains()) continue;
    how.weight_decay = p.decays ? static_cast<float>(options.weight_decay) : 0.0f;
    Rows rows = parameters.rows_of(p, true);
    if (how.weight_decay != 0) rows = {nullptr, 1, p.size};
    ops.adamw(how, rows, p.gradient, p.first_moment, p.second_moment, p.value);
  }
}

}  // namespace tamis::training

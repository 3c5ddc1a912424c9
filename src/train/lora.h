#pragma once

// Low-rank adapters: y = W x + alpha / rank B A dropout(x) beside matrices that stay as they are
// [Hu et al., LoRA, 2021; the names and defaults are those of peft].

#include <string>
#include <vector>

#include "model/weights.h"

namespace tamis::training {

struct LoraConfig {
  int64_t rank = 0;  ///< 0: no adapters
  double alpha = 16;
  float dropout = 0;
  /// Names of modules, or their ends behind a dot: "query", "output.dense"; "all-linear".
  std::vector<std::string> targets;
  explicit operator bool() const { return rank > 0; }
  float scale() const { return static_cast<float>(alpha / static_cast<double>(rank)); }
};

/// The matrices of the layers that may have adapters, in the order of their places for dropout.
inline constexpr Slot kAdaptable[] = {Slot::kQueryWeight,     Slot::kKeyWeight, Slot::kValueWeight,
                                      Slot::kAttentionWeight, Slot::kUpWeight,  Slot::kDownWeight};

/// Whether the matrix `name` (a checkpoint's "...query.weight") is a target.
bool is_target(const LoraConfig& lora, Slot slot, const std::string& name);

/// Errors: invalid_argument (a target that no matrix of the layers is, a rate of dropout).
void check(const LoraConfig& lora, const std::vector<std::string>& adaptable);

}  // namespace tamis::training

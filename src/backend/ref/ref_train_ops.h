#pragma once

#include <memory>

#include "device/train_ops.h"

namespace tamis {

/// The specification of the ops of training: plain loops, sums in double.
std::unique_ptr<TrainOps> make_ref_train_ops();

}  // namespace tamis

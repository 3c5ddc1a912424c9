#pragma once

namespace tamis {

/// Applied to the output of a linear layer. kGelu is the exact form, x/2 (1 + erf(x/sqrt 2)).
enum class Activation { kNone, kGelu, kTanh, kRelu };

}  // namespace tamis

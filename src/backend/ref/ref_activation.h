#pragma once

#include <cmath>

#include "numeric/activation.h"

namespace tamis {

inline double ref_activate(Activation activation, double x) {
  switch (activation) {
    case Activation::kGelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::kTanh:
      return std::tanh(x);
    case Activation::kRelu:
      return x < 0 ? 0 : x;
    case Activation::kNone:
      break;
  }
  return x;
}

}  // namespace tamis

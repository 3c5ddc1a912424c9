// Other architectures than x86 run the generic int8 kernel, and nothing in bf16.

#include "kernels/bf16_dot.h"
#include "kernels/int8_dot.h"

namespace tamis::kernels {

std::vector<const Int8Dot*> int8_dots(int64_t) { return {&kInt8Generic}; }
const Bf16Dot* bf16_dot(std::string_view) { return nullptr; }

}  // namespace tamis::kernels

#include <array>

#include "base/fail.h"
#include "tamis/types.h"

namespace tamis {
namespace {

struct PoolingName {
  Pooling pooling;
  std::string_view name;
};

constexpr std::array<PoolingName, 5> kNames = {{
    {Pooling::kFromModel, ""},
    {Pooling::kCls, "cls"},
    {Pooling::kMean, "mean"},
    {Pooling::kLast, "last"},
    {Pooling::kSplade, "splade"},
}};

}  // namespace

Pooling parse_pooling(std::string_view name) {
  for (const PoolingName& known : kNames) {
    if (name == known.name) return known.pooling;
  }
  if (name == "last_token") return Pooling::kLast;
  fail(ErrorCode::kInvalidArgument, "pooling \"{}\": expected cls, mean, last or splade", name);
}

std::string_view pooling_name(Pooling pooling) { return kNames[static_cast<size_t>(pooling)].name; }

}  // namespace tamis

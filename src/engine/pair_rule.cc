#include "engine/pair_rule.h"

#include <algorithm>

namespace tamis {
namespace {

bool shorten(std::vector<int32_t>& ids, size_t length) {
  if (ids.size() <= length) return false;
  ids.resize(length);
  return true;
}

}  // namespace

bool cut_pair(std::vector<int32_t>& query, std::vector<int32_t>& passage,
              const PairLimits& limits) {
  const size_t room = limits.max_length - std::min(limits.max_length, limits.overhead);
  const size_t query_length =
      limits.query_length > 0 ? limits.query_length : limits.max_length * 3 / 4;
  const bool query_cut = shorten(query, std::min(query_length, room));
  return shorten(passage, room - query.size()) || query_cut;
}

bool cut_single(std::vector<int32_t>& ids, size_t max_length, size_t overhead) {
  return shorten(ids, max_length - std::min(max_length, overhead));
}

}  // namespace tamis

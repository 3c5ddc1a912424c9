#include "batch/pair_rule.h"

#include <algorithm>

namespace tamis {
namespace {

bool shorten(std::vector<int32_t>& ids, size_t length, bool keep_end = false) {
  if (ids.size() <= length) return false;
  if (keep_end) ids.erase(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(length));
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
  return shorten(passage, room - query.size(), limits.keep_end) || query_cut;
}

bool cut_single(std::vector<int32_t>& ids, size_t max_length, size_t overhead, bool keep_end) {
  return shorten(ids, max_length - std::min(max_length, overhead), keep_end);
}

std::vector<std::span<const int32_t>> windows(std::span<const int32_t> ids, size_t room) {
  std::vector<std::span<const int32_t>> out;
  const size_t stride = room - std::min<size_t>(room / 8, 64);
  for (size_t at = 0; at + room < ids.size(); at += stride) out.push_back(ids.subspan(at, room));
  out.push_back(ids.last(std::min(room, ids.size())));
  return out;
}

}  // namespace tamis

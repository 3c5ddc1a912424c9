#include "text/truncate.h"

#include <algorithm>
#include <utility>

namespace tamis::text {

void truncate_longest_first(std::vector<int32_t>& a, std::vector<int32_t>& b, size_t room) {
  if (a.size() + b.size() <= room) return;
  const bool a_is_longer = a.size() > b.size();
  std::vector<int32_t>& shorter = a_is_longer ? b : a;
  std::vector<int32_t>& longer = a_is_longer ? a : b;
  if (shorter.size() > room / 2) shorter.resize(room / 2);
  longer.resize(std::min(longer.size(), room - shorter.size()));
}

bool truncate_only_second(const std::vector<int32_t>& a, std::vector<int32_t>& b, size_t room) {
  if (a.size() + b.size() <= room) return true;
  if (a.size() >= room) return false;
  b.resize(room - a.size());
  return true;
}

}  // namespace tamis::text

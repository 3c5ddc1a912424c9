#include "text/vocabulary.h"

#include <algorithm>
#include <limits>

#include "base/fail.h"

namespace tamis::text {

void Vocabulary::reserve(size_t tokens, size_t bytes) {
  entries_.reserve(tokens);
  text_.reserve(bytes);
}

void Vocabulary::add(std::string_view token, int64_t id, std::string_view where) {
  if (id < 0 || id >= static_cast<int64_t>(Trie::kMaxValue)) {
    fail(ErrorCode::kDataLoss, "{}: token \"{}\" has id {}, expected 0 to {}", where, token, id,
         Trie::kMaxValue - 1);
  }
  if (text_.size() + token.size() > std::numeric_limits<uint32_t>::max()) {
    fail(ErrorCode::kResourceExhausted, "{}: vocabulary is larger than 4 GiB", where);
  }
  entries_.push_back({static_cast<uint32_t>(text_.size()), static_cast<uint32_t>(token.size()),
                      static_cast<int32_t>(id)});
  text_.append(token);
  id_limit_ = std::max(id_limit_, static_cast<size_t>(id) + 1);
}

void Vocabulary::seal() {
  std::vector<Trie::Entry> keys;
  keys.reserve(entries_.size());
  const std::string_view all = text_;
  for (const Entry& entry : entries_) {
    keys.push_back({all.substr(entry.begin, entry.length), static_cast<uint32_t>(entry.id)});
  }
  trie_ = Trie::build(keys);
  const auto by_id = [](const Entry& a, const Entry& b) { return a.id < b.id; };
  if (!std::is_sorted(entries_.begin(), entries_.end(), by_id)) {
    std::stable_sort(entries_.begin(), entries_.end(), by_id);
  }
}

std::string_view Vocabulary::token(int32_t id) const {
  // Mostly id i is entry i; with gaps it is searched.
  const auto index = static_cast<size_t>(id);
  auto at = entries_.end();
  if (id >= 0 && index < entries_.size() && entries_[index].id == id && id_limit_ == size()) {
    at = entries_.begin() + static_cast<ptrdiff_t>(index);
  } else {
    at = std::upper_bound(entries_.begin(), entries_.end(), id,
                          [](int32_t wanted, const Entry& entry) { return wanted < entry.id; });
    if (at == entries_.begin() || (--at)->id != id) return {};
  }
  return std::string_view(text_).substr(at->begin, at->length);
}

}  // namespace tamis::text

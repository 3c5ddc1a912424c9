#pragma once

// Token strings and ids of a model: one block of text, no string object per token.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/trie.h"

namespace tamis::text {

/// Immutable after seal(). Thread rule: const calls may run at the same time.
class Vocabulary {
 public:
  void reserve(size_t tokens, size_t bytes);
  /// Ids may come in any order and leave gaps. Errors: data_loss for an id below 0 or so large that
  /// no table could have it.
  void add(std::string_view token, int64_t id, std::string_view where);
  /// Builds the trie. Two tokens of one id, or two ids of one token: the last counts.
  void seal();

  /// Trie over all tokens; its values are ids.
  const Trie& trie() const { return trie_; }
  int32_t id(std::string_view token) const {
    const uint32_t found = trie_.find(token);
    return found == Trie::kNone ? -1 : static_cast<int32_t>(found);
  }
  /// Empty if there is none.
  std::string_view token(int32_t id) const;
  size_t size() const { return entries_.size(); }  ///< number of tokens
  size_t id_limit() const { return id_limit_; }    ///< largest id + 1

 private:
  struct Entry {
    uint32_t begin, length;
    int32_t id;
  };
  std::string text_;
  std::vector<Entry> entries_;  // by id after seal()
  size_t id_limit_ = 0;
  Trie trie_;
};

}  // namespace tamis::text

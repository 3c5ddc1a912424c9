#pragma once

// Added tokens: strings that are cut out of the text before the model sees it.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/trie.h"

namespace tamis::text {

struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool single_word = false;  ///< matches only where no word character touches it
  bool lstrip = false;       ///< takes the white space before it along
  bool rstrip = false;       ///< ... and after it
  bool normalized = true;    ///< is looked for in the normalised text, in its own normalised form
  bool special = false;
};

/// Finds tokens of one kind (normalized or not). Immutable. Thread rule: free for all threads.
class AddedTokenFinder {
 public:
  /// A part of a text: an added token, or (id = -1) what lies between two.
  struct Part {
    size_t begin, end;
    int32_t id;
  };

  AddedTokenFinder() = default;
  /// tokens[i] is looked for as forms[i]; empty forms are never found, of equal ones the first
  /// counts.
  AddedTokenFinder(std::vector<AddedToken> tokens, const std::vector<std::string>& forms);

  /// Leftmost-longest matches. The parts cover the text, except that white space which one token's
  /// rstrip took may belong to a next token, too (as in HF). Empty text gives no part.
  void find(std::string_view text, std::vector<Part>& parts) const;
  bool empty() const { return tokens_.empty(); }

 private:
  bool stands_alone(std::string_view text, size_t begin, size_t end) const;

  std::vector<AddedToken> tokens_;
  Trie trie_;
  bool starts_[256] = {};  // first bytes of tokens
};

}  // namespace tamis::text

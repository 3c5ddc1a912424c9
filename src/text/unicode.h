#pragma once

// Character properties and normal forms, exactly as Hugging Face `tokenizers` sees them (its crates
// carry different Unicode versions, so these tables agree with no single published one).

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tamis::text {

/// How a character takes part in a grapheme cluster. tools/make_unicode_tables.py has the same
/// list.
enum class Grapheme : uint8_t {
  kOther,
  kControl,
  kExtend,
  kSpacingMark,
  kLinker,
  kZwj,
  kPrepend,
  kL,
  kV,
  kT,
  kSyllable,
  kConsonant,
  kPictograph,
};

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

/// Immutable tables, built once from the packed ones. Thread rule: free for all threads.
class Unicode {
 public:
  static const Unicode& get();

  bool is_whitespace(char32_t c) const { return info(c) & 1; }       ///< \s, Rust's is_whitespace
  bool is_punctuation(char32_t c) const { return info(c) & 2; }      ///< ASCII's or category P
  bool is_bert_removed(char32_t c) const { return info(c) & 4; }     ///< by clean_text
  bool is_nonspacing_mark(char32_t c) const { return info(c) & 8; }  ///< BERT's strip_accents
  bool is_combining_mark(char32_t c) const { return info(c) & 16; }  ///< StripAccents
  bool is_word(char32_t c) const { return info(c) & 32; }            ///< \w
  bool is_numeric(char32_t c) const { return info(c) & 64; }
  uint8_t combining_class(char32_t c) const { return static_cast<uint8_t>(info(c) >> 16); }
  Grapheme grapheme(char32_t c) const { return static_cast<Grapheme>(info(c) >> 8 & 0xFF); }

  /// Lower-case form if `c` has another one, else empty.
  std::span<const char32_t> lower(char32_t c) const { return expand(lower_, c); }

  /// Appends the normal form of valid text.
  void normalize(NormalForm form, std::string_view text, std::string& out) const;

  /// Byte where the grapheme cluster that starts at `begin` < text.size() ends.
  size_t cluster_end(std::string_view text, size_t begin) const;

 private:
  // Two steps from a code point to its value; blocks that hold one value are shared.
  struct Stage {
    static constexpr size_t kBits = 7;
    std::vector<uint32_t> block;  // where the block of each 128 code points starts in `value`
    std::vector<uint32_t> value;
    uint32_t operator[](char32_t c) const {
      return value[block[c >> kBits] + (c & ((1u << kBits) - 1))];
    }
  };
  // value = start in `pool` << 5 | length; 0 = maps to itself.
  struct Expansion {
    Stage stage;
    std::vector<char32_t> pool;
  };
  struct Pair {
    uint64_t key;  // first << 32 | second
    char32_t composed;
  };

  Unicode();
  uint32_t info(char32_t c) const { return info_[c]; }
  std::span<const char32_t> expand(const Expansion& map, char32_t c) const {
    const uint32_t at = map.stage[c];
    return {map.pool.data() + (at >> 5), at & 31};
  }
  void decompose(bool compatibility, char32_t c, std::vector<char32_t>& out) const;
  void reorder(std::span<char32_t> characters) const;
  char32_t compose(char32_t first, char32_t second) const;
  void compose_all(std::vector<char32_t>& characters) const;

  static Stage unpack_runs(std::span<const uint32_t> packed);
  static Expansion unpack_map(std::span<const uint32_t> packed);

  Stage info_;
  Expansion lower_, nfd_, nfkd_;
  std::vector<Pair> pairs_;  // sorted by key
};

}  // namespace tamis::text

#pragma once

// SentencePiece's precompiled character map, applied the way Hugging Face applies it.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/normalizer.h"
#include "text/unicode.h"

namespace tamis::text {

/// Per grapheme cluster: one under six bytes is looked up whole, and the first (shortest) prefix
/// found replaces all of it; otherwise each character is looked up by itself. SentencePiece itself
/// takes the longest prefix of the text; the two differ, and checkpoints are used through HF.
class Precompiled final : public Normalizer {
 public:
  /// `charsmap`: size of the double array in bytes (u32), the array (u32 each), then the
  /// replacements, each ended by NUL. Errors: data_loss for sizes or offsets that point outside.
  Precompiled(std::string_view charsmap, std::string_view where);

  void apply(const Stretch& in, Stretch& out) const override;
  double growth() const override { return longest_; }

 private:
  struct Mapping {
    bool found;
    std::string_view text;
  };

  void check(std::string_view where) const;
  Mapping look_up(std::string_view key) const;
  void append_cluster(std::string_view cluster, std::string& out) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
  double longest_ = 1;    // bytes of the longest replacement
  bool plain_[256] = {};  // ASCII that stays as it is, and never joins what follows if ASCII
  const Unicode& unicode_ = Unicode::get();
};

/// Errors: data_loss.
std::string decode_base64(std::string_view text, std::string_view where);

}  // namespace tamis::text

#pragma once

// Static trie over byte strings: a double array that is walked with one load a byte.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace tamis::text {

/// Maps byte strings to numbers below kMaxValue. Immutable after build.
/// Thread rule: const calls may run at the same time.
class Trie {
 public:
  static constexpr uint32_t kNone = (1u << 28) - 1;
  static constexpr uint32_t kMaxValue = kNone;

  struct Entry {
    std::string_view key;
    uint32_t value;
  };

  /// Of entries with one and the same key the last counts (in the order given).
  /// Errors: resource_exhausted when the keys need more than 2^27 nodes.
  static Trie build(std::span<const Entry> entries);

  /// A place in the trie: the root, or where a walk has come to.
  class Cursor {
   public:
    /// One step down; false (and the cursor is of no more use) where no key goes on with `byte`.
    bool step(char byte) {
      const auto label = static_cast<unsigned char>(byte);
      at_ = units_[base_of(at_) ^ label];
      return label_of(at_) == label;
    }
    bool walk(std::string_view bytes) {
      for (const char byte : bytes) {
        if (!step(byte)) return false;
      }
      return true;
    }
    /// Value of the key that ends here, or kNone.
    uint32_t value() const { return value_of(at_); }

   private:
    friend class Trie;
    Cursor(const uint64_t* units, uint64_t at) : units_(units), at_(at) {}
    const uint64_t* units_;
    uint64_t at_;
  };

  Cursor root() const { return {units_.data(), units_[0]}; }

  /// Value of the whole key, or kNone.
  uint32_t find(std::string_view key) const {
    Cursor cursor = root();
    return cursor.walk(key) ? cursor.value() : kNone;
  }

  size_t bytes() const { return units_.size() * sizeof(uint64_t); }

 private:
  // A unit: label in 9 bits (256 = free), index of its children's block of slots in 27, value
  // in 28. The child for byte b stands at base ^ b; bases are unique, so its label proves its
  // parent.
  static uint32_t label_of(uint64_t unit) { return static_cast<uint32_t>(unit & 511); }
  static uint32_t base_of(uint64_t unit) { return static_cast<uint32_t>(unit >> 9 & 0x7FFFFFF); }
  static uint32_t value_of(uint64_t unit) { return static_cast<uint32_t>(unit >> 36); }

  friend class TrieBuilder;
  std::vector<uint64_t> units_;
};

}  // namespace tamis::text

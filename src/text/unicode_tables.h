#pragma once

// The generated tables of unicode_tables.cc, in their packed form. Only unicode.cc reads them.

#include <cstddef>
#include <cstdint>

namespace tamis::text::tables {

/// Runs that cover all code points: length, then flags | grapheme class << 8 | combining class
/// << 16.
extern const uint32_t kProperties[];
extern const size_t kPropertiesSize;

// Maps from a code point to one or more: difference to the key before, count, zigzag differences.
extern const uint32_t kLower[];
extern const size_t kLowerSize;
extern const uint32_t kNfd[];
extern const size_t kNfdSize;
/// Only where the compatibility decomposition differs from the canonical one.
extern const uint32_t kNfkd[];
extern const size_t kNfkdSize;

/// Triples first, second, composed: zigzag differences to the triple before.
extern const uint32_t kCompose[];
extern const size_t kComposeSize;

}  // namespace tamis::text::tables

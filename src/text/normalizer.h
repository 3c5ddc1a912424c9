#pragma once

// Normalizers: what happens to a text before it is cut.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace tamis::text {

/// A stretch of text on its way through the pipeline, and how many of its leading bytes stem from
/// the very start of the input (Metaspace's prepend_scheme "first" asks for that alone).
struct Stretch {
  std::string text;
  size_t origin = 0;
};

/// One step. Immutable. Thread rule: const calls may run at the same time.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// Writes the result to `out` (its old content does not matter); `in` is valid UTF-8, so is
  /// `out`.
  virtual void apply(const Stretch& in, Stretch& out) const = 0;
  /// An upper bound of how many times longer than its input, in bytes, the output can be.
  virtual double growth() const = 0;
};

using NormalizerList = std::vector<std::unique_ptr<const Normalizer>>;

/// Reads tokenizer.json's "normalizer", sequences flattened.
/// Errors: unimplemented (a type, or a regular expression: named), data_loss (also for steps that
/// together could turn a short text into more than memory holds).
NormalizerList make_normalizers(const io::JsonValue& json, std::string_view where);

// The steps that loaders of other formats put together themselves.
std::unique_ptr<const Normalizer> make_precompiled(std::string_view charsmap,
                                                   std::string_view where);
std::unique_ptr<const Normalizer> make_strip(bool left, bool right);
/// `pattern`: see Pattern in pattern.h.
std::unique_ptr<const Normalizer> make_regex_replace(std::string_view pattern,
                                                     std::string_view content,
                                                     std::string_view where);
struct BertOptions {
  bool clean_text = true;
  bool handle_chinese_chars = true;
  bool strip_accents = true;
  bool lowercase = true;
};
std::unique_ptr<const Normalizer> make_bert_normalizer(const BertOptions& options);

/// Runs all steps; the result is in `text`, `spare` is scratch.
void normalize(const NormalizerList& steps, Stretch& text, Stretch& spare);

}  // namespace tamis::text

#pragma once

// Pre-tokenizers: cut a normalised text into the pieces that the model sees.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "text/normalizer.h"

namespace tamis::text {

/// A text and its pieces, in order; what lies between two pieces is dropped.
struct Pieces {
  struct Span {
    size_t begin, end;
    size_t origin;  ///< leading bytes that stem from the very start of the input
  };
  std::string text;
  std::vector<Span> spans;

  std::string_view piece(const Span& span) const {
    return std::string_view(text).substr(span.begin, span.end - span.begin);
  }
};

/// One step. Immutable. Thread rule: const calls may run at the same time.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Cuts each piece further. `spare` is scratch with any content.
  virtual void apply(Pieces& pieces, Pieces& spare) const = 0;
};

using PreTokenizerList = std::vector<std::unique_ptr<const PreTokenizer>>;

/// Reads tokenizer.json's "pre_tokenizer", sequences flattened.
/// Errors: unimplemented (a type: named), data_loss.
PreTokenizerList make_pre_tokenizers(const io::JsonValue& json, std::string_view where);

enum class PrependScheme { kAlways, kFirst, kNever };

// The steps that loaders of other formats put together themselves.
std::unique_ptr<const PreTokenizer> make_metaspace(std::string_view replacement,
                                                   PrependScheme scheme, bool split);
std::unique_ptr<const PreTokenizer> make_bert_pre_tokenizer();

}  // namespace tamis::text

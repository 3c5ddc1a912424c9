#pragma once

// Post-processors: the special tokens around one or two sequences.

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "text/tokenizer.h"

namespace tamis::text {

/// The layout of a model input. Immutable.
class Template {
 public:
  /// No special tokens at all; type ids 0 and 1.
  Template();

  /// `first` A `last`, and for a pair `first` A `middle` B `last`.
  struct Frame {
    std::vector<int32_t> first, middle, last;
    int32_t second_type = 0;  ///< type id of B and of the `last` of a pair
  };
  explicit Template(const Frame& frame);

  /// Reads tokenizer.json's "post_processor": TemplateProcessing, BertProcessing,
  /// RobertaProcessing, or a Sequence with one of them.
  /// Errors: unimplemented (another type: named), data_loss (also for ids from id_limit on).
  static Template from_json(const io::JsonValue& json, size_t id_limit, std::string_view where);

  Encoding single(std::span<const int32_t> a) const { return build(single_, a, {}); }
  Encoding pair(std::span<const int32_t> a, std::span<const int32_t> b) const {
    return build(pair_, a, b);
  }
  size_t single_overhead() const { return overhead(single_); }
  size_t pair_overhead() const { return overhead(pair_); }

 private:
  struct Part {
    enum class Kind { kFirst, kSecond, kSpecial } kind;
    int32_t type_id;
    std::vector<int32_t> ids;  // of kSpecial
  };
  using Parts = std::vector<Part>;

  static Template from_template_json(const io::JsonValue& json, size_t id_limit,
                                     std::string_view where);
  static Template from_frame_json(const io::JsonValue& json, size_t id_limit, bool roberta,
                                  std::string_view where);
  static Parts read_parts(const io::JsonValue& pieces, const io::JsonValue& specials,
                          size_t id_limit, std::string_view where);
  static Encoding build(const Parts& parts, std::span<const int32_t> a, std::span<const int32_t> b);
  static size_t overhead(const Parts& parts);

  Parts single_, pair_;
};

}  // namespace tamis::text

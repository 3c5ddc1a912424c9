#include "text/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "base/fail.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace tamis::text {
namespace {

using Span = Pieces::Span;

/// What becomes of the characters at which a text is cut.
enum class Behavior { kRemoved, kIsolated, kContiguous, kMergedWithPrevious, kMergedWithNext };

Behavior read_behavior(std::string_view name, std::string_view where) {
  static constexpr std::pair<std::string_view, Behavior> kNames[] = {
      {"Removed", Behavior::kRemoved},
      {"Isolated", Behavior::kIsolated},
      {"Contiguous", Behavior::kContiguous},
      {"MergedWithPrevious", Behavior::kMergedWithPrevious},
      {"MergedWithNext", Behavior::kMergedWithNext}};
  for (const auto& [known, behavior] : kNames) {
    if (known == name) return behavior;
  }
  fail(ErrorCode::kDataLoss, "{}: \"{}\" is no split behavior", where, name);
}

/// Collects the parts of one piece, given as delimiter or not, in order and without gaps.
class Cutter {
 public:
  Cutter(const Span& piece, Behavior behavior, std::vector<Span>& out)
      : piece_(piece), behavior_(behavior), out_(out), first_(out.size()) {}

  void part(size_t begin, size_t end, bool delimiter) {
    if (begin == end) return;
    const bool has_last = out_.size() > first_;
    bool extend = false;
    switch (behavior_) {
      case Behavior::kRemoved:
        if (delimiter) return;
        break;
      case Behavior::kIsolated:
        break;
      case Behavior::kContiguous:
        extend = has_last && delimiter == last_;
        break;
      case Behavior::kMergedWithPrevious:
        extend = has_last && delimiter && !last_;
        break;
      case Behavior::kMergedWithNext:
        extend = has_last && !delimiter && last_;
        break;
    }
    last_ = delimiter;
    if (extend) {
      out_.back().end = end;
      return;
    }
    const size_t origin_end = piece_.begin + piece_.origin;
    out_.push_back({begin, end, origin_end > begin ? std::min(origin_end, end) - begin : 0});
  }

 private:
  const Span& piece_;
  Behavior behavior_;
  std::vector<Span>& out_;
  size_t first_;
  bool last_ = false;
};

/// Cuts at each character for which Rule(unicode, character) holds; each is a delimiter of its own.
template <class Rule>
class CutAt final : public PreTokenizer {
 public:
  CutAt(Rule rule, Behavior behavior) : rule_(std::move(rule)), behavior_(behavior) {}

  void apply(Pieces& pieces, Pieces& spare) const override {
    const Unicode& unicode = Unicode::get();
    spare.spans.clear();
    for (const Span& span : pieces.spans) {
      Cutter cutter(span, behavior_, spare.spans);
      size_t begin = span.begin;
      for (Utf8Reader reader(pieces.piece(span)); reader.next();) {
        if (!rule_(unicode, reader.character)) continue;
        const size_t at = span.begin + reader.begin;
        cutter.part(begin, at, false);
        begin = at + reader.length;
        cutter.part(at, begin, true);
      }
      cutter.part(begin, span.end, false);
    }
    std::swap(pieces.spans, spare.spans);
  }

 private:
  Rule rule_;
  Behavior behavior_;
};

template <class Rule>
std::unique_ptr<const PreTokenizer> cut_at(Rule rule, Behavior behavior) {
  return std::make_unique<CutAt<Rule>>(std::move(rule), behavior);
}

/// BERT: white space is dropped, each punctuation character stands alone.
class BertPreTokenizer final : public PreTokenizer {
 public:
  void apply(Pieces& pieces, Pieces& spare) const override {
    const Unicode& unicode = Unicode::get();
    spare.spans.clear();
    for (const Span& span : pieces.spans) {
      Cutter cutter(span, Behavior::kRemoved, spare.spans);
      size_t begin = span.begin;
      for (Utf8Reader reader(pieces.piece(span)); reader.next();) {
        const bool space = unicode.is_whitespace(reader.character);
        if (!space && !unicode.is_punctuation(reader.character)) continue;
        const size_t at = span.begin + reader.begin;
        cutter.part(begin, at, false);
        begin = at + reader.length;
        if (!space) cutter.part(at, begin, false);
      }
      cutter.part(begin, span.end, false);
    }
    std::swap(pieces.spans, spare.spans);
  }
};

/// `\w+|[^\w\s]+`: runs of word characters and runs of other visible ones.
class Whitespace final : public PreTokenizer {
 public:
  void apply(Pieces& pieces, Pieces& spare) const override {
    const Unicode& unicode = Unicode::get();
    spare.spans.clear();
    for (const Span& span : pieces.spans) {
      Cutter cutter(span, Behavior::kRemoved, spare.spans);
      size_t begin = span.begin;
      int kind = 0;  // 0 white space, 1 word, 2 other
      for (Utf8Reader reader(pieces.piece(span)); reader.next();) {
        const char32_t c = reader.character;
        const int own = unicode.is_word(c) ? 1 : unicode.is_whitespace(c) ? 0 : 2;
        if (own == kind) continue;
        cutter.part(begin, span.begin + reader.begin, kind == 0);
        begin = span.begin + reader.begin;
        kind = own;
      }
      cutter.part(begin, span.end, kind == 0);
    }
    std::swap(pieces.spans, spare.spans);
  }
};

/// Writes blanks as a visible character, puts one in front, and starts a new piece at each.
class Metaspace final : public PreTokenizer {
 public:
  Metaspace(std::string_view replacement, PrependScheme scheme, bool split)
      : replacement_(replacement), scheme_(scheme), split_(split) {}

  void apply(Pieces& pieces, Pieces& spare) const override {
    spare.text.clear();
    spare.text.reserve(pieces.text.size() + pieces.text.size() / 4 + 16);
    spare.spans.clear();
    for (const Span& span : pieces.spans) rewrite(pieces.piece(span), span.origin, spare);
    std::swap(pieces, spare);
  }

 private:
  void rewrite(std::string_view piece, size_t origin, Pieces& out) const {
    const size_t begin = out.text.size();
    const bool marked = piece[0] == ' ' || piece.starts_with(replacement_);
    const bool prepend =
        scheme_ == PrependScheme::kAlways || (scheme_ == PrependScheme::kFirst && origin > 0);
    if (prepend && !marked) out.text.append(replacement_);
    size_t part = begin;
    size_t origin_end = origin > 0 ? out.text.size() : begin;
    const auto end_part = [&](size_t end) {
      if (end > part)
        out.spans.push_back({part, end, std::min(std::max(origin_end, part), end) - part});
      part = end;
    };
    for (size_t at = 0; at < piece.size();) {
      const bool blank = piece[at] == ' ';
      const bool mark = blank || piece.substr(at).starts_with(replacement_);
      if (mark) {
        if (split_ && at > 0) end_part(out.text.size());
        out.text.append(replacement_);
        at += blank ? 1 : replacement_.size();
      } else {
        const size_t run = at;
        do {
          ++at;
        } while (at < piece.size() && piece[at] != ' ' && piece[at] != replacement_[0]);
        out.text.append(piece.substr(run, at - run));
      }
      if (at <= origin) origin_end = out.text.size();
    }
    end_part(out.text.size());
  }

  std::string replacement_;
  PrependScheme scheme_;
  bool split_;
};

std::unique_ptr<const PreTokenizer> metaspace_from_json(const io::JsonValue& json,
                                                        std::string_view where) {
  const std::string_view replacement = json.at("replacement").string("Metaspace.replacement");
  if (replacement.empty() || replacement.size() != utf8_length(replacement[0])) {
    fail(ErrorCode::kDataLoss, "{}: Metaspace.replacement \"{}\" is not one character", where,
         replacement);
  }
  const std::string name = json.string_or("prepend_scheme", "always");
  PrependScheme scheme = PrependScheme::kAlways;
  if (name == "first") {
    scheme = PrependScheme::kFirst;
  } else if (name == "never") {
    scheme = PrependScheme::kNever;
  } else if (name != "always") {
    fail(ErrorCode::kDataLoss, "{}: Metaspace.prepend_scheme \"{}\" is unknown", where, name);
  }
  // add_prefix_space is the older name of the same thing; prepend_scheme rules, but HF refuses a
  // file in which they contradict each other.
  if (!json.boolean_or("add_prefix_space", true) && scheme != PrependScheme::kNever) {
    fail(ErrorCode::kDataLoss,
         "{}: Metaspace.add_prefix_space is false, but prepend_scheme is \"{}\"", where, name);
  }
  return make_metaspace(replacement, scheme, json.boolean_or("split", true));
}

std::unique_ptr<const PreTokenizer> make_one(const io::JsonValue& json, std::string_view where) {
  const std::string_view type = json.at("type").string("pre_tokenizer.type");
  if (type == "Metaspace") return metaspace_from_json(json, where);
  if (type == "BertPreTokenizer") return make_bert_pre_tokenizer();
  if (type == "Whitespace") return std::make_unique<Whitespace>();
  if (type == "WhitespaceSplit") {
    return cut_at([](const Unicode& u, char32_t c) { return u.is_whitespace(c); },
                  Behavior::kRemoved);
  }
  if (type == "Punctuation") {
    return cut_at([](const Unicode& u, char32_t c) { return u.is_punctuation(c); },
                  read_behavior(json.string_or("behavior", "Isolated"), where));
  }
  if (type == "Digits") {
    return cut_at([](const Unicode& u, char32_t c) { return u.is_numeric(c); },
                  json.at("individual_digits").boolean("Digits.individual_digits")
                      ? Behavior::kIsolated
                      : Behavior::kContiguous);
  }
  if (type == "CharDelimiterSplit") {
    const std::string_view text = json.at("delimiter").string("CharDelimiterSplit.delimiter");
    if (text.empty() || text.size() != utf8_length(text[0])) {
      fail(ErrorCode::kDataLoss, "{}: delimiter \"{}\" is not one character", where, text);
    }
    size_t length = 0;
    const char32_t delimiter = decode_utf8(text.data(), length);
    return cut_at([delimiter](const Unicode&, char32_t c) { return c == delimiter; },
                  Behavior::kRemoved);
  }
  fail(ErrorCode::kUnimplemented, "{}: pre-tokenizer \"{}\" is not supported", where, type);
}

void collect(const io::JsonValue& json, std::string_view where, PreTokenizerList& out) {
  if (json.at("type").string("pre_tokenizer.type") != "Sequence") {
    out.push_back(make_one(json, where));
    return;
  }
  for (const auto& step : json.at("pretokenizers").elements("pre_tokenizer.pretokenizers")) {
    collect(step, where, out);
  }
}

}  // namespace

PreTokenizerList make_pre_tokenizers(const io::JsonValue& json, std::string_view where) {
  PreTokenizerList steps;
  collect(json, where, steps);
  return steps;
}

std::unique_ptr<const PreTokenizer> make_metaspace(std::string_view replacement,
                                                   PrependScheme scheme, bool split) {
  return std::make_unique<Metaspace>(replacement, scheme, split);
}

std::unique_ptr<const PreTokenizer> make_bert_pre_tokenizer() {
  return std::make_unique<BertPreTokenizer>();
}

}  // namespace tamis::text

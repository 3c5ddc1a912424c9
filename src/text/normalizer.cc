#include "text/normalizer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/fail.h"
#include "io/utf8.h"
#include "text/pattern.h"
#include "text/precompiled.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace tamis::text {
namespace {

constexpr double kCharacterGrowth = 3;    // "\u4e00" gets two blanks, U+0130 a third byte
constexpr double kNormalFormGrowth = 12;  // U+FDFA, 3 bytes, becomes 33
// By these bounds BERT counts 972, XLM-R a few hundred. Steps multiply, so a small hostile file
// could ask for any amount.
constexpr double kMaxGrowth = 1e6;

/// A step that looks at one character at a time: `Rule(unicode, character, out)` appends what
/// replaces it.
template <class Rule>
class PerCharacter final : public Normalizer {
 public:
  explicit PerCharacter(Rule rule) : rule_(rule) {}

  void apply(const Stretch& in, Stretch& out) const override {
    const Unicode& unicode = Unicode::get();
    out.text.clear();
    out.text.reserve(in.text.size() + in.text.size() / 8);
    out.origin = 0;
    for (Utf8Reader reader(in.text); reader.next();) {
      rule_(unicode, reader, out.text);
      if (reader.begin < in.origin) out.origin = out.text.size();
    }
  }
  double growth() const override { return kCharacterGrowth; }

 private:
  Rule rule_;
};

template <class Rule>
std::unique_ptr<const Normalizer> per_character(Rule rule) {
  return std::make_unique<PerCharacter<Rule>>(rule);
}

void append_lower(const Unicode& unicode, const Utf8Reader& at, std::string& out) {
  if (at.character < 0x80) {
    const bool upper = at.character >= 'A' && at.character <= 'Z';
    out.push_back(static_cast<char>(upper ? at.character | 0x20 : at.character));
    return;
  }
  const auto lower = unicode.lower(at.character);
  if (lower.empty()) out.append(at.bytes());
  for (const char32_t c : lower) io::append_utf8(out, c);
}

/// The list of BERT's own code, not a Unicode property.
bool is_chinese(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

void append_cleaned(const Unicode& unicode, const Utf8Reader& at, std::string& out) {
  const char32_t c = at.character;
  if (c >= 0x20 && c < 0x7F) {
    out.push_back(static_cast<char>(c));
  } else if (c == '\t' || c == '\n' || c == '\r') {
    out.push_back(' ');
  } else if (!unicode.is_bert_removed(c)) {
    if (unicode.is_whitespace(c)) {
      out.push_back(' ');
    } else {
      out.append(at.bytes());
    }
  }
}

void append_spaced_chinese(const Unicode&, const Utf8Reader& at, std::string& out) {
  const bool chinese = is_chinese(at.character);
  if (chinese) out.push_back(' ');
  out.append(at.bytes());
  if (chinese) out.push_back(' ');
}

void append_nmt(const Unicode&, const Utf8Reader& at, std::string& out) {
  const char32_t c = at.character;
  const bool dropped = (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F ||
                       c == 0x8F || c == 0x9F;
  if (dropped) return;
  const bool space = c == '\t' || c == '\n' || c == '\f' || c == '\r' || c == 0x1680 ||
                     (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                     c == 0xFEFF || c == 0xFFFD;
  out.append(space ? std::string_view(" ") : at.bytes());
}

class NormalFormStep final : public Normalizer {
 public:
  explicit NormalFormStep(NormalForm form) : form_(form) {}

  void apply(const Stretch& in, Stretch& out) const override {
    const Unicode& unicode = Unicode::get();
    const bool ascii = std::all_of(in.text.begin(), in.text.end(),
                                   [](char c) { return static_cast<unsigned char>(c) < 0x80; });
    if (ascii) {
      out = in;
      return;
    }
    out.text.clear();
    unicode.normalize(form_, in.text, out.text);
    std::string start;
    unicode.normalize(form_, std::string_view(in.text).substr(0, in.origin), start);
    out.origin = std::min(start.size(), out.text.size());
  }
  double growth() const override { return kNormalFormGrowth; }

 private:
  NormalForm form_;
};

class Strip final : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}

  void apply(const Stretch& in, Stretch& out) const override {
    const Unicode& unicode = Unicode::get();
    const std::string_view text = in.text;
    size_t begin = 0;
    size_t end = text.size();
    size_t length = 0;
    while (left_ && begin < end && unicode.is_whitespace(decode_utf8(&text[begin], length))) {
      begin += length;
    }
    while (right_ && end > begin) {
      const size_t last = utf8_before(text, end);
      if (!unicode.is_whitespace(decode_utf8(&text[last], length))) break;
      end = last;
    }
    out.text.assign(text, begin, end - begin);
    out.origin = std::min(in.origin > begin ? in.origin - begin : 0, out.text.size());
  }
  double growth() const override { return 1; }

 private:
  bool left_, right_;
};

class Replace final : public Normalizer {
 public:
  Replace(Pattern pattern, std::string_view content)
      : pattern_(std::move(pattern)), content_(content) {}

  void apply(const Stretch& in, Stretch& out) const override {
    const std::string_view text = in.text;
    out.text.clear();
    out.text.reserve(text.size());
    out.origin = 0;
    const auto mark_origin = [&](size_t last_source_byte) {
      if (last_source_byte < in.origin) out.origin = out.text.size();
    };
    size_t copied = 0;
    while (const auto match = pattern_.find(text, copied)) {
      if (match->begin > copied) {
        out.origin = std::max(out.origin, copy(in, copied, match->begin, out.text));
      }
      out.text.append(content_);
      mark_origin(match->end - 1);  // HF aligns a replacement with the last character it replaces
      copied = match->end;
    }
    out.origin = std::max(out.origin, copy(in, copied, text.size(), out.text));
  }
  double growth() const override {
    return std::max(
        1.0, static_cast<double>(content_.size()) / static_cast<double>(pattern_.shortest_match()));
  }

 private:
  /// Copies a range; returns how far `out` now stems from the start of the input.
  static size_t copy(const Stretch& in, size_t begin, size_t end, std::string& out) {
    const size_t before = out.size();
    out.append(in.text, begin, end - begin);
    return in.origin > begin ? before + std::min(in.origin, end) - begin : 0;
  }

  Pattern pattern_;
  std::string content_;
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::string_view content) : content_(content) {}

  void apply(const Stretch& in, Stretch& out) const override {
    out = in;
    if (in.text.empty()) return;
    out.text.insert(0, content_);
    if (in.origin > 0) out.origin += content_.size();
  }
  double growth() const override { return 1 + static_cast<double>(content_.size()); }

 private:
  std::string content_;
};

class Bert final : public Normalizer {
 public:
  explicit Bert(const BertOptions& options) {
    if (options.clean_text) steps_.push_back(per_character(append_cleaned));
    if (options.handle_chinese_chars) steps_.push_back(per_character(append_spaced_chinese));
    if (options.strip_accents) {
      steps_.push_back(std::make_unique<NormalFormStep>(NormalForm::kNfd));
      steps_.push_back(per_character([](const Unicode& u, const Utf8Reader& at, std::string& out) {
        if (!u.is_nonspacing_mark(at.character)) out.append(at.bytes());
      }));
    }
    if (options.lowercase) steps_.push_back(per_character(append_lower));
  }

  void apply(const Stretch& in, Stretch& out) const override {
    Stretch spare;
    out = in;
    normalize(steps_, out, spare);
  }
  double growth() const override {
    double all = 1;
    for (const auto& step : steps_) all *= step->growth();
    return all;
  }

 private:
  NormalizerList steps_;
};

std::unique_ptr<const Normalizer> make_replace(const io::JsonValue& json, std::string_view where) {
  const io::JsonValue pattern = json.at("pattern");
  const std::string_view content = json.at("content").string("Replace.content");
  if (const auto text = pattern.find("String")) {
    return std::make_unique<Replace>(Pattern::literal(text->string("Replace.pattern"), where),
                                     content);
  }
  return make_regex_replace(pattern.at("Regex").string("Replace.pattern"), content, where);
}

std::unique_ptr<const Normalizer> make_one(const io::JsonValue& json, std::string_view where) {
  const std::string_view type = json.at("type").string("normalizer.type");
  const auto form = [](NormalForm which) { return std::make_unique<NormalFormStep>(which); };
  if (type == "Precompiled") {
    const auto text = json.at("precompiled_charsmap").string("precompiled_charsmap");
    return make_precompiled(decode_base64(text, where), where);
  }
  if (type == "Replace") return make_replace(json, where);
  if (type == "Strip") {
    return make_strip(json.at("strip_left").boolean("Strip.strip_left"),
                      json.at("strip_right").boolean("Strip.strip_right"));
  }
  if (type == "BertNormalizer") {
    BertOptions options;
    options.clean_text = json.at("clean_text").boolean("clean_text");
    options.handle_chinese_chars = json.at("handle_chinese_chars").boolean("handle_chinese_chars");
    options.lowercase = json.at("lowercase").boolean("lowercase");
    options.strip_accents = json.boolean_or("strip_accents", options.lowercase);
    return make_bert_normalizer(options);
  }
  if (type == "NFC") return form(NormalForm::kNfc);
  if (type == "NFD") return form(NormalForm::kNfd);
  if (type == "NFKC") return form(NormalForm::kNfkc);
  if (type == "NFKD") return form(NormalForm::kNfkd);
  if (type == "Lowercase") return per_character(append_lower);
  if (type == "Nmt") return per_character(append_nmt);
  if (type == "Prepend") {
    return std::make_unique<Prepend>(json.at("prepend").string("Prepend.prepend"));
  }
  if (type == "StripAccents") {
    return per_character([](const Unicode& u, const Utf8Reader& at, std::string& out) {
      if (!u.is_combining_mark(at.character)) out.append(at.bytes());
    });
  }
  fail(ErrorCode::kUnimplemented, "{}: normalizer \"{}\" is not supported", where, type);
}

void collect(const io::JsonValue& json, std::string_view where, NormalizerList& out) {
  if (json.at("type").string("normalizer.type") != "Sequence") {
    out.push_back(make_one(json, where));
    return;
  }
  for (const auto& step : json.at("normalizers").elements("normalizer.normalizers")) {
    collect(step, where, out);
  }
}

}  // namespace

NormalizerList make_normalizers(const io::JsonValue& json, std::string_view where) {
  NormalizerList steps;
  collect(json, where, steps);
  double growth = 1;
  for (const auto& step : steps) growth *= step->growth();
  if (growth > kMaxGrowth) {
    fail(ErrorCode::kDataLoss, "{}: the normalizers could make a text {:.0e} times longer", where,
         growth);
  }
  return steps;
}

std::unique_ptr<const Normalizer> make_precompiled(std::string_view charsmap,
                                                   std::string_view where) {
  return std::make_unique<Precompiled>(charsmap, where);
}

std::unique_ptr<const Normalizer> make_strip(bool left, bool right) {
  return std::make_unique<Strip>(left, right);
}

std::unique_ptr<const Normalizer> make_regex_replace(std::string_view pattern,
                                                     std::string_view content,
                                                     std::string_view where) {
  return std::make_unique<Replace>(Pattern::regex(pattern, where), content);
}

std::unique_ptr<const Normalizer> make_bert_normalizer(const BertOptions& options) {
  return std::make_unique<Bert>(options);
}

void normalize(const NormalizerList& steps, Stretch& text, Stretch& spare) {
  for (const auto& step : steps) {
    step->apply(text, spare);
    std::swap(text, spare);
  }
}

}  // namespace tamis::text

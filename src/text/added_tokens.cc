#include "text/added_tokens.h"

#include <algorithm>

#include "text/unicode.h"
#include "text/utf8.h"

namespace tamis::text {
namespace {

/// Where the white space that ends at `end` begins, but not before `limit`.
size_t space_begin(std::string_view text, size_t end, size_t limit) {
  const Unicode& unicode = Unicode::get();
  size_t length = 0;
  while (end > limit) {
    const size_t last = utf8_before(text, end);
    if (!unicode.is_whitespace(decode_utf8(&text[last], length))) break;
    end = last;
  }
  return std::max(end, limit);
}

size_t space_end(std::string_view text, size_t begin) {
  const Unicode& unicode = Unicode::get();
  size_t length = 0;
  while (begin < text.size() && unicode.is_whitespace(decode_utf8(&text[begin], length))) {
    begin += length;
  }
  return begin;
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens,
                                   const std::vector<std::string>& forms)
    : tokens_(std::move(tokens)) {
  std::vector<Trie::Entry> entries;
  for (size_t i = tokens_.size(); i-- > 0;) {  // backwards: Trie keeps the last of equal keys
    if (forms[i].empty()) continue;
    entries.push_back({forms[i], static_cast<uint32_t>(i)});
    starts_[static_cast<unsigned char>(forms[i][0])] = true;
  }
  trie_ = Trie::build(entries);
}

bool AddedTokenFinder::stands_alone(std::string_view text, size_t begin, size_t end) const {
  const Unicode& unicode = Unicode::get();
  size_t length = 0;
  if (begin > 0 && unicode.is_word(decode_utf8(&text[utf8_before(text, begin)], length))) {
    return false;
  }
  return end == text.size() || !unicode.is_word(decode_utf8(&text[end], length));
}

void AddedTokenFinder::find(std::string_view text, std::vector<Part>& parts) const {
  size_t done = 0;
  for (size_t at = 0; at < text.size() && !tokens_.empty();) {
    if (!starts_[static_cast<unsigned char>(text[at])]) {
      ++at;
      continue;
    }
    Trie::Cursor cursor = trie_.root();
    uint32_t found = Trie::kNone;
    size_t end = at;
    for (size_t i = at; i < text.size() && cursor.step(text[i]);) {
      ++i;
      if (cursor.value() == Trie::kNone) continue;
      found = cursor.value();
      end = i;
    }
    if (found == Trie::kNone) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[found];
    if (!token.single_word || stands_alone(text, at, end)) {
      const size_t begin = token.lstrip ? space_begin(text, at, std::min(done, at)) : at;
      const size_t stop = token.rstrip ? space_end(text, end) : end;
      const size_t from = token.lstrip ? std::max(begin, done) : begin;
      if (done < from) parts.push_back({done, from, -1});
      parts.push_back({from, stop, token.id});
      done = stop;
    }
    at = end;  // a rejected match is skipped whole, too
  }
  if (done < text.size()) parts.push_back({done, text.size(), -1});
}

}  // namespace tamis::text

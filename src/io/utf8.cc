#include "io/utf8.h"

#include <cstdint>

namespace tamis::io {
namespace {

// What may follow a lead byte: the number of continuation bytes and the range of the first of them
// (it excludes overlong forms, surrogates and everything above U+10FFFF; Unicode table 3-7).
struct Lead {
  int continuations;
  uint8_t low, high;
};

constexpr Lead lead_of(uint8_t byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {1, 0x80, 0xBF};
  if (byte == 0xE0) return {2, 0xA0, 0xBF};
  if (byte == 0xED) return {2, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {2, 0x80, 0xBF};
  if (byte == 0xF0) return {3, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {3, 0x80, 0xBF};
  if (byte == 0xF4) return {3, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

Utf8Step decode_utf8(std::string_view text, size_t at) {
  const auto byte = static_cast<uint8_t>(text[at]);
  if (byte < 0x80) return {byte, 1, true};
  Lead lead = lead_of(byte);
  if (lead.continuations == 0) return {};
  char32_t code = byte & (0x3Fu >> lead.continuations);
  Utf8Step step;
  for (int i = 0; i < lead.continuations; ++i) {
    if (at + step.bytes >= text.size()) return step;
    const auto next = static_cast<uint8_t>(text[at + step.bytes]);
    if (next < lead.low || next > lead.high) return step;
    code = (code << 6) | (next & 0x3Fu);
    ++step.bytes;
    lead.low = 0x80;
    lead.high = 0xBF;
  }
  step.code = code;
  step.well_formed = true;
  return step;
}

bool is_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = decode_utf8(text, at);
    if (!step.well_formed) return false;
    at += step.bytes;
  }
  return true;
}

size_t append_repaired_utf8(std::string& out, std::string_view text) {
  size_t replaced = 0;
  size_t kept = 0;  // start of the well-formed run that is not yet copied
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = decode_utf8(text, at);
    if (!step.well_formed) {
      out.append(text, kept, at - kept);
      append_utf8(out, kReplacementCharacter);
      kept = at + step.bytes;
      ++replaced;
    }
    at += step.bytes;
  }
  out.append(text, kept, text.size() - kept);
  return replaced;
}

void append_utf8(std::string& out, char32_t code) {
  const auto put = [&out](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6));
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3F));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

}  // namespace tamis::io

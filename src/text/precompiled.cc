#include "text/precompiled.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/fail.h"
#include "io/utf8.h"
#include "text/utf8.h"

namespace tamis::text {
namespace {

// A unit of the double array (darts-clone's layout): label in bits 0-7, "a key ends here" in bit 8,
// offset in bits 10-31, to be shifted by 8 if bit 9 is set. Where a key ends, the unit at the
// offset holds its value in 31 bits.
bool has_leaf(uint32_t unit) { return unit >> 8 & 1; }
uint32_t label(uint32_t unit) { return unit & (1u << 31 | 0xFF); }
uint64_t offset(uint32_t unit) { return uint64_t{unit >> 10} << ((unit & 1u << 9) >> 6); }
uint32_t value(uint32_t unit) { return unit & 0x7FFFFFFF; }

constexpr size_t kWholeClusterLimit = 6;  // bytes; longer clusters go character by character

}  // namespace

Precompiled::Precompiled(std::string_view charsmap, std::string_view where) {
  uint32_t array_bytes = 0;
  if (charsmap.size() >= sizeof array_bytes) std::memcpy(&array_bytes, charsmap.data(), 4);
  const size_t count = array_bytes / 4;
  if (count == 0 || charsmap.size() - 4 < count * 4) {
    fail(ErrorCode::kDataLoss, "{}: charsmap of {} bytes claims an array of {} bytes", where,
         charsmap.size(), array_bytes);
  }
  units_.resize(count);
  std::memcpy(units_.data(), charsmap.data() + 4, count * 4);
  replacements_ = charsmap.substr(4 + count * 4);
  check(where);
  for (size_t begin = 0; begin < replacements_.size();) {
    const size_t end = std::min(replacements_.find('\0', begin), replacements_.size());
    longest_ = std::max(longest_, static_cast<double>(end - begin));
    begin = end + 1;
  }
  for (size_t c = 0; c < 128; ++c) {
    const char byte = static_cast<char>(c);
    plain_[c] = byte != '\r' && !look_up({&byte, 1}).found;
  }
}

void Precompiled::check(std::string_view where) const {
  if (!io::is_utf8(replacements_)) {
    fail(ErrorCode::kDataLoss, "{}: charsmap replacements are not valid UTF-8", where);
  }
  for (size_t i = 0; i < units_.size(); ++i) {
    if (units_[i] >> 31 || !has_leaf(units_[i])) continue;
    const uint64_t leaf = i ^ offset(units_[i]);
    const size_t begin = leaf < units_.size() ? value(units_[leaf]) : replacements_.size() + 1;
    const bool inside = begin <= replacements_.size();
    if (!inside || (begin < replacements_.size() && is_utf8_continuation(replacements_[begin]))) {
      fail(ErrorCode::kDataLoss, "{}: charsmap unit {} points outside its tables", where, i);
    }
  }
}

Precompiled::Mapping Precompiled::look_up(std::string_view key) const {
  uint64_t at = offset(units_[0]);
  for (const char c : key) {
    const auto byte = static_cast<unsigned char>(c);
    at ^= byte;
    if (byte == 0 || at >= units_.size() || label(units_[at]) != byte) break;
    const uint32_t unit = units_[at];
    at ^= offset(unit);
    if (has_leaf(unit)) {  // check() has seen that both tables reach so far
      const size_t begin = value(units_[at]);
      const size_t end = std::min(replacements_.find('\0', begin), replacements_.size());
      return {true, std::string_view(replacements_).substr(begin, end - begin)};
    }
  }
  return {false, {}};
}

void Precompiled::append_cluster(std::string_view cluster, std::string& out) const {
  if (cluster.size() < kWholeClusterLimit) {
    const Mapping whole = look_up(cluster);
    if (whole.found) {
      out.append(whole.text);
      return;
    }
    if (cluster.size() == utf8_length(cluster[0])) {
      out.append(cluster);
      return;
    }
  }
  for (Utf8Reader reader(cluster); reader.next();) {
    const Mapping one = look_up(reader.bytes());
    out.append(one.found ? one.text : reader.bytes());
  }
}

void Precompiled::apply(const Stretch& in, Stretch& out) const {
  const std::string_view text = in.text;
  out.text.clear();
  out.text.reserve(text.size() + text.size() / 8);
  out.origin = 0;
  const auto is_ascii = [&text](size_t i) { return static_cast<unsigned char>(text[i]) < 0x80; };
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    while (at < text.size() && plain_[static_cast<unsigned char>(text[at])] &&
           (at + 1 == text.size() || is_ascii(at + 1))) {
      ++at;
    }
    if (at > begin) {
      if (begin < in.origin) at = std::min(at, in.origin);  // keeps the account of it simple
      out.text.append(text.substr(begin, at - begin));
    } else {
      at = unicode_.cluster_end(text, begin);
      append_cluster(text.substr(begin, at - begin), out.text);
    }
    if (begin < in.origin) out.origin = out.text.size();
  }
  // HF lets what follows a deleted start take its place.
  if (in.origin > 0 && out.origin == 0 && !out.text.empty()) out.origin = utf8_length(out.text[0]);
}

std::string decode_base64(std::string_view text, std::string_view where) {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::array<int8_t, 256> digit;
  digit.fill(-1);
  for (size_t i = 0; i < kDigits.size(); ++i) {
    digit[static_cast<unsigned char>(kDigits[i])] = static_cast<int8_t>(i);
  }
  const bool whole = text.size() % 4 == 0;
  for (int i = 0; i < 2 && whole && !text.empty() && text.back() == '='; ++i) text.remove_suffix(1);
  std::string out;
  out.reserve(text.size() * 3 / 4);
  uint32_t bits = 0;
  int count = 0;
  bool good = whole;
  for (const char c : text) {
    const int8_t six = digit[static_cast<unsigned char>(c)];
    good = good && six >= 0;
    bits = bits << 6 | static_cast<uint32_t>(six & 63);
    if ((count += 6) >= 8) out.push_back(static_cast<char>(bits >> (count -= 8) & 0xFF));
  }
  if (!good) fail(ErrorCode::kDataLoss, "{}: precompiled_charsmap is not base64", where);
  return out;
}

}  // namespace tamis::text

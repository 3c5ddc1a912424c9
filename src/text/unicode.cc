#include "text/unicode.h"

#include <algorithm>
#include <map>

#include "io/utf8.h"
#include "text/unicode_tables.h"
#include "text/utf8.h"

namespace tamis::text {
namespace {

constexpr char32_t kCodePoints = 0x110000;

// Hangul syllables are composed by arithmetic (Unicode 3.12).
constexpr char32_t kSBase = 0xAC00, kLBase = 0x1100, kVBase = 0x1161, kTBase = 0x11A7;
constexpr char32_t kLCount = 19, kVCount = 21, kTCount = 28, kSCount = kLCount * kVCount * kTCount;

int32_t unzigzag(uint32_t n) {
  return n & 1 ? -static_cast<int32_t>((n + 1) >> 1) : static_cast<int32_t>(n >> 1);
}

bool is_syllable_without_t(char32_t c) { return (c - kSBase) % kTCount == 0; }

}  // namespace

const Unicode& Unicode::get() {
  static const Unicode tables;
  return tables;
}

Unicode::Unicode()
    : info_(unpack_runs({tables::kProperties, tables::kPropertiesSize})),
      lower_(unpack_map({tables::kLower, tables::kLowerSize})),
      nfd_(unpack_map({tables::kNfd, tables::kNfdSize})),
      nfkd_(unpack_map({tables::kNfkd, tables::kNfkdSize})) {
  uint32_t triple[3] = {};
  for (size_t i = 0; i < tables::kComposeSize; ++i) {
    triple[i % 3] += static_cast<uint32_t>(unzigzag(tables::kCompose[i]));
    if (i % 3 == 2) pairs_.push_back({uint64_t{triple[0]} << 32 | triple[1], triple[2]});
  }
}

Unicode::Stage Unicode::unpack_runs(std::span<const uint32_t> packed) {
  constexpr size_t kBlock = size_t{1} << Stage::kBits;
  Stage stage;
  std::map<uint32_t, uint32_t> uniform;  // value -> the block that holds it everywhere
  size_t run = 0;
  size_t left = packed[0];
  for (char32_t c = 0; c < kCodePoints; c += kBlock) {
    const auto fresh = static_cast<uint32_t>(stage.value.size());
    if (left >= kBlock) {
      const auto [at, is_new] = uniform.emplace(packed[run + 1], fresh);
      stage.block.push_back(at->second);
      if (is_new) stage.value.insert(stage.value.end(), kBlock, packed[run + 1]);
      left -= kBlock;
      continue;
    }
    stage.block.push_back(fresh);
    for (size_t i = 0; i < kBlock; ++i) {
      while (left == 0) {
        run += 2;
        left = packed[run];
      }
      stage.value.push_back(packed[run + 1]);
      --left;
    }
  }
  return stage;
}

Unicode::Expansion Unicode::unpack_map(std::span<const uint32_t> packed) {
  constexpr size_t kBlock = size_t{1} << Stage::kBits;
  Expansion map;
  map.stage.block.assign(kCodePoints / kBlock, 0);
  map.stage.value.assign(kBlock, 0);
  char32_t key = 0;
  int32_t value = 0;
  for (size_t i = 0; i < packed.size();) {
    key += packed[i];
    const uint32_t count = packed[i + 1];
    uint32_t& block = map.stage.block[key >> Stage::kBits];
    if (block == 0) {
      block = static_cast<uint32_t>(map.stage.value.size());
      map.stage.value.insert(map.stage.value.end(), kBlock, 0);
    }
    map.stage.value[block + key % kBlock] = static_cast<uint32_t>(map.pool.size()) << 5 | count;
    for (i += 2; map.pool.size() < (map.stage.value[block + key % kBlock] >> 5) + count; ++i) {
      value += unzigzag(packed[i]);
      map.pool.push_back(static_cast<char32_t>(value));
    }
  }
  return map;
}

void Unicode::decompose(bool compatibility, char32_t c, std::vector<char32_t>& out) const {
  if (c - kSBase < kSCount) {
    const char32_t index = c - kSBase;
    out.push_back(kLBase + index / (kVCount * kTCount));
    out.push_back(kVBase + index % (kVCount * kTCount) / kTCount);
    if (index % kTCount != 0) out.push_back(kTBase + index % kTCount);
    return;
  }
  auto parts = compatibility ? expand(nfkd_, c) : std::span<const char32_t>{};
  if (parts.empty()) parts = expand(nfd_, c);
  if (parts.empty()) {
    out.push_back(c);
  } else {
    out.insert(out.end(), parts.begin(), parts.end());
  }
}

void Unicode::reorder(std::span<char32_t> characters) const {
  const auto by_class = [this](char32_t a, char32_t b) {
    return combining_class(a) < combining_class(b);
  };
  for (size_t i = 0; i < characters.size();) {
    size_t end = i;
    while (end < characters.size() && combining_class(characters[end]) != 0) ++end;
    if (end - i > 1) std::stable_sort(characters.begin() + i, characters.begin() + end, by_class);
    i = end + 1;
  }
}

char32_t Unicode::compose(char32_t first, char32_t second) const {
  if (first - kLBase < kLCount && second - kVBase < kVCount) {
    return kSBase + ((first - kLBase) * kVCount + (second - kVBase)) * kTCount;
  }
  if (first - kSBase < kSCount && is_syllable_without_t(first) &&
      second - kTBase - 1 < kTCount - 1) {
    return first + (second - kTBase);
  }
  const uint64_t key = uint64_t{first} << 32 | second;
  const auto at = std::lower_bound(pairs_.begin(), pairs_.end(), key,
                                   [](const Pair& pair, uint64_t k) { return pair.key < k; });
  return at != pairs_.end() && at->key == key ? at->composed : 0;
}

void Unicode::compose_all(std::vector<char32_t>& characters) const {
  constexpr size_t kNone = ~size_t{0};
  size_t kept = 0;
  size_t starter = kNone;
  uint8_t last_class = 0;  // of the last character kept after the starter
  for (const char32_t c : characters) {
    const uint8_t own_class = combining_class(c);
    // A character joins the starter unless something between them blocks it.
    const bool adjacent = starter != kNone && kept == starter + 1;
    if (starter != kNone && (adjacent || last_class < own_class)) {
      if (const char32_t composed = compose(characters[starter], c)) {
        characters[starter] = composed;
        continue;
      }
    }
    if (own_class == 0) starter = kept;
    last_class = own_class;
    characters[kept++] = c;
  }
  characters.resize(kept);
}

void Unicode::normalize(NormalForm form, std::string_view text, std::string& out) const {
  const bool compatibility = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  std::vector<char32_t> characters;
  characters.reserve(text.size());
  for (Utf8Reader reader(text); reader.next();) {
    if (reader.character < 0x80) {
      characters.push_back(reader.character);
    } else {
      decompose(compatibility, reader.character, characters);
    }
  }
  reorder(characters);
  if (form == NormalForm::kNfc || form == NormalForm::kNfkc) compose_all(characters);
  for (const char32_t c : characters) io::append_utf8(out, c);
}

namespace {

/// What of the cluster so far decides whether it goes on (Unicode annex 29, rules GB9c and GB11).
struct ClusterState {
  Grapheme last;
  char32_t last_character;
  bool pictograph;        // pictograph Extend*
  bool pictograph_zwj;    // pictograph Extend* ZWJ
  bool consonant;         // consonant with only Extend, Linker, ZWJ after it
  bool consonant_linker;  // the same with a linker among them
};

bool continues(const ClusterState& state, Grapheme next, char32_t next_character) {
  using enum Grapheme;
  if (state.last == kControl) return state.last_character == '\r' && next_character == '\n';
  if (next == kControl) return false;
  if (next == kExtend || next == kSpacingMark || next == kLinker || next == kZwj) return true;
  if (state.last == kPrepend) return true;
  const bool last_v_like =
      state.last == kV || (state.last == kSyllable && is_syllable_without_t(state.last_character));
  switch (next) {
    case kL:
    case kSyllable:
      return state.last == kL;
    case kV:
      return state.last == kL || last_v_like;
    case kT:
      return last_v_like || state.last == kT || state.last == kSyllable;
    case kConsonant:
      return state.consonant_linker;
    case kPictograph:
      return state.pictograph_zwj;
    default:
      return false;
  }
}

void advance(ClusterState& state, Grapheme next, char32_t next_character) {
  using enum Grapheme;
  const bool extend = next == kExtend || next == kLinker;
  state.pictograph_zwj = next == kZwj && state.pictograph;
  state.pictograph = next == kPictograph || (state.pictograph && extend);
  const bool in_chain = extend || next == kZwj;
  state.consonant_linker =
      in_chain && state.consonant && (state.consonant_linker || next == kLinker);
  state.consonant = next == kConsonant || (in_chain && state.consonant);
  state.last = next;
  state.last_character = next_character;
}

}  // namespace

size_t Unicode::cluster_end(std::string_view text, size_t begin) const {
  Utf8Reader reader(text.substr(begin));
  reader.next();
  ClusterState state{};
  advance(state, grapheme(reader.character), reader.character);
  while (reader.next()) {
    const Grapheme next = grapheme(reader.character);
    if (!continues(state, next, reader.character)) break;
    advance(state, next, reader.character);
  }
  return begin + std::min(reader.begin, text.size() - begin);
}

}  // namespace tamis::text

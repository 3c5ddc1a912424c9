#!/usr/bin/env python3
"""Writes src/text/unicode_tables.cc: the character properties that Hugging Face `tokenizers` uses.

    pip install tokenizers==0.23.3
    python3 tools/make_unicode_tables.py > src/text/unicode_tables.cc

The library links several Unicode crates, each of another Unicode version, so no published table
agrees with it. Nothing is read from a Unicode file here: the library itself is asked about every
code point, through its Python package.
"""
import struct
import sys
import unicodedata

import tokenizers
from tokenizers import normalizers, pre_tokenizers

VERSION = "0.23.3"
ALL = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
HANGUL = range(0xAC00, 0xD7A4)
CHUNK = 4096

# Bits of the flags, kept in step with unicode.h.
WHITESPACE, PUNCTUATION, BERT_REMOVED, NONSPACING, COMBINING, WORD, NUMERIC = (1 << i for i in range(7))
# Grapheme classes, kept in step with unicode.h.
(OTHER, CONTROL, EXTEND, SPACING, LINKER, ZWJ, PREPEND, L, V, T, SYLLABLE, CONSONANT,
 PICTOGRAPH) = range(13)


def chunks(cps):
    for i in range(0, len(cps), CHUNK):
        yield cps[i:i + CHUNK]


def ask(normalize, make, cps, between="\n"):
    """normalize(make(c)) for each c; a line feed between two questions keeps them apart."""
    out = {}
    for part in chunks([c for c in cps if chr(c) not in between + "\r"]):
        answer = normalize(between.join(make(chr(c)) for c in part)).split(between)
        assert len(answer) == len(part), hex(part[0])
        out.update(zip(part, answer))
    return out


def charsmap(characters):
    """A Precompiled normaliser that maps each of `characters` to X."""
    root = {}
    for ch in characters:
        node = root
        for byte in ch.encode():
            node = node.setdefault(byte, {})
    units = [0] * 512  # block 0: root; block 1: where every leaf points, its value is 0 = "X"
    units[256] = 1 << 31

    def place(node, block):
        for byte, child in node.items():
            at = block + byte
            target = 256
            if child:
                target = len(units)
                units.extend([0] * 256)
            units[at] = byte | (0 if child else 1 << 8) | ((at ^ target) << 10)
            if child:
                place(child, target)

    top = len(units)
    units.extend([0] * 256)
    units[0] = top << 10
    place(root, top)
    trie = struct.pack("<%dI" % len(units), *units)
    return normalizers.Precompiled(struct.pack("<I", len(trie)) + trie + b"X\0")


def grapheme_classes():
    """Finds where clusters break by what Precompiled does: of a cluster under six bytes whose first
    character is mapped, the rest is dropped; any other goes character by character."""
    acute, virama, qa, copyright_zwj = "\u0301", "\u094d", "\u0958", "\u00a9\u200d"

    def swallowed(mapped, after, cps=ALL):
        """Those c that stand in one cluster with what follows: its last character stays."""
        answers = ask(charsmap(mapped).normalize_str, lambda c: c + mapped + after, cps)
        return {c for c, r in answers.items() if r.endswith(after)}

    joins_left = {c for c, r in ask(charsmap("a").normalize_str, lambda c: "a" + c, ALL).items()
                  if r == "X" and c != 0x61}
    left = sorted(joins_left)
    control = {c for c, r in ask(charsmap(acute).normalize_str, lambda c: c + acute + acute,
                                 ALL).items() if r == chr(c) + "X"} | {0x0A, 0x0D}
    prepend = swallowed("a", acute)
    before = {name: swallowed(jamo, acute) - prepend
              for name, jamo in (("L", "\u1100"), ("V", "\u1161"), ("T", "\u11a8"))}
    ask_qa = charsmap(qa).normalize_str
    consonant = {c for c, r in ask(ask_qa, lambda c: c + virama + qa + acute, ALL).items()
                 if r.endswith(acute)} - prepend
    ka = "\u0915"
    linker = {c for c, r in ask(ask_qa, lambda c: ka + c + qa + acute, left).items()
              if r.endswith(acute)}
    keeps = {c for c, r in ask(ask_qa, lambda c: ka + c + virama + qa + acute, left).items()
             if r.endswith(acute)}
    pictograph = {c for c, r in ask(charsmap("\u00a9").normalize_str, lambda c: copyright_zwj + c,
                                    ALL).items() if r.startswith("X\u200d")} - joins_left
    out = {}
    for c in ALL:
        joins = tuple(c in before[k] for k in "LVT")
        if c in HANGUL:
            out[c] = SYLLABLE
        elif c == 0x200D:
            out[c] = ZWJ
        elif c in joins_left:
            out[c] = LINKER if c in linker else EXTEND if c in keeps else SPACING
        elif c in control:
            out[c] = CONTROL
        elif c in prepend:
            out[c] = PREPEND
        elif any(joins):
            out[c] = {(True, True, False): L, (False, True, True): V, (False, False, True): T}[joins]
        elif c in consonant:
            out[c] = CONSONANT
        elif c in pictograph:
            out[c] = PICTOGRAPH
        else:
            out[c] = OTHER
    return out


def pieces_of(pre_tokenizer, cps):
    out = {}
    for c in cps:
        out[c] = [p for p, _ in pre_tokenizer.pre_tokenize_str("a" + chr(c) + "a")]
    return out


def flags():
    out = dict.fromkeys(ALL, 0)

    def mark(bit, found):
        for c in found:
            out[c] |= bit

    mark(WHITESPACE, (c for c, p in pieces_of(pre_tokenizers.WhitespaceSplit(), ALL).items()
                      if len(p) == 2))
    mark(PUNCTUATION, (c for c, p in pieces_of(pre_tokenizers.Punctuation(), ALL).items()
                       if len(p) == 3))
    mark(WORD, (c for c, p in pieces_of(pre_tokenizers.Whitespace(), ALL).items() if len(p) == 1))
    mark(NUMERIC, (c for c, p in pieces_of(pre_tokenizers.Digits(), ALL).items() if len(p) == 3))

    def bert(**on):
        names = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
        return normalizers.BertNormalizer(**{n: on.get(n, False) for n in names}).normalize_str

    mark(BERT_REMOVED, (c for c, r in ask(bert(clean_text=True), lambda c: "a" + c + "b", ALL,
                                          between="|").items() if r == "ab"))
    mark(NONSPACING, (c for c, r in ask(bert(strip_accents=True), lambda c: "\t" + c + "\t", ALL).items()
                      if r == "\t\t"))
    mark(COMBINING, (c for c, r in ask(normalizers.StripAccents().normalize_str,
                                       lambda c: "a" + c + "b", ALL).items() if r == "ab"))
    return out


def combining_classes(nfd):
    """Orders each mark against one mark of every class, by NFD's own reordering."""
    stable = [c for c in ALL if nfd.get(c, chr(c)) == chr(c)]
    normalize = normalizers.NFD().normalize_str
    low, high = "\u0334", "\u0345"  # the lowest class, 1, and the highest, 240
    after_low = ask(normalize, lambda c: "a" + c + low, stable)
    before_high = ask(normalize, lambda c: "a" + high + c, stable)
    marks = [c for c in after_low if after_low[c] != "a" + chr(c) + low
             or before_high[c] != "a" + high + chr(c)]
    references = {}  # a mark that both the library and Python know, for each class
    for c in marks:
        references.setdefault(unicodedata.combining(chr(c)), chr(c))
    references.pop(0, None)
    out = {}
    for c in marks:
        for k, r in references.items():
            if (normalize("a" + chr(c) + r), normalize("a" + r + chr(c))) == (
                    "a" + chr(c) + r, "a" + r + chr(c)):
                assert c not in out, hex(c)
                out[c] = k
        assert c in out, hex(c)
    return out


def decompositions(name, cps):
    normalize = getattr(normalizers, name)().normalize_str
    return {c: r for c, r in ask(normalize, lambda c: c, cps).items() if r != chr(c)}


def compositions(nfd):
    normalize = normalizers.NFC().normalize_str
    out = []
    for c, d in sorted(nfd.items()):
        if len(d) < 2:
            continue
        first = normalize(d[:-1])
        if len(first) == 1 and normalize(first + d[-1]) == chr(c):
            out.append((ord(first), ord(d[-1]), c))
    return sorted(out)


def emit(name, numbers, kind="uint32_t"):
    print(f"const {kind} {name}[] = {{")
    line = ""
    for n in numbers:
        word = f"{n},"
        if len(line) + len(word) > 100:
            print(line)
            line = ""
        line += word
    print(line)
    print("};")
    print(f"const size_t {name}Size = {len(numbers)};\n")


def emit_map(name, table):
    """Per entry: difference to the key before, length, then each value as its difference to the
    value before it (differences, zigzag coded, keep the numbers and this file short)."""
    numbers, last_key, last_value = [], 0, 0
    for key in sorted(table):
        numbers += [key - last_key, len(table[key])]
        last_key = key
        for ch in table[key]:
            difference = ord(ch) - last_value
            numbers.append(2 * difference if difference >= 0 else -2 * difference - 1)
            last_value = ord(ch)
    emit(name, numbers)


def main():
    assert tokenizers.__version__ == VERSION, tokenizers.__version__
    no_hangul = [c for c in ALL if c not in HANGUL]
    nfd = decompositions("NFD", no_hangul)
    nfkd = decompositions("NFKD", no_hangul)
    nfkd = {c: d for c, d in nfkd.items() if nfd.get(c) != d}
    lower = decompositions("Lowercase", ALL)
    ccc = combining_classes({**nfd, **{c: "" for c in HANGUL}})
    bits, classes = flags(), grapheme_classes()

    print(f"// Generated from Hugging Face `tokenizers` {VERSION}; do not edit. Made anew with\n"
          "//   python3 tools/make_unicode_tables.py > src/text/unicode_tables.cc\n"
          "// Numbers are differences to the entry before; unicode.cc unfolds them.\n\n"
          '#include "text/unicode_tables.h"\n\n'
          "// clang-format off\n"
          "namespace tamis::text::tables {\n")
    runs, last, start = [], None, 0
    for c in range(0x110000):
        value = 0
        if c in bits:
            value = bits[c] | classes[c] << 8 | ccc.get(c, 0) << 16
        if value != last:
            if last is not None:
                runs += [c - start, last]
            last, start = value, c
    runs += [0x110000 - start, last]
    emit("kProperties", runs)
    emit_map("kLower", lower)
    emit_map("kNfd", nfd)
    emit_map("kNfkd", nfkd)
    numbers, last = [], (0, 0, 0)
    for entry in compositions(nfd):
        for now, before in zip(entry, last):
            numbers.append(2 * (now - before) if now >= before else 2 * (before - now) - 1)
        last = entry
    emit("kCompose", numbers)
    print("}  // namespace tamis::text::tables")


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Runs Hugging Face `tokenizers` and Tamis over the same texts and counts the lines that differ.

    pip install tokenizers==0.23.3
    python3 tools/golden/compare_tokenizers.py --command build/release/tests/parity/tokens/token_ids \\
        --tokenizer shared/data/bge_official/bge-m3/tokenizer.json [--data shared/data/sets] [--lines 100000]

The command is called with the tokenizer's path as its last argument. It reads one JSON object a
line ({"text": ...} or {"text": ..., "pair": ...}) and answers each with its ids, as {"ids": [...]}
or as a bare list. Exit status 1 if a line differs.
"""
import argparse
import glob
import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
import zipfile

import tokenizers

SPECIALS = ["<s>", "</s>", "<pad>", "<unk>", "<mask>", "[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]",
            " <mask>", "<mask> ", "<s", "##", "<0x0A>"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r", "\r\n", "\v", "\f", "\x85", "\xa0", "\u1680", "\u2000",
          "\u2009", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\u2581", "\u200b"]
MARKS = ["\u0300", "\u0301", "\u0308", "\u0327", "\u0345", "\u0334", "\u05b0", "\u064b", "\u093c",
         "\u094d", "\u09cd", "\u0d4d", "\u0e38", "\u0f71", "\u3099", "\u309a", "\u200d", "\u200c",
         "\ufe0f", "\u20e3", "\u0903", "\u093e", "\u1ab0", "\u1dc0", "\uff9e", "\uff9f"]
RANGES = [(0x20, 0x7E), (0xA0, 0x24F), (0x250, 0x36F), (0x370, 0x52F), (0x531, 0x6FF), (0x700, 0x8FF),
          (0x900, 0xDFF), (0xE00, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x1FFF), (0x2000, 0x2BFF),
          (0x2E80, 0x33FF), (0x3400, 0x9FFF), (0xA000, 0xABFF), (0xAC00, 0xD7FF), (0xE000, 0xFAFF),
          (0xFB00, 0xFFFF), (0x10000, 0x12FFF), (0x16000, 0x1BFFF), (0x1D000, 0x1D7FF),
          (0x1E000, 0x1FAFF), (0x20000, 0x2FA1F), (0xE0000, 0xE01EF), (0, 0x1F), (0x80, 0x9F)]
ODD = [chr(c) for c in (0x600, 0x6DD, 0x70F, 0x8E2, 0xD4E, 0xA9, 0xAE, 0x2122, 0x203C, 0x1F468, 0x1F1E9,
                        0x1F1EA, 0x1F3FD, 0x915, 0x958, 0x95C, 0x9DC, 0xB5C, 0x1100, 0x1161, 0x11A8,
                        0xAC00, 0xAC01, 0xAA, 0xBA, 0xB2, 0xBD, 0xFB01, 0xFDFA, 0x337F, 0x3300, 0xFF76,
                        0xFF9E, 0x130, 0x1E9E, 0x3A3, 0x1C4, 0xDF, 0xFEFF, 0xFFFD, 0xFFFF, 0x10FFFF)]


def sets_texts(folder):
    """Every text of the sets at hand, one for one."""
    for path in sorted(glob.glob(os.path.join(folder, "**", "*.jsonl"), recursive=True)):
        with open(path, encoding="utf-8") as file:
            for row in map(json.loads, file):
                for value in row.values():
                    yield from [value] if isinstance(value, str) else (
                        v for v in value if isinstance(v, str)) if isinstance(value, list) else []
    for pattern in ("stsb/*.csv", "tatoeba/*"):
        for path in sorted(glob.glob(os.path.join(folder, pattern))):
            with open(path, encoding="utf-8") as file:
                yield from (line.rstrip("\n") for line in file)
    for path in glob.glob(os.path.join(folder, "udhr2.zip")):
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".txt"):
                    yield from archive.read(name).decode("utf-8", "replace").split("\n")


def code_point_texts():
    """Every code point, between letters, before a mark, after a sign, at the end."""
    for c in range(0x110000):
        if not 0xD800 <= c <= 0xDFFF:
            ch = chr(c)
            yield f"a{ch}b \u00aa{ch} .{ch}\u0301 {ch}"


def torture_texts(rng, count):
    """Random strings of what tokenizers trip over."""
    words = ["the", "Ωmega", "ppp", "naïve", "日本語", "한국어", "ขอบคุณ", "क्षत्रिय", "İstanbul", "ΣΑΣ",
             "1,234.5", "don't", "e\u0301", "A\u030a", "x" * 110, "aaaaaaa", "http://a.b/c?d=e"]
    for _ in range(count):
        parts = []
        for _ in range(rng.randint(1, 24)):
            kind = rng.random()
            if kind < 0.2:
                parts.append(rng.choice(SPACES))
            elif kind < 0.35:
                parts.append(rng.choice(MARKS))
            elif kind < 0.5:
                parts.append(rng.choice(ODD))
            elif kind < 0.57:
                parts.append(rng.choice(SPECIALS))
            elif kind < 0.7:
                parts.append(rng.choice(words))
            elif kind < 0.75:
                parts.append(rng.choice("abcpq.,-/") * rng.randint(1, 30))
            else:
                low, high = rng.choice(RANGES)
                ch = chr(rng.randint(low, high))
                parts.append("" if "\ud800" <= ch <= "\udfff" else ch)
        yield "".join(parts)


def batches(rows, size=4000):
    batch = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def ours(command, rows):
    with tempfile.TemporaryFile("w+", encoding="utf-8") as stdin:
        for row in rows:
            stdin.write(json.dumps({"text": row} if isinstance(row, str) else
                                   {"text": row[0], "pair": row[1]}) + "\n")
        stdin.seek(0)
        out = subprocess.run(command, stdin=stdin, stdout=subprocess.PIPE, check=True, text=True).stdout
    answers = [json.loads(line) for line in out.splitlines()]
    return [a["ids"] if isinstance(a, dict) else a for a in answers]


def compare(name, reference, command, rows, show):
    lines = tokens = differ = 0
    for batch in batches(rows, 200000):
        got = ours(command, batch)
        assert len(got) == len(batch), f"{len(batch)} lines in, {len(got)} out"
        at = 0
        for part in batches(batch):
            for row, want in zip(part, reference.encode_batch_fast(part)):
                lines += 1
                tokens += len(want.ids)
                if want.ids != got[at]:
                    differ += 1
                    if differ <= show:
                        print(f"  {ascii(row)}\n    HF    {want.ids}\n    Tamis {got[at]}")
                at += 1
    print(f"{name}: {differ} of {lines} lines differ ({tokens} tokens)", flush=True)
    return differ


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--command", required=True)
    parser.add_argument("--tokenizer", action="append", required=True)
    parser.add_argument("--data", help="folder of text sets; left out: generated texts only")
    parser.add_argument("--lines", type=int, default=100000, help="random texts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--skip-code-points", action="store_true")
    parser.add_argument("--show", type=int, default=5)
    args = parser.parse_args()
    differ = 0
    for path in args.tokenizer:
        reference = tokenizers.Tokenizer.from_file(path)
        reference.no_padding()
        reference.no_truncation()
        print(f"{path} (tokenizers {tokenizers.__version__}, seed {args.seed})")
        command = shlex.split(args.command) + [path]
        rng = random.Random(args.seed)
        differ += compare("torture", reference, command, torture_texts(rng, args.lines), args.show)
        torture = list(torture_texts(rng, args.lines // 10))
        pairs = zip(torture, reversed(torture))
        differ += compare("torture pairs", reference, command, pairs, args.show)
        if not args.skip_code_points:
            differ += compare("code points", reference, command, code_point_texts(), args.show)
        if args.data:
            differ += compare("sets", reference, command, sets_texts(args.data), args.show)
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())

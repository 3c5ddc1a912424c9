#!/usr/bin/env python3
"""Writes tests/fixtures/pipelines/*.jsonl: small tokenizers of every kind with Hugging Face's ids.

    pip install tokenizers==0.23.3
    python3 tools/golden/make_tokenizer_fixtures.py

Line 1 of a file is {"name", "tokenizers" (version), "tokenizer" (a whole tokenizer.json)}; each
further line is {"text", "ids"} or {"text", "pair", "ids", "type_ids"}, special tokens included.
"""
import base64
import json
import os
import random
import struct
import unicodedata

import tokenizers
from tokenizers import (AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors,
                        trainers)

import compare_tokenizers
import texts

OUT = os.path.join(os.path.dirname(__file__), "..", "..", "tests", "fixtures", "pipelines")
SPM_MARK = "\u2581"


def charsmap(rules):
    """Packs {text: replacement} as sentencepiece does: a double array, then the replacements."""
    blob, offsets = bytearray(), {}
    for value in sorted(set(rules.values())):
        offsets[value] = len(blob)
        blob += value.encode() + b"\0"
    root = {}
    for key, value in rules.items():
        node = root
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[0] = offsets[value]
    units, used = {0: 0}, {0}

    def place(at, node):
        labels = sorted(node)
        base = 1
        while base in used or any((base ^ label) in units for label in labels):
            base += 1
        used.add(base)
        units[at] = units[at] & 0xFF | (0x100 if 0 in node else 0) | (at ^ base) << 10
        for label in labels:
            units[base ^ label] = node[0] | 1 << 31 if label == 0 else label
        for label in labels:
            if label:
                place(base ^ label, node[label])

    place(0, root)
    size = (max(units) | 0xFF) + 1
    array = struct.pack("<%dI" % size, *(units.get(i, 0) for i in range(size)))
    return struct.pack("<I", len(array)) + array + bytes(blob)


def nmt_nfkc_rules():
    """A small relative of sentencepiece's nmt_nfkc."""
    rules = {c: " " for c in "\t\n\r\u00a0\u1680\u2003\u2028\u3000\u200d\ufeff"}
    rules.update({c: "" for c in "\x01\x08\x7f\u200b\u00ad"})
    sources = [*range(0xAA, 0xBF), *range(0xFF01, 0xFF5F), *range(0xFF66, 0xFFA0), *range(0x2460, 0x2474),
               0x2122, 0xFB01, 0x3300, 0x958, 0x95C, 0x1E9B, 0x132, 0x1C4, 0x2126, 0x212B, 0x340, 0x385]
    for c in map(chr, sources):
        if unicodedata.normalize("NFKC", c) != c:
            rules[c] = unicodedata.normalize("NFKC", c)
    for letter in "aeoAEO":
        for mark in "\u0301\u0308":
            rules[letter + mark] = unicodedata.normalize("NFC", letter + mark)
    rules["\u304b\u3099"] = "\u304c"
    rules["\uff76\uff9e"] = "\u30ac"
    return rules


def text_set(count, seed):
    fixed = ["", " ", "  ", "a", " a", "a ", "  a  b  ", "\u2581", "\u2581\u2581a", " \u2581 a", "a\r\nb",
             "a\tb\nc", "\x00", "a\x00b", "<mask>", " <mask> ", "a <mask> b", "x<s>y</s>z", "<unk>",
             "[MASK]", "a[MASK]b", " [MASK] .", "word words swords sword", "Word wOrd WORD", "tail   tail",
             "\u00a8a", "  \u00a8", "ppp", "pppp ppp", "aaaaaaaaaaaaaaaa", "x" * 120, "\u4e2d\u6587 ab",
             "na\u00efve nai\u0308ve", "\u0130I\u0131i \u03a3\u03c3\u03c2", "a\u0301 e\u0308 \u304b\u3099 \uff76\uff9e",
             "\u1100\u1161\u11a8 \uac01", "1234 5,6.7 \u00bd \u0664", "don't-stop (now) \u00abyes\u00bb \u3002",
             "\U0001f468\u200d\U0001f33e \u00a9\u200d\u00ae", "\u0600a \u0600\u00aa", "\u0958\u0301 \u0915\u094d\u0958\u0301"]
    return fixed + list(compare_tokenizers.torture_texts(random.Random(seed), count)) + texts.TRAINING[:30]


def trained_unigram(normalizer, pre_tokenizer, vocab_size=400):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.UnigramTrainer(vocab_size=vocab_size, unk_token="<unk>", show_progress=False,
                                      special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.train_from_iterator(texts.TRAINING * 3 + ["ppp pp p aaa aa a ab ba 12 3"] * 20, trainer)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    return tokenizer


def trained_wordpiece(normalizer, pre_tokenizer, vocab_size=400):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.WordPieceTrainer(vocab_size=vocab_size, show_progress=False, special_tokens=[
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.train_from_iterator(texts.TRAINING * 3 + [texts.CHINESE], trainer)
    return tokenizer


def with_model_of(base, **parts):
    """A tokenizer with base's model and added tokens, but other steps."""
    spec = json.loads(base.to_str())
    spec.update({"normalizer": None, "pre_tokenizer": None, "post_processor": None})
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    return tokenizer


def xlmr_template():
    return processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>",
                                         special_tokens=[("<s>", 0), ("</s>", 2)])


def write(name, specification, count):
    tokenizer = Tokenizer.from_str(specification)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    rows = text_set(count, name)
    with open(os.path.join(OUT, name + ".jsonl"), "w", encoding="utf-8") as out:
        def line(row):
            out.write(json.dumps(row, ensure_ascii=True, separators=(",", ":")) + "\n")

        line({"name": name, "tokenizers": tokenizers.__version__,
              "tokenizer": json.loads(specification)})
        for row in rows:
            line({"text": row, "ids": tokenizer.encode(row).ids})
        for a, b in list(zip(rows, reversed(rows)))[::6]:
            encoding = tokenizer.encode(a, b)
            line({"text": a, "pair": b, "ids": encoding.ids, "type_ids": encoding.type_ids})


def variants(unigram, wordpiece):
    """name -> tokenizer: each component and option at least once."""
    n, p = normalizers, pre_tokenizers
    meta = p.Metaspace()
    for scheme in ("first", "never"):
        yield f"metaspace-{scheme}", with_model_of(unigram, pre_tokenizer=p.Metaspace(prepend_scheme=scheme))
    yield "metaspace-nosplit", with_model_of(unigram, pre_tokenizer=p.Metaspace(split=False))
    yield "first-after-strip", with_model_of(
        unigram, normalizer=n.Sequence([n.NFKD(), n.Strip(), n.Replace("a", "xy")]),
        pre_tokenizer=p.Sequence([p.WhitespaceSplit(), p.Metaspace(prepend_scheme="first")]))
    yield "first-charsmap", with_model_of(
        unigram, normalizer=n.Sequence([n.Precompiled(charsmap(nmt_nfkc_rules())), n.Strip(right=False)]),
        pre_tokenizer=p.Metaspace(prepend_scheme="first"))
    yield "split-then-metaspace", with_model_of(
        unigram, pre_tokenizer=p.Sequence([p.WhitespaceSplit(), meta]), post_processor=xlmr_template())
    yield "nmt-nfkc", with_model_of(unigram, normalizer=n.Sequence([n.Nmt(), n.NFKC(), n.Lowercase()]),
                                    pre_tokenizer=meta)
    yield "nfd-stripaccents", with_model_of(unigram, normalizer=n.Sequence([n.NFD(), n.StripAccents()]),
                                            pre_tokenizer=p.Sequence([p.Punctuation("merged_with_previous"), meta]))
    yield "prepend-replace", with_model_of(
        unigram, normalizer=n.Sequence([n.Prepend(SPM_MARK), n.Replace(" ", SPM_MARK)]))
    yield "regex-replace", with_model_of(unigram, normalizer=n.Sequence([
        n.Replace(Regex(r"\s+"), " "), n.Replace(Regex(r"\."), "!"), n.Replace(Regex("p{2}"), "q"),
        n.Replace(Regex("a+"), "a"), n.Strip(left=False)]), pre_tokenizer=meta)
    yield "digits-contiguous", with_model_of(
        unigram, pre_tokenizer=p.Sequence([p.Digits(individual_digits=False), p.Punctuation("contiguous")]))
    yield "digits-merged", with_model_of(unigram, pre_tokenizer=p.Sequence(
        [p.Digits(individual_digits=True), p.Punctuation("merged_with_next"), p.CharDelimiterSplit("-")]))
    yield "roberta", with_model_of(unigram, normalizer=n.NFC(), pre_tokenizer=meta,
                                   post_processor=processors.RobertaProcessing(("</s>", 2), ("<s>", 0)))
    added = with_model_of(unigram, normalizer=n.Lowercase(), pre_tokenizer=meta, post_processor=xlmr_template())
    added.add_tokens([AddedToken("Word", single_word=True), AddedToken("tail", lstrip=True, rstrip=True),
                      AddedToken("ab", normalized=False), AddedToken("abc", normalized=False),
                      AddedToken(".", single_word=True, normalized=False), AddedToken("the", rstrip=True)])
    added.add_special_tokens([AddedToken("<x>", rstrip=True), AddedToken("sieve", single_word=True)])
    yield "added-tokens", added

    bert = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    yield "bert-cased", with_model_of(wordpiece, normalizer=n.BertNormalizer(lowercase=False),
                                      pre_tokenizer=p.BertPreTokenizer(), post_processor=bert)
    yield "bert-accents", with_model_of(
        wordpiece, normalizer=n.BertNormalizer(lowercase=True, strip_accents=False, handle_chinese_chars=False),
        pre_tokenizer=p.BertPreTokenizer(), post_processor=processors.Sequence([processors.ByteLevel(), bert]))
    yield "bert-bare", with_model_of(
        wordpiece, normalizer=n.BertNormalizer(lowercase=False, strip_accents=True, clean_text=False),
        pre_tokenizer=p.Whitespace())
    yield "no-steps", with_model_of(wordpiece)


def main():
    os.makedirs(OUT, exist_ok=True)
    assert tokenizers.__version__ == "0.23.3", tokenizers.__version__
    xlmr = trained_unigram(
        normalizers.Sequence([normalizers.Precompiled(charsmap(nmt_nfkc_rules())),
                              normalizers.Strip(left=False), normalizers.Replace(Regex(" {2,}"), SPM_MARK)]),
        pre_tokenizers.Metaspace())
    xlmr.post_processor = xlmr_template()
    write("xlmr-reranker", xlmr.to_str(), 300)
    m3 = json.loads(xlmr.to_str())
    m3["normalizer"]["normalizers"][1:] = [{"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]
    m3["pre_tokenizer"] = {"type": "Metaspace", "replacement": SPM_MARK, "add_prefix_space": True,
                           "str_rep": SPM_MARK}
    write("xlmr-m3", json.dumps(m3), 100)

    wordpiece = trained_wordpiece(normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer())
    wordpiece.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    wordpiece.enable_truncation(16)
    wordpiece.enable_padding(length=16)
    write("bert", wordpiece.to_str(), 300)

    small_unigram = trained_unigram(normalizers.NFKC(), pre_tokenizers.Metaspace(), 120)
    small_wordpiece = trained_wordpiece(normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer(), 200)
    for name, tokenizer in variants(small_unigram, small_wordpiece):
        write(name, tokenizer.to_str(), 20)
    total = sum(os.path.getsize(os.path.join(OUT, f)) for f in os.listdir(OUT))
    print(f"{len(os.listdir(OUT))} files, {total} bytes in {os.path.relpath(OUT)}")


if __name__ == "__main__":
    main()

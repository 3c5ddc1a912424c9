#!/usr/bin/env python3
"""Writes the seeds of fuzz/corpus/tokenizer_json and fuzz/corpus/text_to_ids. No package needed.

    python3 fuzz/make_text_seeds.py
"""
import base64
import json
import os
import struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
UNIGRAM = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["a", -1.25], ["b", -2], ["\u2581", -3],
                                                     ["\u2581a", -3.5], ["ab", -2.5], ["\u4e2d", -4]]}
WORDPIECE = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
             "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "a": 1, "##b": 2, ".": 3, "\u4e2d": 4}}


def charsmap():
    units = [0] * 513
    units[0] = 256 << 10
    units[256 ^ 97] = 97 | 1 << 8 | ((256 ^ 97) ^ 512) << 10
    units[512] = 1 << 31
    return base64.b64encode(struct.pack("<I513I", 513 * 4, *units) + b"X\0").decode()


def tokenizer(model=UNIGRAM, **parts):
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
            "pre_tokenizer": None, "post_processor": None, "decoder": None, "model": model, **parts}


def sequence(key, *steps):
    return {"type": "Sequence", key: list(steps)}


def tokenizers():
    piece = {"SpecialToken": {"id": "a", "type_id": 0}}
    first, second = ({"Sequence": {"id": x, "type_id": 1}} for x in "AB")
    yield "unigram", tokenizer()
    yield "wordpiece", tokenizer(
        WORDPIECE, pre_tokenizer={"type": "BertPreTokenizer"},
        normalizer={"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                    "strip_accents": None, "lowercase": True},
        post_processor={"type": "BertProcessing", "sep": ["a", 1], "cls": [".", 3]})
    yield "metaspace", tokenizer(
        normalizer=sequence("normalizers", {"type": "Strip", "strip_left": True, "strip_right": True},
                            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
                            {"type": "Replace", "pattern": {"String": "b"}, "content": ""}),
        pre_tokenizer={"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False})
    yield "charsmap", tokenizer(normalizer={"type": "Precompiled", "precompiled_charsmap": charsmap()})
    yield "forms", tokenizer(normalizer=sequence(
        "normalizers", *({"type": t} for t in ("NFD", "NFKC", "Lowercase", "StripAccents", "Nmt")),
        {"type": "Prepend", "prepend": "a"}))
    yield "splits", tokenizer(pre_tokenizer=sequence(
        "pretokenizers", {"type": "WhitespaceSplit"}, {"type": "Whitespace"},
        {"type": "Punctuation", "behavior": "MergedWithNext"}, {"type": "Digits", "individual_digits": True},
        {"type": "CharDelimiterSplit", "delimiter": "-"}))
    yield "template", tokenizer(post_processor={
        "type": "TemplateProcessing", "single": [piece, first], "pair": [first, piece, second],
        "special_tokens": {"a": {"id": "a", "ids": [1, 2], "tokens": ["a", "b"]}}})
    yield "roberta", tokenizer(post_processor=sequence(
        "processors", {"type": "ByteLevel"},
        {"type": "RobertaProcessing", "sep": ["a", 1], "cls": ["b", 2]}))
    yield "added", tokenizer(added_tokens=[
        {"id": 9, "content": "<mask>", "single_word": False, "lstrip": True, "rstrip": True,
         "normalized": False, "special": True},
        {"id": 3, "content": "B", "single_word": True, "lstrip": False, "rstrip": False,
         "normalized": True, "special": False}], normalizer={"type": "Lowercase"})


def sentencepiece():
    def field(number, content):
        return bytes([number << 3 | 2, len(content)]) + content

    def piece(text, score, kind):
        return field(1, field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + bytes([0x18, kind]))

    return (piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) + piece("\u2581a", -1, 1)
            + piece("b", -2, 1) + piece("<u>", 0, 4) + field(2, b"\x18\x01") + field(3, b"\x18\x00"))


TEXTS = ["", "a b  ab.", "The fine flour passes, the husks stay.", "na\u00efve cafe\u0301 \u00c5ngstr\u00f6m",
         "\u7b5b\u5b50\u8ba9\u7ec6\u9762\u7c89 \u304b\u3099 \uff76\uff9e", "\u1100\u1161\u11a8\uac01", "\u0915\u094d\u0937\u0301",
         "\U0001f468\u200d\U0001f33e \u00a9\u200d\u00ae", "<s>a</s> <mask> [MASK]", " \t\r\n\u3000\u2581 ",
         "a\0b\x01\x7f\u0085", "\u0600a\u0301", "1,234.5 \u00bd \u2122 \ufb01", "\u00a8 \u00a8", "Word word tail  tail ab abc"]


def write(folder, name, content):
    path = os.path.join(HERE, folder)
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, name), "wb") as file:
        file.write(content)


def main():
    for name, content in tokenizers():
        write("tokenizer_json", name + ".json", json.dumps(content, separators=(",", ":")).encode())
    write("tokenizer_json", "small.spm", sentencepiece())
    for i, text in enumerate(TEXTS):
        write("text_to_ids", f"text{i:02}", bytes([i]) + text.encode())
    for i, raw in enumerate([b"\xff\xfe", b"a\xe4\xb8", b"\xed\xa0\x80\xf0\x9f", b"\xc0\x80\xf5"]):
        write("text_to_ids", f"bytes{i}", bytes([i]) + raw)


if __name__ == "__main__":
    main()

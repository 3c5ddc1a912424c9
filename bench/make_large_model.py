#!/usr/bin/env python3
"""Writes a model of exactly bge-reranker-v2-m3's shape with random weights, for speed and memory.

    python3 bench/make_large_model.py [--dtype f32|f16] [--seed 1] [--out DIR]

24 layers, 1024 wide, 16 heads, 250,002 words, 8,194 positions: 568 M parameters, 2.27 GB in f32,
into .cache/bench/bge-reranker-v2-m3-random-<dtype>. The weights are drawn from a seed (standard
deviation 0.02, as such models start), so scores mean nothing, but time and memory are the real
ones. Tokenizer and config are the real model's, from `tools/get_models.py bge-reranker-v2-m3`.
Needs numpy. A model that is there is left alone.
"""
from __future__ import annotations

import argparse
import json
import shutil
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / ".cache" / "models" / "bge-reranker-v2-m3"
DTYPES = {"f32": ("F32", np.float32), "f16": ("F16", np.float16)}
SMALL_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
STD = 0.02
CHUNK = 1 << 24  # values drawn at once


def tensor_shapes(config: dict) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes as transformers' XLMRobertaForSequenceClassification stores them."""
    hidden, ffn = config["hidden_size"], config["intermediate_size"]

    def linear(name: str, rows: int, cols: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield name + ".weight", (rows, cols)
        yield name + ".bias", (rows,)

    def norm(name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield name + ".weight", (hidden,)
        yield name + ".bias", (hidden,)

    embeddings = "roberta.embeddings."
    yield embeddings + "word_embeddings.weight", (config["vocab_size"], hidden)
    yield embeddings + "position_embeddings.weight", (config["max_position_embeddings"], hidden)
    yield embeddings + "token_type_embeddings.weight", (config["type_vocab_size"], hidden)
    yield from norm(embeddings + "LayerNorm")
    for i in range(config["num_hidden_layers"]):
        layer = f"roberta.encoder.layer.{i}."
        for part in ("query", "key", "value"):
            yield from linear(f"{layer}attention.self.{part}", hidden, hidden)
        yield from linear(layer + "attention.output.dense", hidden, hidden)
        yield from norm(layer + "attention.output.LayerNorm")
        yield from linear(layer + "intermediate.dense", ffn, hidden)
        yield from linear(layer + "output.dense", hidden, ffn)
        yield from norm(layer + "output.LayerNorm")
    yield from linear("classifier.dense", hidden, hidden)
    yield from linear("classifier.out_proj", len(config["id2label"]), hidden)


def values(name: str, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The tensor's values in chunks: norms start as the identity, biases at 0, the rest random."""
    if name.endswith("LayerNorm.weight"):
        yield np.ones(count, np.float32)
    elif name.endswith(".bias"):
        yield np.zeros(count, np.float32)
    else:
        for start in range(0, count, CHUNK):
            chunk = rng.standard_normal(min(CHUNK, count - start), np.float32)
            chunk *= STD
            yield chunk


def write_safetensors(path: Path, config: dict, dtype: str, seed: int) -> None:
    code, kind = DTYPES[dtype]
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    shapes = dict(tensor_shapes(config))
    for name, shape in shapes.items():
        start, end = end, end + int(np.prod(shape)) * kind().itemsize
        header[name] = {"dtype": code, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    rng = np.random.default_rng(seed)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            for chunk in values(name, int(np.prod(shape)), rng):
                file.write(np.ascontiguousarray(chunk, kind).data)


def make(out: Path, dtype: str, seed: int) -> None:
    if not (SOURCE / "tokenizer.json").exists():
        sys.exit(f"{SOURCE}: not there; run tools/get_models.py bge-reranker-v2-m3")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".new-") as scratch:
        fresh = Path(scratch) / out.name
        fresh.mkdir()
        for name in SMALL_FILES:
            shutil.copyfile(SOURCE / name, fresh / name)
        config = json.loads((fresh / "config.json").read_text())
        config["torch_dtype"] = {"f32": "float32", "f16": "float16"}[dtype]
        (fresh / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        write_safetensors(fresh / "model.safetensors", config, dtype, seed)
        fresh.rename(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=DTYPES, default="f32")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="default: see above")
    args = parser.parse_args()
    out = args.out or ROOT / ".cache" / "bench" / f"bge-reranker-v2-m3-random-{args.dtype}"
    if (out / "model.safetensors").exists():
        print(f"{out} is there")
        return
    make(out, args.dtype, args.seed)
    print(f"{out}: {(out / 'model.safetensors').stat().st_size} bytes of weights")


if __name__ == "__main__":
    main()

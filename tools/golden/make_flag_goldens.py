#!/usr/bin/env python3
"""Makes tests/golden/flagembedding.json: what FlagEmbedding itself gives for the tiny models.

    PYTHON tools/golden/make_flag_goldens.py

PYTHON needs FlagEmbedding 1.4.2 with transformers 4 (whose tokenizers cut pairs by ids; the rule
that Tamis follows) and torch; the versions used are written into the file. Every call of the public
API that Tamis takes over is made on the CPU in f32 (use_fp16=False), and its arguments and result
are kept: arrays with their shape and dtype.
"""
from __future__ import annotations

import json
import sys
from pathlib import Path

import FlagEmbedding
import numpy
import torch
import transformers
from FlagEmbedding import BGEM3FlagModel, FlagAutoModel, FlagAutoReranker, FlagModel, FlagReranker
from importlib.metadata import version

import texts

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "tests" / "fixtures" / "models"
SOME = [texts.TEXTS[i] for i in (0, 3, 5, 8, 11)] + ["", "the cat the cat the cat sat"]
PAIRS = [list(pair) for pair in texts.PAIRS[:12]]
M3_PAIRS = [[texts.TEXTS[0], texts.TEXTS[3]], [texts.TEXTS[5], texts.TEXTS[5]],
            ["the cat sat", "the cat sat on the mat"], [texts.TEXTS[8], texts.TEXTS[0]]]

# The tiny models have no more positions; FlagEmbedding does not look and fails with its own 512.
LENGTHS = {"query_max_length": 64, "passage_max_length": 64}


def plain(value: object) -> object:
    """Python's own types; an array becomes its shape, dtype and numbers."""
    if isinstance(value, torch.Tensor):
        value = value.numpy()
    if isinstance(value, numpy.ndarray):
        flat = [float(f"{x:.8g}") for x in value.astype(numpy.float64).ravel()]
        return {"shape": list(value.shape), "dtype": str(value.dtype), "values": flat}
    if isinstance(value, numpy.generic):
        return float(f"{value.item():.8g}")
    if isinstance(value, dict):
        return {key: plain(x) for key, x in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(x) for x in value]
    return value


class Recorder:
    """Calls methods of one model and keeps what they gave."""

    def __init__(self, make, fixture: str, **arguments: object) -> None:
        self.model = make(str(MODELS / fixture), devices="cpu", **arguments)
        self.entry = {"class": make.__qualname__, "model": fixture, "arguments": arguments,
                      "calls": []}

    def call(self, method: str, *args: object, **kwargs: object) -> object:
        result = getattr(self.model, method)(*args, **kwargs)
        self.entry["calls"].append({"method": method, "args": list(args), "kwargs": kwargs,
                                    "result": plain(result)})
        return result


def rerankers() -> list[dict]:
    out = []
    for fixture in ("xlmr-ce", "bert-ce"):
        plain_one = Recorder(FlagReranker, fixture, use_fp16=False, max_length=64)
        plain_one.call("compute_score", PAIRS)
        plain_one.call("compute_score", PAIRS[0])
        plain_one.call("compute_score", PAIRS, normalize=True)
        plain_one.call("compute_score", PAIRS, max_length=24)
        plain_one.call("compute_score", PAIRS, max_length=32, query_max_length=8)
        out.append(plain_one.entry)
    told = Recorder(FlagReranker, "xlmr-ce", use_fp16=False, query_instruction_for_rerank="find: ",
                    passage_instruction_for_rerank="text: ", normalize=True, max_length=40,
                    passage_instruction_format="{}{}.")
    told.call("compute_score", PAIRS)
    out.append(told.entry)
    auto = Recorder(FlagAutoReranker.from_finetuned, "xlmr-ce", use_fp16=False,
                    model_class="encoder-only-base", max_length=64)
    auto.call("compute_score", PAIRS[:3])
    return [*out, auto.entry]


def embedders() -> list[dict]:
    out = []
    for fixture, arguments in (
            ("xlmr-bi-cls-norm", {}), ("xlmr-bi-mean", {"pooling_method": "mean"}),
            ("bert-bi-mean-norm", {"pooling_method": "mean", "normalize_embeddings": False}),
            ("bert-bi-cls", {"truncate_dim": 8, "passage_max_length": 20,
                             "query_instruction_for_retrieval": "Represent: ",
                             "query_instruction_format": "{}\\n{}"})):
        model = Recorder(FlagModel, fixture, use_fp16=False, **{**LENGTHS, **arguments})
        model.call("encode", SOME)
        model.call("encode", SOME[0])
        model.call("encode_queries", SOME, max_length=16)
        model.call("encode_corpus", SOME[:3])
        model.call("encode_corpus", SOME[:1])
        out.append(model.entry)
    told = Recorder(FlagModel, "xlmr-bi-mean", use_fp16=False, pooling_method="mean", **LENGTHS,
                    passage_instruction_for_retrieval="passage: ")
    told.call("encode_corpus", SOME[:3])
    told.call("encode_queries", SOME[:3])
    out.append(told.entry)
    auto = Recorder(FlagAutoModel.from_finetuned, "bert-bi-cls", use_fp16=False,
                    model_class="encoder-only-base", **LENGTHS)
    auto.call("encode", SOME[:3])
    return [*out, auto.entry]


def m3() -> list[dict]:
    model = Recorder(BGEM3FlagModel, "xlmr-m3", use_fp16=False, **LENGTHS)
    every = {"return_dense": True, "return_sparse": True, "return_colbert_vecs": True}
    model.call("encode", SOME)
    full = model.call("encode", SOME, **every)
    model.call("encode", SOME[0], **every)
    model.call("encode_queries", SOME[:3], return_dense=False, return_sparse=True)
    model.call("encode_corpus", SOME[:3], max_length=12, return_colbert_vecs=True)
    lexical = [{key: float(weight) for key, weight in item.items()}
               for item in full["lexical_weights"]]
    model.call("convert_id_to_token", lexical[:3])
    model.call("convert_id_to_token", lexical[:1])
    model.call("convert_id_to_token", lexical[0])
    model.call("compute_lexical_matching_score", lexical[0], lexical[1])
    model.call("compute_lexical_matching_score", lexical[:2], lexical[1:4])
    model.call("compute_score", M3_PAIRS)
    model.call("compute_score", M3_PAIRS, weights_for_different_modes=[0.4, 0.2, 0.4])
    model.call("compute_score", M3_PAIRS, max_query_length=8, max_passage_length=12)
    model.call("compute_score", M3_PAIRS[2])
    q, p = full["colbert_vecs"][0], full["colbert_vecs"][1]
    model.entry["colbert_score"] = {"query": 0, "passage": 1,
                                    "result": plain(model.model.colbert_score(q, p))}
    cut = Recorder(BGEM3FlagModel, "xlmr-m3", use_fp16=False, truncate_dim=12, **LENGTHS,
                   normalize_embeddings=False, pooling_method="mean")
    cut.call("encode", SOME[:3], **every)
    return [model.entry, cut.entry]


def main() -> None:
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    versions = {name: version(name) for name in ("FlagEmbedding", "transformers", "torch", "numpy")}
    if not transformers.__version__.startswith("4."):
        sys.exit(f"transformers {transformers.__version__}: expected 4, whose rule for pairs counts")
    entries = [*rerankers(), *embedders(), *m3()]
    lines = ",\n".join("  " + json.dumps(entry, ensure_ascii=False) for entry in entries)
    head = json.dumps({"made_by": "tools/golden/make_flag_goldens.py", "versions": versions})
    path = ROOT / "tests" / "golden" / "flagembedding.json"
    path.write_text(f'{head[:-1]},\n "models": [\n{lines}\n ]}}\n', encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes, FlagEmbedding "
          f"{versions['FlagEmbedding']} from {Path(FlagEmbedding.__file__).parent}")


if __name__ == "__main__":
    main()

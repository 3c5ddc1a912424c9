#!/usr/bin/env python3
"""Writes tests/fixtures/torch/: small files of torch.save, and what a reader must find in them.

For each <name>.bin there is a <name>.json: {"torch": version, "tensors": {name: {dtype, shape,
values}}}, the values as numbers in row-major order (f16 and bf16 exactly, as doubles), or
{"torch": version, "error": code, "words": [...]} for a file that must be refused.

    python3 tools/golden/make_torch_fixtures.py [OUT]          # torch 2.15 made the committed ones
"""

import collections
import json
import os
import pathlib
import sys

import torch

NAMES = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


class Nasty:
    """Calls os.system when it is unpickled by Python."""

    def __reduce__(self):
        return os.system, ("echo a file of weights ran this",)


def flat(tree, prefix=""):
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from flat(value, name + ".")
        elif isinstance(value, torch.Tensor):
            yield name, value.detach()


def expected(tree):
    return {
        name: {"dtype": NAMES[t.dtype], "shape": list(t.shape), "values": t.double().reshape(-1).tolist()}
        for name, t in flat(tree)
    }


def good_files():
    torch.manual_seed(7)
    x = torch.randn(3, 4)
    yield "dtypes", {
        "f32": x, "f16": x.half(), "bf16": x.bfloat16(), "f64": x.double(),
        "i64": torch.tensor([[-(2**40)], [2**40]]), "i32": torch.arange(-2, 3, dtype=torch.int32),
        "i16": torch.tensor([-300, 300], dtype=torch.int16),
        "i8": torch.tensor([-128, 127], dtype=torch.int8),
        "u8": torch.tensor([0, 255], dtype=torch.uint8), "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4), "one": torch.ones(1, 1, 3),
    }, {}  # fmt: skip
    yield "tied", {"word.weight": x, "decoder.weight": x, "row": x[1], "rows": x[1:]}, {}
    yield "nested", {"epoch": 3, "lr": 1e-3, "name": "run", "none": None, "list": [1, x],
                     "state_dict": {"a": x, "deep": {"b": x.half()}}, 7: torch.ones(2)}, {}
    layer = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.LayerNorm(2))
    yield "state_dict", layer.state_dict(), {}
    yield "parameter", collections.OrderedDict(p=torch.nn.Parameter(x), b=torch.zeros(2)), {}
    yield "protocol4", {"w": x, "h": x.half()}, {"pickle_protocol": 4}
    yield "protocol5", layer.state_dict(), {"pickle_protocol": 5}


def bad_files():
    x = torch.arange(6.0).reshape(2, 3)
    yield "forbidden_global", {"w": x, "n": Nasty()}, {}, "data_loss", [
        "system", "is not allowed in a file of weights", "byte "]
    yield "transposed", {"w": x.t()}, {}, "unimplemented", ["tensor \"w\"", "contiguous", "[1, 3]"]
    yield "legacy", {"w": x}, {"_use_new_zipfile_serialization": False}, "unimplemented", [
        "before the zip format", "torch.save"]
    yield "only_tensor", x, {}, "data_loss", ["expected a dict of tensors"]
    yield "whole_module", {"m": torch.nn.Linear(1, 1)}, {}, "data_loss", [
        "torch.nn.modules.linear.Linear"]


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else root / "tests/fixtures/torch"
    out.mkdir(parents=True, exist_ok=True)

    def write(name, tree, options, facts):
        torch.save(tree, out / f"{name}.bin", **options)
        facts = {"torch": torch.__version__, **facts}
        (out / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")

    for name, tree, options in good_files():
        write(name, tree, options, {"tensors": expected(tree)})
    for name, tree, options, code, words in bad_files():
        write(name, tree, options, {"error": code, "words": words})


if __name__ == "__main__":
    main()

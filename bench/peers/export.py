#!/usr/bin/env python3
"""Makes the files that the ONNX Runtime and OpenVINO peers run, from a model directory.

    python bench/peers/export.py MODEL OUT [--only NAME,...]

OUT gets, each in a folder of its own and left alone if it is there:

    onnx          torch's legacy exporter, eager attention, opset 17
    ort-f32       onnx fused by onnxruntime.transformers (attention, bias + GELU, skip + LayerNorm)
    ort-int8      ort-f32 through quantize_dynamic: s8 weights a channel, activations as they come
    openvino-f32  onnx converted; weights in f32
    openvino-int8w   openvino-f32 through nncf.compress_weights (INT8_ASYM: weights alone)
    openvino-int8    openvino-f32 through NNCF's post-training quantisation, model_type TRANSFORMER,
                     calibrated on 24 sequences of random tokens

Needs torch, transformers, onnx, onnxruntime, openvino and nncf.
"""
from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np

OPSET = 17
CALIBRATION_SEQUENCES = 24


def export_onnx(model: Path, out: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification
    net = AutoModelForSequenceClassification.from_pretrained(
        model, dtype=torch.float32, attn_implementation="eager").eval()
    ids = torch.randint(10, 1000, (2, 16))
    axes = {0: "batch", 1: "tokens"}
    with torch.no_grad():
        torch.onnx.export(
            net, (ids, torch.ones_like(ids)), str(out / "model.onnx"), dynamo=False,
            opset_version=OPSET, input_names=["input_ids", "attention_mask"],
            output_names=["logits"], do_constant_folding=True,
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "logits": {0: "batch"}})


def fuse(model: Path, onnx: Path, out: Path) -> None:
    import json

    from onnxruntime.transformers import optimizer
    config = json.loads((model / "config.json").read_text())
    fused = optimizer.optimize_model(str(onnx / "model.onnx"), model_type="bert",
                                     num_heads=config["num_attention_heads"],
                                     hidden_size=config["hidden_size"], opt_level=0)
    print("fused:", fused.get_fused_operator_statistics())
    fused.save_model_to_file(str(out / "model.onnx"), use_external_data_format=True)


def quantize_dynamic(fused: Path, out: Path, reduce_range: bool) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic as quantize
    quantize(str(fused / "model.onnx"), str(out / "model.onnx"), per_channel=True,
             extra_options={"DefaultTensorType": 1},
             reduce_range=reduce_range, weight_type=QuantType.QInt8, use_external_data_format=True)


def convert(onnx: Path, out: Path) -> None:
    import openvino
    net = openvino.convert_model(str(onnx / "model.onnx"))
    openvino.save_model(net, str(out / "model.xml"), compress_to_fp16=False)


def compress(source: Path, out: Path) -> None:
    import nncf
    import openvino
    net = openvino.Core().read_model(str(source / "model.xml"))
    openvino.save_model(nncf.compress_weights(net, mode=nncf.CompressWeightsMode.INT8_ASYM),
                        str(out / "model.xml"), compress_to_fp16=False)


def quantize(source: Path, out: Path, vocab: int) -> None:
    import nncf
    import openvino
    net = openvino.Core().read_model(str(source / "model.xml"))
    random = np.random.default_rng(1)

    def sample(length: int) -> dict:
        ids = random.integers(10, vocab, (1, length))
        ids[0, 0], ids[0, -1] = 0, 2
        return {"input_ids": ids.astype(np.int64), "attention_mask": np.ones_like(ids)}

    data = [sample(int(length)) for length in random.integers(32, 257, CALIBRATION_SEQUENCES)]
    done = nncf.quantize(net, nncf.Dataset(data), model_type=nncf.ModelType.TRANSFORMER,
                         subset_size=CALIBRATION_SEQUENCES, fast_bias_correction=True)
    openvino.save_model(done, str(out / "model.xml"), compress_to_fp16=False)


def vocabulary(model: Path) -> int:
    import json
    return json.loads((model / "config.json").read_text())["vocab_size"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", help="these and what they are made from")
    args = parser.parse_args()
    out = args.out
    steps = {
        "onnx": ([], lambda to: export_onnx(args.model, to)),
        "ort-f32": (["onnx"], lambda to: fuse(args.model, out / "onnx", to)),
        "ort-int8": (["ort-f32"], lambda to: quantize_dynamic(out / "ort-f32", to, True)),
        "openvino-f32": (["onnx"], lambda to: convert(out / "onnx", to)),
        "openvino-int8w": (["openvino-f32"], lambda to: compress(out / "openvino-f32", to)),
        "openvino-int8": (["openvino-f32"], lambda to: quantize(out / "openvino-f32", to,
                                                                vocabulary(args.model))),
    }
    wanted = set(args.only.split(",") if args.only else steps)
    for name in reversed(list(steps)):
        if name in wanted:
            wanted |= set(steps[name][0])
    for name, (_, make) in steps.items():
        if name not in wanted or (out / name).exists():
            continue
        print(f"export: {name}", flush=True)
        unfinished = out / f"{name}.part"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        make(unfinished)
        unfinished.rename(out / name)


if __name__ == "__main__":
    main()

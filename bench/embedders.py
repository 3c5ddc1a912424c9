#!/usr/bin/env python3
"""Times Tamis, sentence-transformers and ONNX Runtime embedding the same passages, in turns.

    .venv/bin/python bench/embedders.py --peers PYTHON --passages FOLDER [--model DIR]...
                                        [--count N] [--threads N] [--repetitions N] [--json FILE]

PYTHON is an interpreter with torch, sentence-transformers, onnx and onnxruntime; FOLDER holds data sets
in BEIR's form, whose passages are taken in turns from all of them, so that lengths are mixed.

    tamis-f32, tamis-int8   the Python package as a user calls it, texts in the order given
    st                      SentenceTransformer.encode with its own default batch (32) and sorting
    ort-f32, ort-int8       ONNX Runtime on the exported encoder, fused, and its dynamic quantisation;
                            batches of 32, sorted by length (fastembed, which runs such sessions, does
                            not sort: this is in its favour)

Each side is a process of its own. Before its time counts, its vectors are compared with those of
tamis-f32: the least cosine over all passages is printed (f32 must have 0.9999, int8 0.9). Times are
tokenising and forward, without loading, after a warm-up; medians.
"""
from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SIDES = ["tamis-f32", "st", "ort-f32", "tamis-int8", "ort-int8"]


# --- the sides: each gives a function from texts to vectors -------------------------------------------

def open_tamis(model: str, dtype: str, threads: int):
    sys.path.insert(0, str(ROOT / "build" / "release" / "python"))
    import tamis
    embedder = tamis.Embedder(model, dtype=dtype, threads=threads)
    return lambda texts: embedder.encode(texts, normalize=True)


def open_sentence_transformers(model: str, threads: int):
    import torch
    from sentence_transformers import SentenceTransformer
    torch.set_num_threads(threads)
    net = SentenceTransformer(model, device="cpu")
    return lambda texts: net.encode(texts, normalize_embeddings=True, show_progress_bar=False)


def export(model: Path, out: Path, int8: bool) -> Path:
    """The encoder as ONNX, fused, perhaps quantised; made once."""
    file = out / ("int8.onnx" if int8 else "fused.onnx")
    if file.exists():
        return file
    out.mkdir(parents=True, exist_ok=True)
    if int8:
        from onnxruntime.quantization import QuantType, quantize_dynamic
        quantize_dynamic(str(export(model, out, False)), str(file), per_channel=True,
                         weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": 1})
        return file
    import torch
    from onnxruntime.transformers import optimizer
    from transformers import AutoModel
    net = AutoModel.from_pretrained(model, dtype=torch.float32, attn_implementation="eager").eval()
    net.config.return_dict = False
    ids = torch.randint(10, 1000, (2, 16))
    axes = {0: "batch", 1: "tokens"}
    names = ["input_ids", "attention_mask"]
    with torch.no_grad():
        torch.onnx.export(net, (ids, torch.ones_like(ids)), str(out / "plain.onnx"), dynamo=False,
                          opset_version=17, input_names=names, output_names=["hidden"],
                          dynamic_axes={name: axes for name in [*names, "hidden"]})
    optimizer.optimize_model(str(out / "plain.onnx"), model_type="bert",
                             num_heads=net.config.num_attention_heads,
                             hidden_size=net.config.hidden_size).save_model_to_file(str(file))
    return file


def open_onnxruntime(model: str, int8: bool, threads: int):
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer
    folder = Path(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    file = export(folder, ROOT / ".cache" / "bench" / "embedders" / folder.name, int8)
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    inputs = [i.name for i in session.get_inputs()]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(max_tokens(folder))
    pad = json.loads((folder / "config.json").read_text())["pad_token_id"]

    def encode(texts: list[str]):
        tokenizer.no_padding()
        ids = [e.ids for e in tokenizer.encode_batch(texts)]
        out = [None] * len(texts)
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        for start in range(0, len(order), 32):
            chosen = order[start:start + 32]
            width = len(ids[chosen[0]])
            mask = np.array([[1] * len(ids[i]) + [0] * (width - len(ids[i])) for i in chosen])
            feed = {"input_ids": np.array([ids[i] + [pad] * (width - len(ids[i])) for i in chosen]),
                    "attention_mask": mask, "token_type_ids": np.zeros_like(mask)}
            hidden = session.run(None, {k: v for k, v in feed.items() if k in inputs})[0]
            mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
            mean /= np.linalg.norm(mean, axis=1, keepdims=True)
            for i, row in zip(chosen, mean):
                out[i] = row
        return np.array(out, dtype=np.float32)
    return encode


def max_tokens(folder: Path) -> int:
    file = folder / "sentence_bert_config.json"
    return json.loads(file.read_text())["max_seq_length"] if file.exists() else 512


def open_side(side: str, model: str, threads: int):
    kind, _, dtype = side.partition("-")
    if kind == "tamis":
        return open_tamis(model, dtype, threads)
    if kind == "st":
        return open_sentence_transformers(model, threads)
    return open_onnxruntime(model, dtype == "int8", threads)


def work(side: str, model: str, threads: int, passages: str, out: str) -> None:
    """A process of one side: each line on standard input is a pass."""
    import numpy as np
    texts = json.loads(Path(passages).read_text())
    encode = open_side(side, model, threads)
    np.save(out, encode(texts))
    print("ready", flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        encode(texts)
        print(json.dumps({"ms": 1000 * (time.perf_counter() - wall),
                          "cpu_ms": 1000 * (time.process_time() - cpu),
                          "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}),
              flush=True)


# --- the comparison -----------------------------------------------------------------------------------

def mixed_passages(folder: Path, count: int) -> list[str]:
    sets = []
    for corpus in sorted(folder.glob("**/corpus.jsonl")):
        rows = [json.loads(line) for line in corpus.read_text(encoding="utf-8").splitlines()]
        sets.append([f"{row.get('title', '')} {row['text']}".strip() for row in rows])
    if not sets:
        sys.exit(f"{folder}: no corpus.jsonl below it")
    out: list[str] = []
    for i in range(max(map(len, sets))):
        out += [rows[i] for rows in sets if i < len(rows)]
    return out[:count]


class Side:
    def __init__(self, name: str, python: str, model: Path, threads: int, passages: Path,
                 out: Path) -> None:
        self.name, self.out = name, out
        self.process = subprocess.Popen(
            [python, __file__, "--worker", name, "--model", str(model), "--threads", str(threads),
             "--passages", str(passages), "--out", str(out)], text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
        for line in self.process.stdout:
            if line.strip() == "ready":
                return
        sys.exit(f"{name}: ended before it was ready")

    def run(self) -> dict:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def compare(model: Path, args: argparse.Namespace, passages: Path, folder: Path) -> None:
    import numpy as np
    sides = [Side(name, sys.executable if name.startswith("tamis") else args.peers, model,
                  args.threads, passages, folder / f"{name}.npy")
             for name in args.sides.split(",")]
    want = np.load(sides[0].out)
    runs: dict[str, list[dict]] = {side.name: [] for side in sides}
    for _ in range(args.repetitions):
        for side in sides:
            runs[side.name].append(side.run())
    base: dict[str, float] = {}
    for side in sides:
        side.close()
        least = float((np.load(side.out) * want).sum(axis=1).min())
        if least < (0.9 if "int8" in side.name else 0.9999):
            sys.exit(f"{side.name}: a cosine of {least} with {sides[0].name}: not the same model")
        ms = [run["ms"] for run in runs[side.name]]
        group = "int8" if "int8" in side.name else "f32"
        base.setdefault(group, statistics.median(ms))
        row = {"model": model.name, "side": side.name, "threads": args.threads,
               "passages": len(want), "ms": statistics.median(ms), "least_ms": min(ms),
               "most_ms": max(ms), "cpu_ms": statistics.median(r["cpu_ms"] for r in runs[side.name]),
               "peak_mb": max(r["peak_mb"] for r in runs[side.name]), "least_cosine": least,
               "ratio": statistics.median(ms) / base[group]}
        print(f"| {model.name} | {side.name} | {row['ms']:,.0f} | {min(ms):,.0f}-{max(ms):,.0f} | "
              f"{row['ratio']:.2f} | {1000 * len(want) / row['ms']:.0f} | {row['peak_mb']:.0f} | "
              f"{least:.6f} |", flush=True)
        if args.json:
            facts = {"date": time.strftime("%Y-%m-%d %H:%M"), "machine": platform.node(),
                     "commit": args.commit}
            with open(args.json, "a") as file:
                file.write(json.dumps(facts | row) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = ROOT / ".cache" / "models"
    parser.add_argument("--peers", default=sys.executable, help="interpreter with the peers")
    parser.add_argument("--passages", required=True)
    parser.add_argument("--model", action="append", type=Path)
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, str(args.model[0]), args.threads, args.passages, args.out)
        return
    args.commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, text=True,
                                 capture_output=True, check=False).stdout.strip()
    texts = mixed_passages(Path(args.passages), args.count)
    print(f"{len(texts)} passages, {args.threads} threads, commit {args.commit}\n")
    print("| model | side | median ms | spread | beside tamis | passages/s | peak MB | least cosine |"
          "\n" + "|---" * 8 + "|")
    with tempfile.TemporaryDirectory() as folder:
        passages = Path(folder) / "passages.json"
        passages.write_text(json.dumps(texts))
        for model in args.model or [cache / "all-MiniLM-L6-v2", cache / "multilingual-e5-small"]:
            compare(model, args, passages, Path(folder))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""BGE-M3's compute_score of 256 pairs: Tamis beside FlagEmbedding, time and memory.

    .venv/bin/python bench/m3_scores.py --peer PYTHON [--pairs N] [--threads N] [--json FILE]

PYTHON is an interpreter with FlagEmbedding 1.4.2. The model has bge-m3's exact shape and random weights
(those of bench/make_large_model.py, which must have run; the heads are made here). Queries have about
20 words and passages about 80. Both sides are called as a user would: the whole list at once, f32, the
default batch size. Each is a process of its own; the time is that of the call, the memory is the most
that the process had.
"""
from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / ".cache" / "bench" / "bge-reranker-v2-m3-random-f32"
MODEL = ROOT / ".cache" / "bench" / "bge-m3-random-f32"
WORDS = ("sieve flour drum fine horse hair water sky mountain river house green quick summer paper stone "
         "light music garden window letter morning village bridge copper island").split()


def make_model() -> None:
    """The encoder of the large cross-encoder under another name. Needs torch for the heads."""
    import torch
    MODEL.mkdir(exist_ok=True)
    for file in SOURCE.iterdir():
        if file.name != "config.json" and not (MODEL / file.name).exists():
            (MODEL / file.name).symlink_to(file)
    config = json.loads((SOURCE / "config.json").read_text())
    config["architectures"] = ["XLMRobertaModel"]
    (MODEL / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(1)
    for name, rows in (("colbert_linear", 1024), ("sparse_linear", 1)):
        torch.save({"weight": 0.03 * torch.randn(rows, 1024, generator=generator),
                    "bias": torch.zeros(rows)}, MODEL / f"{name}.pt")


def pairs(count: int) -> list[list[str]]:
    pick = random.Random(1)

    def text(words: int) -> str:
        return " ".join(pick.choice(WORDS) for _ in range(max(2, int(pick.gauss(words, words / 5)))))
    return [[text(20), text(80)] for _ in range(count)]


def work(side: str, count: int, threads: int) -> None:
    if side == "tamis":
        sys.path.insert(0, str(ROOT / "build" / "release" / "python"))
        from tamis import BGEM3FlagModel
        model = BGEM3FlagModel(str(MODEL), use_fp16=False, devices="cpu", threads=threads)
    else:
        import torch
        torch.set_num_threads(threads)
        if not (MODEL / "sparse_linear.pt").exists():
            make_model()
        from FlagEmbedding import BGEM3FlagModel
        model = BGEM3FlagModel(str(MODEL), use_fp16=False, devices="cpu")
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    scores = model.compute_score(pairs(count))
    print("RESULT" + json.dumps({
        "seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu,
        "loaded_mb": loaded / 1024,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "scores": scores}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", default=sys.executable)
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args.pairs, args.threads)
        return
    subprocess.run([args.peer, "-c", "import sys; sys.path.insert(0, 'bench'); import m3_scores; "
                    "m3_scores.make_model()"], cwd=ROOT, check=True)
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, text=True,
                            capture_output=True, check=False).stdout.strip()
    results = {}
    print("| side | seconds | CPU seconds | peak MB | after loading MB | max difference |")
    print("|---" * 6 + "|")
    for side, python in (("flagembedding", args.peer), ("tamis", sys.executable)):
        out = subprocess.run([python, __file__, "--worker", side, "--pairs", str(args.pairs),
                              "--threads", str(args.threads)], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
        line = next(line for line in out.splitlines() if line.startswith("RESULT"))
        results[side] = json.loads(line[len("RESULT"):])
        scores, want = results[side].pop("scores"), results.get("scores")
        results.setdefault("scores", scores)
        difference = max(abs(a - b) for key in scores for a, b in zip(scores[key], want[key])) \
            if want else 0.0
        row = results[side]
        print(f"| {side} | {row['seconds']:.1f} | {row['cpu_seconds']:.1f} | {row['peak_mb']:,.0f} | "
              f"{row['loaded_mb']:,.0f} | {difference:.1e} |", flush=True)
        if args.json:
            with open(args.json, "a") as file:
                file.write(json.dumps({"date": time.strftime("%Y-%m-%d %H:%M"), "commit": commit,
                                       "what": "m3 compute_score", "side": side,
                                       "pairs": args.pairs, "threads": args.threads,
                                       "max_difference": difference, **row}) + "\n")
        if difference > 1e-3:
            sys.exit("the scores differ: one of the two is wrong")


if __name__ == "__main__":
    main()

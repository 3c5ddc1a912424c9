#!/usr/bin/env python3
"""What smaller weights cost in ranking: int8, f16 and bf16 beside f32 on judged data.

    python3 bench/quality.py [--data DIR] [--model DIR] [--sets LIST] [--queries N] [--depth N]
                             [--dtypes LIST] [--isa NAME] [--json FILE]

For each judged query of a set (SciFact; XQuAD in six languages, whose paragraphs are the corpus) the
best --depth documents of a BM25 are re-ranked by the model, once for each dtype. Printed for each set
and dtype: nDCG@10 and how it differs from f32's, in points (hundredths); how many of the ten best are
the same, and how often the best one is; and the change of the logits. The exit status is 1 if a
bound is broken: int8 may lose 0.3 points and must share 0.97 of the ten best; f16 may move a logit by
5e-3. (bf16 has no bound here: it is f32 arithmetic on rounded weights, exactly, and what the rounding
costs is the model's affair.)

--queries N takes every k-th query, so that N remain.
"""
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from retrieval import Bm25, Dataset, ndcg, ranked, read_dataset

ROOT = Path(__file__).resolve().parent.parent
SETS = ["scifact", *(f"xquad/{language}" for language in ("en", "de", "ru", "ar", "hi", "zh"))]
MOST_LOST = 0.003     # of nDCG@10, by int8
LEAST_SHARED = 0.97   # of the ten best, by int8
MOST_MOVED = {"f16": 5e-3}  # of a logit


def candidates(data: Dataset, queries: int, depth: int) -> list[tuple[str, list[str]]]:
    """(query id, document ids) of every k-th query."""
    index = Bm25(data.corpus)
    step = max(1, len(data.queries) // queries)
    chosen = sorted(data.queries)[::step][:queries]
    return [(query, index.top(data.queries[query], depth)) for query in chosen]


def score(program: Path, model: Path, data: Dataset, wanted: list[tuple[str, list[str]]],
          *options: str) -> list[list[float]]:
    """Logits of each query's documents, in their order."""
    with tempfile.TemporaryDirectory() as folder:
        requests, results = Path(folder) / "in.jsonl", Path(folder) / "out.jsonl"
        with open(requests, "w", encoding="utf-8") as file:
            for query, documents in wanted:
                file.write(json.dumps({"query": data.queries[query], "passages":
                                       [data.corpus[document] for document in documents]}) + "\n")
        subprocess.run([program, "rerank", "--model", model, "--input", requests, "--format",
                        "jsonl", "--output", results, "--quiet", *options], check=True)
        out = []
        for line in results.read_text().splitlines():
            by_index = sorted(json.loads(line)["results"], key=lambda r: r["index"])
            out.append([r["logit"] for r in by_index])
        return out


def compare(data: Dataset, wanted: list[tuple[str, list[str]]], f32: list[list[float]],
            other: list[list[float]]) -> dict:
    """Means over the queries."""
    n = len(wanted)
    best_f32 = [[documents[i] for i in ranked(logits)]
                for (_, documents), logits in zip(wanted, f32)]
    best = [[documents[i] for i in ranked(logits)] for (_, documents), logits in zip(wanted, other)]
    of = [data.relevant[query] for query, _ in wanted]
    moved = [abs(a - b) for x, y in zip(f32, other) for a, b in zip(x, y)]
    return {
        "queries": n, "pairs": len(moved),
        "ndcg10_bm25": sum(ndcg(d, r) for (_, d), r in zip(wanted, of)) / n,
        "ndcg10_f32": sum(map(ndcg, best_f32, of)) / n,
        "ndcg10": sum(map(ndcg, best, of)) / n,
        "top10": sum(len(set(a[:10]) & set(b[:10])) / min(10, len(a))
                     for a, b in zip(best_f32, best)) / n,
        "top1": sum(a[0] == b[0] for a, b in zip(best_f32, best)) / n,
        "max_moved": max(moved), "rms_moved": (sum(m * m for m in moved) / len(moved)) ** 0.5}


def broken_bounds(dtype: str, row: dict) -> list[str]:
    out = []
    if dtype == "int8" and row["ndcg10"] < row["ndcg10_f32"] - MOST_LOST:
        out.append(f"nDCG@10 fell from {row['ndcg10_f32']:.4f} to {row['ndcg10']:.4f}")
    if dtype == "int8" and row["top10"] < LEAST_SHARED:
        out.append(f"shares {row['top10']:.4f} of the ten best, expected {LEAST_SHARED}")
    if row["max_moved"] > MOST_MOVED.get(dtype, float("inf")):
        out.append(f"a logit moved by {row['max_moved']:.4f}, expected {MOST_MOVED[dtype]}")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "sets")
    parser.add_argument("--tamis", type=Path, default=ROOT / "build" / "release" / "tamis")
    parser.add_argument("--model", type=Path,
                        default=ROOT / ".cache" / "models" / "tamis-reranker-small")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--dtypes", default="int8,f16,bf16")
    parser.add_argument("--isa", default="")
    parser.add_argument("--threads", default=str(len(os.sched_getaffinity(0))))
    parser.add_argument("--json", type=Path, help="write everything here too")
    args = parser.parse_args()
    options = ["--threads", args.threads, *(["--isa", args.isa] if args.isa else [])]
    rows, complaints = [], []
    print("| set | queries | pairs | BM25 | f32 | dtype | nDCG@10 | points | ten best | best | "
          "largest change | rms |\n" + "|---" * 12 + "|")
    for name in args.sets.split(","):
        if not (args.data / name).is_dir():
            parser.error(f"{args.data / name}: no such folder")
        data = read_dataset(args.data / name, name)
        wanted = candidates(data, args.queries, args.depth)
        f32 = score(args.tamis, args.model, data, wanted, *options)
        for dtype in args.dtypes.split(","):
            started = time.monotonic()
            other = score(args.tamis, args.model, data, wanted, "--dtype", dtype, *options)
            row = compare(data, wanted, f32, other)
            rows.append({"set": name, "dtype": dtype, "depth": args.depth, "isa": args.isa,
                         "seconds": time.monotonic() - started, **row})
            print(f"| {name} | {row['queries']} | {row['pairs']} | {row['ndcg10_bm25']:.4f} | "
                  f"{row['ndcg10_f32']:.4f} | {dtype} | {row['ndcg10']:.4f} | "
                  f"{100 * (row['ndcg10'] - row['ndcg10_f32']):+.2f} | {row['top10']:.4f} | "
                  f"{row['top1']:.4f} | {row['max_moved']:.4f} | {row['rms_moved']:.4f} |",
                  flush=True)
            complaints += [f"{name}, {dtype}: {text}" for text in broken_bounds(dtype, row)]
    if args.json:
        args.json.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for text in complaints:
        print(f"bound broken: {text}")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()

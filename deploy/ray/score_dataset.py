#!/usr/bin/env python3
"""Scores a data set on a cluster: a Ray Data job on the Python package.

    python score_dataset.py --model BAAI/bge-reranker-v2-m3 --dtype int8 --workers 8 --cpus 4 \\
        s3://bucket/pairs s3://bucket/scored

Reads JSON lines or Parquet with the columns `query` and `passage`, adds `logit`, and writes Parquet.
Memory is constant: blocks are streamed. Rows keep their order within a block.
"""
from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
import ray

import tamis


class Scorer:
    """One worker: one model, loaded once."""

    def __init__(self, model: str, threads: int, dtype: str | None, max_length: int) -> None:
        self.model = tamis.Reranker(model, threads=threads, dtype=dtype)
        self.max_length = max_length

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        missing = {"query", "passage"} - set(batch)
        if missing:
            raise ValueError(f"columns: expected query and passage, got {', '.join(sorted(batch))}")
        pairs = list(zip(batch["query"].tolist(), batch["passage"].tolist()))
        return {**batch, "logit": self.model.score(pairs, max_length=self.max_length)}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Adds the logit of each (query, passage).")
    parser.add_argument("input", help="files or a directory, JSON lines or Parquet")
    parser.add_argument("output", help="a directory; Parquet")
    parser.add_argument("--model", required=True, help="a directory that every node sees, or a name of the hub")
    parser.add_argument("--dtype", default=None, help="f32, f16, bf16 or int8")
    parser.add_argument("--max-length", type=int, default=512, help="tokens of a pair")
    parser.add_argument("--workers", type=int, default=1, help="most models at a time, on all nodes together")
    parser.add_argument("--cpus", type=int, default=1, help="cores, and threads, of each")
    parser.add_argument("--rows", type=int, default=1024, help="pairs of one call")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    ray.init(ignore_reinit_error=True)
    cores = int(ray.cluster_resources()["CPU"])
    if given.cpus >= cores:  # Ray Data would wait for ever
        sys.exit(f"--cpus {given.cpus}: the cluster has {cores} cores, and reading needs one of them")
    read = ray.data.read_parquet if "parquet" in given.input else ray.data.read_json
    scored = read(given.input).map_batches(
        Scorer, fn_constructor_args=(given.model, given.cpus, given.dtype, given.max_length),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=given.workers), num_cpus=given.cpus, batch_size=given.rows)
    scored.write_parquet(given.output)


if __name__ == "__main__":
    main()

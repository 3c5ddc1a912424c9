#!/usr/bin/env python3
"""What the Python package costs: import, the first score, many threads.

    .venv/bin/python bench/python_package.py [--peer PYTHON_WITH_FLAGEMBEDDING] [--json FILE]

Import and first score are those of a fresh process, from its start to the end of the statement, files in
the page cache; medians of five. Threads: pairs a second of 1 and of 32 threads that call one Reranker,
16 pairs of the default model a call, for five seconds each.
"""
from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "build" / "release" / "python"
MODEL = ROOT / ".cache" / "models" / "tamis-reranker-small"
IMPORT = "import time; import {}; print(time.clock_gettime(time.CLOCK_MONOTONIC))"
SCORE = """
import sys, time, tamis
model = tamis.FlagReranker(sys.argv[1])
model.compute_score(("what is a tamis?", "A tamis is a drum sieve of the kitchen."))
print(time.clock_gettime(time.CLOCK_MONOTONIC))
"""


def seconds_of(python: str, script: str, *arguments: str) -> float:
    start = time.clock_gettime(time.CLOCK_MONOTONIC)
    out = subprocess.run([python, "-c", script, *arguments], check=True, capture_output=True,
                         text=True, env={**os.environ, "PYTHONPATH": str(PACKAGE)}).stdout
    return float(out.split()[-1]) - start


def fresh_process(python: str, script: str, *arguments: str, times: int = 5) -> float:
    seconds_of(python, script, *arguments)
    return statistics.median(seconds_of(python, script, *arguments) for _ in range(times))


def pairs_a_second(model, threads: int, seconds: float = 5.0) -> float:
    pairs = [("what is a tamis?", f"A tamis is a drum sieve, and number {i} of its kind.")
             for i in range(16)]
    done, errors = [0] * threads, []
    end = time.monotonic() + seconds

    def work(i: int) -> None:
        try:
            while time.monotonic() < end:
                model.score(pairs)
                done[i] += len(pairs)
        except Exception as error:  # counted, and told below
            errors.append(error)
    start = time.monotonic()
    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        sys.exit(f"{len(errors)} threads failed: {errors[0]}")
    return sum(done) / (time.monotonic() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="interpreter with FlagEmbedding")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    sys.path.insert(0, str(PACKAGE))
    import tamis
    rows = {"python itself, ms": 1000 * fresh_process(sys.executable, IMPORT.format("sys")),
            "import numpy, ms": 1000 * fresh_process(sys.executable, IMPORT.format("numpy")),
            "import tamis, ms": 1000 * fresh_process(sys.executable, IMPORT.format("tamis")),
            "first score of the default model, ms":
                1000 * fresh_process(sys.executable, SCORE, str(MODEL))}
    if args.peer:
        rows["import FlagEmbedding, ms"] = 1000 * fresh_process(
            args.peer, IMPORT.format("FlagEmbedding"), times=3)
    with tamis.Reranker(MODEL) as model:
        for threads in (1, 32):
            rows[f"pairs a second, {threads} threads"] = pairs_a_second(model, threads)
    for what, value in rows.items():
        print(f"| {what} | {value:,.0f} |")
    if args.json:
        with open(args.json, "a") as file:
            file.write(json.dumps({"date": time.strftime("%Y-%m-%d %H:%M"),
                                   "what": "python package", **rows}) + "\n")


if __name__ == "__main__":
    main()

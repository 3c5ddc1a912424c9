#!/usr/bin/env python3
"""Times Tamis and transformers on the same pairs, in turns, and prints the ratios.

    python3 bench/compare.py [--python PYTHON] [--large] [--workloads W1,W2] [--threads 1,2]
                             [--repetitions N] [--json FILE]

PYTHON is an interpreter with torch and transformers (default: this one); without them Tamis is
measured alone. The model is the default one; --large takes one of bge-reranker-v2-m3's exact shape
with random weights (bench/make_large_model.py, 2.27 GB, made if it is not there).

    W1  one pair of 64 tokens            W3  32 pairs of 32 to 512 tokens, uniform
    W2  one pair of 512 tokens           W4  100 passages for one query, about 96 tokens each
                                             (normal, standard deviation 30)

Both sides get the same texts, made of words that are one token each, and must report the same
number of tokens. Times are tokenising and forward, without loading, in f32; medians over the
repetitions, which alternate between the sides. transformers runs in batches of 16, sorted by
length as FlagReranker does, and in the given order; see bench/torch_worker.py. `start` is from the
start of the process to the first score, files in the page cache, for the first workload on the last
number of threads, without a warm-up.
"""
from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"
LARGE = ROOT / ".cache" / "bench" / "bge-reranker-v2-m3-random-f32"
MAX_LENGTH = 512
QUERY_TOKENS = 12
SPECIALS = 4  # <s> q </s></s> p </s>


@dataclass
class Workload:
    """Requests (a query and its passages), and the tokens that each pair must have."""
    name: str
    what: str
    requests: list[tuple[str, list[str]]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    warm_up: int = 0  # runs before the one that counts; for those that take a second or less

    @property
    def pairs(self) -> list[list[str]]:
        return [[query, passage] for query, passages in self.requests for passage in passages]


def make_workloads(model: Path, seed: int) -> dict[str, Workload]:
    pieces = json.loads((model / "tokenizer.json").read_text())["model"]["vocab"]
    words = [piece[1:] for piece, _ in pieces[:20000] if re.fullmatch("\u2581[a-z]{4,8}", piece)]
    rng = random.Random(seed)

    def text(tokens: int) -> str:
        return " ".join(rng.choice(words) for _ in range(tokens))

    def passage(length: int) -> str:
        return text(length - QUERY_TOKENS - SPECIALS)

    def of_lengths(name: str, what: str, lengths: list[int], one_query: bool,
                   warm_up: int) -> Workload:
        if one_query:
            requests = [(text(QUERY_TOKENS), [passage(length) for length in lengths])]
        else:
            requests = [(text(QUERY_TOKENS), [passage(length)]) for length in lengths]
        return Workload(name, what, requests, lengths, warm_up)

    normal = [min(MAX_LENGTH, max(24, round(rng.gauss(96, 30)))) for _ in range(100)]
    uniform = [rng.randint(32, 512) for _ in range(32)]
    return {work.name: work for work in (
        of_lengths("W1", "1 pair of 64 tokens", [64], False, 2),
        of_lengths("W2", "1 pair of 512 tokens", [512], False, 1),
        of_lengths("W3", "32 pairs of 32-512", uniform, False, 0),
        of_lengths("W4", "1 query, 100 passages ~96", normal, True, 0))}


class Tamis:
    """The command line tool, a new process for each run."""

    def __init__(self, program: Path, model: Path) -> None:
        self.program, self.model = program, model
        self.peak_rss_mb = 0.0

    def run(self, work: Workload, threads: int) -> dict:
        with tempfile.TemporaryDirectory() as folder:
            requests, results = Path(folder) / "in.jsonl", Path(folder) / "out.jsonl"
            requests.write_text("".join(json.dumps({"query": query, "passages": passages}) + "\n"
                                        for query, passages in work.requests))
            command = [str(self.program), "rerank", "--model", str(self.model), "--input",
                       str(requests), "--format", "jsonl", "--output", str(results), "--quiet",
                       "--threads", str(threads), "--timings", "--repeat", str(work.warm_up + 1)]
            with open(Path(folder) / "err", "w+") as errors:
                started = time.perf_counter()
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                           stdout=subprocess.DEVNULL, stderr=errors)
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                wall_ms = (time.perf_counter() - started) * 1e3
                errors.seek(0)
                said = errors.read()
            if process.returncode != 0:
                sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{said}")
            timings = json.loads(next(line for line in reversed(said.splitlines())
                                      if line.startswith("{")))
            scores, tokens = self.read_results(results)
        if tokens != work.lengths:
            sys.exit(f"{work.name}: tamis counts {sum(tokens)} tokens, wanted {sum(work.lengths)}")
        self.peak_rss_mb = max(self.peak_rss_mb, usage.ru_maxrss / 1024)
        return {"total_ms": timings["total_ms_all"][-1],
                "inference_ms": timings["inference_ms_all"][-1], "load_ms": timings["load_ms"],
                "start_ms": timings["first_result_ms"], "wall_ms": wall_ms, "scores": scores,
                "peak_rss_mb": usage.ru_maxrss / 1024}

    @staticmethod
    def read_results(path: Path) -> tuple[list[float], list[int]]:
        """Logits and token counts, pair by pair in the order of the input."""
        scores, tokens = [], []
        for line in path.read_text().splitlines():
            for result in sorted(json.loads(line)["results"], key=lambda r: r["index"]):
                scores.append(result["logit"] if "logit" in result else result["logits"][0])
                tokens.append(result["tokens"])
        return scores, tokens


class Torch:
    """transformers in a process that stays; None of it is imported here."""

    def __init__(self, python: str, model: Path, batch_size: int, threads: int) -> None:
        self.batch_size = batch_size
        self.peak_rss_mb = 0.0
        started = time.perf_counter()
        self.process = subprocess.Popen([python, str(BENCH / "torch_worker.py")], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.versions = self.ask({"model": str(model), "threads": threads})["versions"]
        self.start_ms = (time.perf_counter() - started) * 1e3

    def ask(self, request: dict) -> dict:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit("the transformers process ended; its message stands above")
        return json.loads(answer)

    def run(self, work: Workload, threads: int, order: str) -> dict:
        request = {"pairs": work.pairs, "threads": threads, "max_length": MAX_LENGTH,
                   "batch_size": self.batch_size, "order": order}
        for _ in range(work.warm_up + 1):
            answer = self.ask(request)
        if answer["tokens"] != sum(work.lengths):
            sys.exit(f"{work.name}: transformers counts {answer['tokens']} tokens, wanted "
                     f"{sum(work.lengths)}")
        self.peak_rss_mb = answer["peak_rss_mb"]
        return answer

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def has_torch(python: str) -> bool:
    return subprocess.run([python, "-c", "import torch, transformers"], check=False,
                          stderr=subprocess.DEVNULL).returncode == 0


def measure(work: Workload, threads: int, tamis: Tamis, torch: Torch | None,
            repetitions: int) -> dict:
    """One row: all sides in turns, medians of the total times."""
    orders = ["sorted"] + (["given"] if len(work.lengths) > 1 else [])
    times: dict[str, list[float]] = {}
    difference = 0.0
    for _ in range(repetitions):
        ours = tamis.run(work, threads)
        times.setdefault("tamis", []).append(ours["total_ms"])
        for order in orders if torch else []:
            theirs = torch.run(work, threads, order)
            times.setdefault(order, []).append(theirs["total_ms"])
            difference = max(difference, *(abs(a - b) for a, b in
                                           zip(ours["scores"], theirs["scores"])))
    medians = {side: statistics.median(values) for side, values in times.items()}
    row = {"workload": work.name, "what": work.what, "threads": threads, "pairs": len(work.lengths),
           "tokens": sum(work.lengths), "repetitions": repetitions, "times_ms": times,
           "median_ms": medians,
           "tamis_tokens_per_s": sum(work.lengths) / medians["tamis"] * 1e3,
           "score_sd": statistics.pstdev(ours["scores"])}
    if torch:
        row["max_score_difference"] = difference
        row["ratio"] = {order: medians[order] / medians["tamis"] for order in orders}
    return row


def print_row(row: dict) -> None:
    medians, ratio = row["median_ms"], row.get("ratio", {})
    cells = [f"{row['workload']} {row['what']}", str(row["threads"]), str(row["tokens"]),
             f"{medians['tamis']:.1f}", f"{row['tamis_tokens_per_s']:.0f}"]
    for order in ("sorted", "given"):
        cells += [f"{medians[order]:.1f}", f"{ratio[order]:.2f}"] if order in ratio else ["-", "-"]
    cells.append(f"{row['max_score_difference']:.1e}" if ratio else "-")
    print("| " + " | ".join(cells) + " |", flush=True)


def machine() -> dict:
    """What a reader needs to place the numbers."""
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo")
                if line.startswith("model name")), platform.processor())
    flags = next((line.split(":")[1].split() for line in open("/proc/cpuinfo")
                  if line.startswith(("flags", "Features"))), [])
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8",
              "asimd", "sve")
    memory = next(int(line.split()[1]) for line in open("/proc/meminfo") if "MemTotal" in line)
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(memory / 2**20, 1),
            "flags": [flag for flag in wanted if flag in flags], "system": platform.platform()}


def output_of(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def commit() -> str:
    changed = output_of("git", "status", "--porcelain", "--untracked-files=no")
    head = output_of("git", "rev-parse", "--short=12", "HEAD")
    return head + (" with changes" if changed else "")


def warm_page_cache(model: Path) -> None:
    with open(model / "model.safetensors", "rb") as file:
        while file.read(1 << 24):
            pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--tamis", type=Path, default=ROOT / "build" / "release" / "tamis")
    parser.add_argument("--model", type=Path,
                        default=ROOT / ".cache" / "models" / "tamis-reranker-small")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--workloads", default="W1,W2,W3,W4")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=16, help="of transformers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write everything here too")
    args = parser.parse_args()

    model = LARGE if args.large else args.model
    if args.large:
        subprocess.run([sys.executable, str(BENCH / "make_large_model.py")], check=True)
    workloads = make_workloads(model, args.seed)
    names = args.workloads.split(",")
    if unknown := [name for name in names if name not in workloads]:
        parser.error(f"unknown workload {unknown[0]}; known: {', '.join(workloads)}")
    threads = [int(count) for count in args.threads.split(",")]
    warm_page_cache(model)

    busy = os.getloadavg()[0]  # before our own work raises it
    tamis = Tamis(args.tamis, model)
    torch = None
    if has_torch(args.python):
        Torch(args.python, model, args.batch_size, threads[0]).close()  # fills the page cache
        torch = Torch(args.python, model, args.batch_size, threads[0])
    facts = {"date": time.strftime("%Y-%m-%d %H:%M"),
             "machine": machine() | {"load_average": round(busy, 2)}, "commit": commit(),
             "tamis": output_of(str(args.tamis), "--version"), "model": model.name,
             "peer": torch.versions if torch else None, "batch_size": args.batch_size,
             "seed": args.seed}
    print(json.dumps(facts, indent=1))
    if facts["machine"]["load_average"] > 1:
        print("The machine is busy with something else: these times are no measurement.")
    if torch is None:
        print(f"{args.python} has no torch and transformers: Tamis alone (see --python)")
    print("\n| workload | threads | tokens | tamis ms | tok/s | transformers sorted ms | ratio "
          "| given order ms | ratio | max score difference |\n" + "|---" * 10 + "|")
    rows = []
    for name in names:
        for count in threads:
            rows.append(measure(workloads[name], count, tamis, torch, args.repetitions))
            print_row(rows[-1])

    cold = replace(workloads[names[0]], warm_up=0)
    start = statistics.median(tamis.run(cold, threads[-1])["start_ms"] for _ in range(3))
    summary = {"tamis_start_ms": start, "tamis_peak_rss_mb": tamis.peak_rss_mb}
    print(f"\nstart to first score: tamis {start:.0f} ms", end="")
    if torch:
        summary |= {"peer_start_ms": torch.start_ms, "peer_peak_rss_mb": torch.peak_rss_mb}
        print(f", transformers {torch.start_ms:.0f} ms", end="")
    print(f"\npeak memory: tamis {tamis.peak_rss_mb:.0f} MB", end="")
    print(f", transformers {torch.peak_rss_mb:.0f} MB" if torch else "")
    if torch:
        torch.close()
    if args.json:
        everything = {**facts, "rows": rows, "summary": summary}
        args.json.write_text(json.dumps(everything, indent=1) + "\n")


if __name__ == "__main__":
    main()

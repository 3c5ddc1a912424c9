#!/usr/bin/env python3
"""Times Tamis and its peers on the same pairs, in turns, and prints the ratios.

    python3 bench/compare.py [--peers LIST] [--large] [--workloads LIST] [--threads LIST]
                             [--repetitions N] [--tier NAME] [--json FILE]

    W1  one pair of 64 tokens            W3  32 pairs of 32 to 512 tokens, uniform
    W2  one pair of 512 tokens           W4  100 passages for one query, about 96 tokens each
    W5  one pair of 8,192 tokens             (normal, standard deviation 30)

The model is the default one (whose pairs have at most 512 tokens); --large takes one of
bge-reranker-v2-m3's exact shape with random weights (bench/make_large_model.py, 2.27 GB, made if it
is not there). Two groups are measured, one after the other, Tamis first in each:

    f32   tamis-f32   torch-f32 ort-f32 openvino-f32
    int8  tamis-int8  ort-int8 openvino-int8 openvino-int8w openvino-bf16 torch-bf16

Peers run in .cache/bench/venv, which is made from bench/peers/requirements.txt, on files that
bench/peers/export.py makes once; with --peers none Tamis is measured alone. How they run is told in
bench/peers/worker.py and export.py. torch-f32 is FlagEmbedding's path: batches of 16, padded, sorted
by length; torch-f32 (given) is the same in the order given. The others take one pair at a time,
which suits them best on a CPU: nothing is padded.

All sides get the same texts, made of words that are one token each, and must report the same number
of tokens. A side whose scores are not those of the model (f32: 1e-3; else: correlation 0.9 over the
pairs, and 0.5) stops the run. Times are tokenising and forward, without loading, of the pass after a
warm-up (W1 to W2; the others have none); medians over the repetitions, in which the sides take
turns. --tier avx2 or avx512_vnni caps every side that can be capped (not ONNX Runtime, which is left
out then, nor OpenVINO's int8 with avx2).
"""
from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"
CACHE = ROOT / ".cache" / "bench"
LARGE = CACHE / "bge-reranker-v2-m3-random-f32"
QUERY_TOKENS = 12
SPECIALS = 4  # <s> q </s></s> p </s>
GROUPS = {
    "f32": ["torch-f32", "ort-f32", "openvino-f32"],
    "int8": ["ort-int8", "openvino-int8", "openvino-int8w", "openvino-bf16", "torch-bf16"]}
# What caps a side's instruction set: options of tamis, and the environment of the peers.
TIERS = {
    "native": ([], {}),
    "avx512_vnni": (["--isa", "avx512_vnni"], {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI",
                                               "ATEN_CPU_CAPABILITY": "avx512"}),
    "avx2": (["--isa", "avx2"], {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2",
                                 "MKL_ENABLE_INSTRUCTIONS": "AVX2"})}


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

    @property
    def max_length(self) -> int:
        return max(512, *self.lengths)


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

    normal = [min(512, max(24, round(rng.gauss(96, 30)))) for _ in range(100)]
    uniform = [rng.randint(32, 512) for _ in range(32)]
    return {work.name: work for work in (
        of_lengths("W1", "1 pair of 64 tokens", [64], False, 2),
        of_lengths("W2", "1 pair of 512 tokens", [512], False, 1),
        of_lengths("W3", "32 pairs of 32-512", uniform, False, 0),
        of_lengths("W4", "1 query, 100 passages ~96", normal, True, 0),
        of_lengths("W5", "1 pair of 8192 tokens", [8192], False, 0))}


class Tamis:
    """The command line tool, a new process for each run."""

    def __init__(self, program: Path, model: Path, dtype: str, threads: int,
                 options: list[str]) -> None:
        self.name, self.order = f"tamis-{dtype}", "given"
        self.command = [str(program), "rerank", "--model", str(model), "--dtype", dtype,
                        "--threads", str(threads), *options]
        self.versions = {"tamis": output_of(str(program), "--version")}
        self.load_ms = 0.0

    def run(self, work: Workload) -> dict:
        with tempfile.TemporaryDirectory() as folder:
            requests, results = Path(folder) / "in.jsonl", Path(folder) / "out.jsonl"
            requests.write_text("".join(json.dumps({"query": query, "passages": passages}) + "\n"
                                        for query, passages in work.requests))
            command = [*self.command, "--input", str(requests), "--format", "jsonl", "--output",
                       str(results), "--quiet", "--max-length", str(work.max_length), "--timings",
                       "--repeat", str(work.warm_up + 1)]
            with open(Path(folder) / "err", "w+") as errors:
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                           stdout=subprocess.DEVNULL, stderr=errors)
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                errors.seek(0)
                said = errors.read()
            if process.returncode != 0:
                sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{said}")
            timings = json.loads(next(line for line in reversed(said.splitlines())
                                      if line.startswith("{")))
            scores, tokens = self.read_results(results)
        self.load_ms = timings["load_ms"]
        return {"total_ms": timings["total_ms_all"][-1], "cpu_ms": timings["cpu_ms_all"][-1],
                "start_ms": timings["first_result_ms"], "scores": scores, "tokens": sum(tokens),
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

    def close(self) -> None:
        pass


class Peer:
    """bench/peers/worker.py in a process that stays. None of it is imported here."""

    def __init__(self, name: str, python: Path, model: Path, exports: Path, threads: int,
                 environment: dict[str, str]) -> None:
        self.name = name
        started = time.perf_counter()
        self.process = subprocess.Popen([str(python), str(BENCH / "peers" / "worker.py")], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL,
                                        env={**os.environ, **environment})
        self.versions = self.ask({"peer": name, "model": str(model), "exports": str(exports),
                                  "threads": threads})["versions"]
        self.load_ms = (time.perf_counter() - started) * 1e3

    def ask(self, request: dict) -> dict:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"the process of {self.name} ended; bench/peers/worker.py tells more by hand")
        return json.loads(answer)

    def run(self, work: Workload, order: str = "sorted") -> dict:
        request = {"pairs": work.pairs, "max_length": work.max_length, "order": order,
                   "batch_size": 16 if self.name.startswith("torch") else 1}
        for _ in range(work.warm_up + 1):
            answer = self.ask(request)
        return answer

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def correlation(a: list[float], b: list[float]) -> float:
    if len(a) < 3:
        return 1.0
    mean_a, mean_b = statistics.fmean(a), statistics.fmean(b)
    covariance = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b))
    return covariance / math.sqrt(sum((x - mean_a) ** 2 for x in a) *
                                  sum((y - mean_b) ** 2 for y in b))


def check_scores(name: str, work: Workload, got: dict, want: list[float]) -> float:
    """The largest difference to the f32 scores of Tamis; stops if the side computes something else."""
    if got["tokens"] != sum(work.lengths):
        sys.exit(f"{work.name}: {name} counts {got['tokens']} tokens, wanted {sum(work.lengths)}")
    difference = max(abs(a - b) for a, b in zip(got["scores"], want))
    exact = name.endswith("f32")
    if not difference <= (1e-3 if exact else 0.5):
        sys.exit(f"{work.name}: the scores of {name} differ from f32 by {difference}")
    if not exact and correlation(got["scores"], want) < 0.9:
        sys.exit(f"{work.name}: the scores of {name} have a correlation of "
                 f"{correlation(got['scores'], want):.3f} with those of f32, expected 0.9")
    return difference


def measure(work: Workload, sides: list, want: list[float], repetitions: int) -> list[dict]:
    """A row for each side, in turns."""
    turns = []
    for side in sides:
        turns.append((side.name, side.run))
        if side.name == "torch-f32" and len(work.lengths) > 1:
            turns.append((f"{side.name} (given)", lambda w, s=side: s.run(w, "given")))
    rows: dict[str, dict] = {}
    for _ in range(repetitions):
        for name, run in turns:
            got = run(work)
            row = rows.setdefault(name, {"side": name, "total_ms": [], "cpu_ms": [],
                                         "max_score_difference": 0.0, "peak_rss_mb": 0.0})
            row["total_ms"].append(got["total_ms"])
            row["cpu_ms"].append(got["cpu_ms"])
            row["max_score_difference"] = max(row["max_score_difference"], check_scores(
                name.split()[0], work, got, want))
            row["peak_rss_mb"] = max(row["peak_rss_mb"], got["peak_rss_mb"])
    ours = statistics.median(rows[sides[0].name]["total_ms"])
    for row in rows.values():
        row["median_ms"] = statistics.median(row["total_ms"])
        row["ratio"] = row["median_ms"] / ours
        row["tokens_per_s"] = sum(work.lengths) / row["median_ms"] * 1e3
    return list(rows.values())


def print_row(row: dict) -> None:
    spread = f"{min(row['total_ms']):.0f}-{max(row['total_ms']):.0f}"
    print(f"| {row['workload']} | {row['threads']} | {row['side']} | {row['median_ms']:.1f} | "
          f"{spread} | {row['ratio']:.2f} | {statistics.median(row['cpu_ms']):.0f} | "
          f"{row['tokens_per_s']:.0f} | {row['peak_rss_mb']:.0f} | "
          f"{row['max_score_difference']:.1e} |", flush=True)


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


def make_peers(model: Path, exports: Path) -> Path:
    """The venv of the peers and their files; minutes the first time. Returns its python."""
    python = CACHE / "venv" / "bin" / "python"
    requirements = BENCH / "peers" / "requirements.txt"
    if subprocess.run([python, "-c", "import torch, onnxruntime, openvino, nncf"], check=False,
                      stderr=subprocess.DEVNULL).returncode != 0 if python.exists() else True:
        print("making .cache/bench/venv", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", CACHE / "venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps",
                        "--only-binary=:all:", "-r", requirements], check=True)
    subprocess.run([python, BENCH / "peers" / "export.py", model, exports], check=True,
                   stdout=subprocess.DEVNULL)
    return python


def start_times(tamis: Path, model: Path, threads: int, work: Workload) -> list[dict]:
    """From the start of the process to the first score, files in the page cache: without and with
    a packed cache; and the most memory that it took."""
    out = []
    short = Workload("start", "one pair", work.requests, work.lengths)
    with tempfile.TemporaryDirectory() as cache:
        for dtype in ("f32", "f16", "int8"):
            for name, options in (("plain", []), ("packed cache", ["--cache", cache])):
                side = Tamis(tamis, model, dtype, threads, options)
                if options:
                    side.run(short)
                runs = [side.run(short) for _ in range(3)]
                out.append({"side": side.name, "how": name,
                            "start_ms": statistics.median(run["start_ms"] for run in runs),
                            "peak_rss_mb": max(run["peak_rss_mb"] for run in runs)})
                print(f"| {side.name} | {name} | {out[-1]['start_ms']:.0f} | "
                      f"{out[-1]['peak_rss_mb']:.0f} |", flush=True)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tamis", type=Path, default=ROOT / "build" / "release" / "tamis")
    parser.add_argument("--model", type=Path,
                        default=ROOT / ".cache" / "models" / "tamis-reranker-small")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--peers", default="all", help="of the groups above; all, or none")
    parser.add_argument("--groups", default="f32,int8")
    parser.add_argument("--workloads", default="W1,W2,W3,W4")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--tier", choices=list(TIERS), default="native")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="append the rows here, one a line")
    args = parser.parse_args()

    model = LARGE if args.large else args.model
    if args.large:
        subprocess.run([sys.executable, str(BENCH / "make_large_model.py")], check=True)
    workloads = make_workloads(model, args.seed)
    names = args.workloads.split(",")
    if unknown := [name for name in names if name not in workloads]:
        parser.error(f"unknown workload {unknown[0]}; known: {', '.join(workloads)}")
    options, environment = TIERS[args.tier]
    known = [peer for group in GROUPS.values() for peer in group]
    wanted = {"all": known, "none": []}.get(args.peers, args.peers.split(","))
    if unknown := [peer for peer in wanted if peer not in known]:
        parser.error(f"unknown peer {unknown[0]}; known: {', '.join(known)}")
    if args.tier != "native":
        wanted = [peer for peer in wanted if not peer.startswith("ort")]
    if args.tier == "avx2":
        # OpenVINO 2026.4's int8 models end the process when oneDNN is capped to AVX2 (Zen 4).
        wanted = [peer for peer in wanted if not peer.startswith("openvino-int8")]
    exports = CACHE / "peers" / ("large" if args.large else "small")
    busy = os.getloadavg()[0]  # before our own work raises it
    python = make_peers(model, exports) if wanted else None
    warm_page_cache(model)
    facts = {"date": time.strftime("%Y-%m-%d %H:%M"), "machine": machine(), "commit": commit(),
             "tier": args.tier, "model": model.name, "seed": args.seed}
    print(json.dumps(facts | {"load_average": round(busy, 2)}, indent=1))
    if busy > 1:
        print("The machine is busy with something else: these times are no measurement.")
    print("\n| workload | threads | side | median ms | spread | beside tamis | CPU ms | tokens/s | "
          "peak MB | max score difference |\n" + "|---" * 10 + "|")

    def record(row: dict) -> None:
        if args.json:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            with open(args.json, "a") as file:
                file.write(json.dumps(facts | row) + "\n")

    want: dict[str, list[float]] = {}  # scores in f32
    loads = []
    for threads in map(int, args.threads.split(",")):
        for group in args.groups.split(","):
            sides = [Tamis(args.tamis, model, group, threads, options)]
            sides += [Peer(name, python, model, exports, threads, environment)
                      for name in GROUPS[group] if name in wanted]
            for name in names:
                if name not in want:
                    want[name] = Tamis(args.tamis, model, "f32", threads, []).run(
                        workloads[name])["scores"]
                for row in measure(workloads[name], sides, want[name], args.repetitions):
                    row |= {"workload": name, "threads": threads, "group": group}
                    print_row(row)
                    record(row)
            for side in sides:
                loads.append({"side": side.name, "threads": threads, "load_ms": side.load_ms,
                              "versions": side.versions})
                record(loads[-1])
                side.close()
    print("\n| side | threads | ready after, ms | versions |\n|---|---|---|---|")
    for row in loads:
        print(f"| {row['side']} | {row['threads']} | {row['load_ms']:.0f} | "
              f"{', '.join(f'{k} {v}' for k, v in row['versions'].items())} |")
    print("\n| side | start | to the first score, ms | peak MB |\n|---|---|---|---|")
    for row in start_times(args.tamis, model, os.cpu_count() or 1, workloads["W1"]):
        record(row)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""How `tamis serve` behaves under load, beside other servers and beside the library itself.

    python bench/serving.py load      50 passages, 16 clients: passages a second of each server, in turns;
                                      then latencies at 70 % of ours
    python bench/serving.py overhead  HTTP and queue over the library: at full load, and of one request
    python bench/serving.py connections   1,000 idle connections and 64 that work
    python bench/serving.py overload  5 times what it can do: what is answered, and how soon the rest is told
    python bench/serving.py beside    one pair beside 5,000 passages
    python bench/serving.py soak      memory and latency over --seconds, as JSON lines and a plot

Other servers are started by --peer NAME=COMMAND, where {port} is replaced, and asked at --peer-path
NAME=PATH. Texts are this project's own pages, cut to pieces of 5 to 120 words. --json F appends the figures
to F, one line a run. The client is this process: it shares the cores with the server, on every side alike.
"""
from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import re
import shlex
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


# ---- texts and requests ---------------------------------------------------------------------------

def words() -> list[str]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return " ".join(re.sub(r"[|`*#-]+", " ", page.read_text()) for page in pages).split()


class Texts:
    def __init__(self, seed=1):
        self.words = words()
        self.random = random.Random(seed)

    def text(self, length: int) -> str:
        at = self.random.randrange(len(self.words) - length)
        return " ".join(self.words[at:at + length])

    def passage(self) -> str:
        # Most are short, some are long, as passages are: log-uniform from 5 to 120 words, mean 36.
        return self.text(round(math.exp(self.random.uniform(math.log(5), math.log(120)))))

    def request(self, passages: int) -> dict:
        return {"query": self.text(8), "documents": [self.passage() for _ in range(passages)]}


# ---- a server ---------------------------------------------------------------------------------------

def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, name: str, command: str, path: str, log: Path):
        self.name, self.path, self.port = name, path, free_port()
        self.command = shlex.split(command.replace("{port}", str(self.port)))
        self.log = open(log, "w")
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log,
                                        stdin=subprocess.DEVNULL)

    async def ready(self, patience=600.0):
        until = time.monotonic() + patience
        while time.monotonic() < until:
            if self.process.poll() is not None:
                sys.exit(f"{self.name} ended with {self.process.returncode}: see {self.log.name}")
            try:
                status, _ = await Client(self).post({"query": "a", "documents": ["b"]})
                if status == 200:
                    return
            except OSError:
                pass
            await asyncio.sleep(0.2)
        sys.exit(f"{self.name} was not ready in {patience} s: see {self.log.name}")

    def memory(self) -> int:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) * 1024

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Client:
    """One keep-alive connection."""

    def __init__(self, server: Server):
        self.server = server
        self.reader = self.writer = None

    async def open(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.server.port,
                                                                 limit=1 << 24)

    async def post(self, body, extra="") -> tuple[int, bytes]:
        if self.writer is None:
            await self.open()
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.writer.write((f"POST {self.server.path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                           f"{extra}Content-Length: {len(data)}\r\n\r\n").encode() + data)
        return await self.answer()

    async def get(self, path: str) -> tuple[int, bytes]:
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return await self.answer()

    async def answer(self) -> tuple[int, bytes]:
        header = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        answer = await self.reader.readexactly(int(re.search(r"content-length: *(\d+)", header)[1]))
        if "connection: close" in header:
            self.close()
        return int(header.split()[1]), answer

    def close(self):
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


def percentile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(q * len(ordered)) - 1)]


def summary(seconds: list[float]) -> dict:
    return {"n": len(seconds), **{f"p{round(100 * q)}_ms": round(1e3 * percentile(seconds, q), 2)
                                  for q in (0.5, 0.9, 0.99)}}


# ---- loads ------------------------------------------------------------------------------------------

async def closed_loop(server: Server, bodies: list[bytes], clients: int, seconds: float):
    """Each client sends its next request when it has its answer. Returns (requests, seconds, latencies)
    of what began and ended within the time."""
    latencies: list[float] = []
    start = time.perf_counter()
    numbers = iter(range(10**9))

    async def client():
        connection = Client(server)
        while time.perf_counter() - start < seconds:
            sent = time.perf_counter()
            status, answer = await connection.post(bodies[next(numbers) % len(bodies)])
            if status == 429:  # as a client should
                await asyncio.sleep(0.1)
                continue
            if status != 200:
                raise RuntimeError(f"{server.name}: {status}: {answer[:300]!r}")
            latencies.append(time.perf_counter() - sent)
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return len(latencies), time.perf_counter() - start, latencies


async def open_loop(server: Server, bodies: list[bytes], rate: float, seconds: float, arrivals: str):
    """Requests begin at their times, whatever becomes of those before. `arrivals`: even or poisson.
    Returns [(status, seconds)]."""
    results: list[tuple[int, float]] = []
    generator = random.Random(2)
    idle: list[Client] = []

    async def one(body):
        connection = idle.pop() if idle else Client(server)
        sent = time.perf_counter()
        try:
            status, _ = await connection.post(body)
            idle.append(connection)
        except (OSError, asyncio.IncompleteReadError):
            status = 0
            connection.close()
        results.append((status, time.perf_counter() - sent))

    tasks = []
    at = start = time.perf_counter()
    while at - start < seconds:
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        tasks.append(asyncio.create_task(one(bodies[len(tasks) % len(bodies)])))
        at += 1 / rate if arrivals == "even" else generator.expovariate(rate)
    await asyncio.gather(*tasks)
    for connection in idle:
        connection.close()
    return results


def bodies_of(requests: int, passages: int, seed=1) -> list[bytes]:
    texts = Texts(seed)
    return [json.dumps(texts.request(passages)).encode() for _ in range(requests)]


# ---- the figures ------------------------------------------------------------------------------------

async def load(args, servers: list[Server]) -> dict:
    bodies = bodies_of(64, 50)
    rates = {server.name: [] for server in servers}
    latency = {}
    for server in servers:
        await closed_loop(server, bodies, args.clients, min(5.0, args.seconds))  # warm
    for _ in range(args.rounds):
        for server in servers:
            n, took, seconds = await closed_loop(server, bodies, args.clients, args.seconds)
            rates[server.name].append(50 * n / took)
            latency[server.name] = summary(seconds)
            print(f"{server.name}: {50 * n / took:.1f} passages/s, {latency[server.name]}", flush=True)
    out = {"passages_per_s": {name: [round(r, 1) for r in values] for name, values in rates.items()},
           "full_load": latency}
    ours = statistics.median(rates["tamis"])
    out["ratios"] = {name: round(ours / statistics.median(values), 2)
                     for name, values in rates.items() if name != "tamis"}
    for arrivals in ("even", "poisson"):
        results = await open_loop(servers[0], bodies, 0.7 * ours / 50, 2 * args.seconds, arrivals)
        assert all(status == 200 for status, _ in results), results
        s = summary([seconds for _, seconds in results])
        out[f"at_70_percent_{arrivals}"] = {**s, "p99_over_p50": round(s["p99_ms"] / s["p50_ms"], 2)}
        print(f"70 % load, {arrivals}: {out[f'at_70_percent_{arrivals}']}", flush=True)
    return out


def library(args):
    sys.path.insert(0, str(ROOT / "build" / "release" / "python"))
    import tamis
    return tamis.Reranker(str(args.model), dtype=args.dtype, threads=args.threads)


async def overhead(args, servers: list[Server]) -> dict:
    server = servers[0]
    bodies = bodies_of(64, 50)
    requests = [json.loads(body) for body in bodies]
    reranker = library(args)

    def direct(seconds):
        n, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            # As many passages in one call as 16 clients have waiting.
            some = [requests[(n + i) % len(requests)] for i in range(16)]
            reranker.score([(r["query"], d) for r in some for d in r["documents"]])
            n += 16
        return 50 * n / (time.perf_counter() - start)

    direct(2), await closed_loop(server, bodies, 16, 2)
    ratios = []
    for _ in range(args.rounds):
        through, took, _ = await closed_loop(server, bodies, 16, args.seconds)
        ratios.append((50 * through / took) / direct(args.seconds))
        print(f"HTTP / library at full load: {ratios[-1]:.3f}", flush=True)

    small = {"query": "what is a tamis", "documents": ["a drum sieve"]}
    pair = [(small["query"], small["documents"][0])]
    body, connection = json.dumps(small).encode(), Client(server)
    http, local = [], []
    for _ in range(1000):
        start = time.perf_counter()
        await connection.post(body)
        middle = time.perf_counter()
        reranker.score(pair)
        local.append(time.perf_counter() - middle)
        http.append(middle - start)
    out = {"full_load_http_over_library": [round(r, 3) for r in ratios],
           "idle_http": summary(http), "idle_library": summary(local)}
    out["idle_overhead_ms"] = round(out["idle_http"]["p50_ms"] - out["idle_library"]["p50_ms"], 3)
    return out


async def connections(args, servers: list[Server]) -> dict:
    server = servers[0]
    bodies = bodies_of(64, 2)
    await closed_loop(server, bodies, 64, 5)
    before = server.memory()
    idle = [Client(server) for _ in range(1000)]
    for client in idle:
        await client.open()
    opened = server.memory()
    n, took, latencies = await closed_loop(server, bodies, 64, args.seconds)
    middle = server.memory()
    more, _, _ = await closed_loop(server, bodies, 64, args.seconds)
    after = server.memory()
    for client in idle:  # each of them still works; a thousand inferences would outlast --idle-ms
        status, _ = await client.get("/health")
        assert status == 200
        client.close()
    mb = lambda b: round(b / 1e6, 1)
    return {"answered": n + more, "errors": 0, "latency": summary(latencies),
            "resident_mb": {"64 active": mb(before), "1,000 idle opened": mb(opened),
                            "half-way": mb(middle), "at the end": mb(after)}}


async def overload(args, servers: list[Server]) -> dict:
    server = servers[0]
    bodies = bodies_of(64, 50)
    n, took, _ = await closed_loop(server, bodies, 16, 20)
    capacity = n / took
    start = time.perf_counter()
    results = await open_loop(server, bodies, 5 * capacity, args.seconds, "even")
    until_last = time.perf_counter() - start  # what was let in is answered after the load has ended
    good = [s for status, s in results if status == 200]
    refused = [s for status, s in results if status in (429, 503)]
    rest = [status for status, _ in results if status not in (200, 429, 503)]
    n, took, _ = await closed_loop(server, bodies, 16, 20)
    return {"capacity_per_s": round(capacity, 2), "offered_per_s": round(len(results) / args.seconds, 2),
            "goodput_of_capacity": round(len(good) / until_last / capacity, 3),
            "seconds_until_last_answer": round(until_last, 1), "good": summary(good),
            "refused": summary(refused) | {"max_ms": round(1e3 * max(refused), 1)}, "other": rest,
            "capacity_after": round(n / took / capacity, 3)}


async def beside(args, servers: list[Server]) -> dict:
    server = servers[0]
    small = bodies_of(64, 1, seed=3)
    large = bodies_of(1, 5000)[0]
    out = {}
    for name in ("alone", "beside"):
        task = asyncio.create_task(Client(server).post(large)) if name == "beside" else None
        if task:
            await asyncio.sleep(1.0)
        seconds, connection = [], Client(server)
        while (task and not task.done()) or (not task and len(seconds) < 500):
            start = time.perf_counter()
            status, _ = await connection.post(small[len(seconds) % len(small)])
            assert status == 200
            seconds.append(time.perf_counter() - start)
            await asyncio.sleep(0.02)
        if task:
            assert task.result()[0] == 200
        out[name] = summary(seconds)
    out["p99_ratio"] = round(out["beside"]["p99_ms"] / out["alone"]["p99_ms"], 2)
    return out


async def soak(args, servers: list[Server]) -> dict:
    """Requests of every kind of size at 40 % of capacity, clients that leave, and bad requests."""
    server = servers[0]
    texts = Texts(5)
    n, took, _ = await closed_loop(server, bodies_of(16, 10), 8, 5)
    rate = 0.4 * n / took
    window: list[float] = []
    samples, counts = [], {"answered": 0, "left": 0, "bad": 0}

    async def one(body, kind):
        connection = Client(server)
        start = time.perf_counter()
        if kind == "leaves":
            await connection.open()
            connection.writer.write(b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n{")
            await asyncio.sleep(0.05)
            counts["left"] += 1
        else:
            status, answer = await connection.post(body)
            assert status == (400 if kind == "bad" else 200), (kind, status, answer[:200])
            counts["bad" if kind == "bad" else "answered"] += 1
            if kind != "bad":
                window.append(time.perf_counter() - start)
        connection.close()

    start, generator, tasks = time.perf_counter(), random.Random(7), set()
    next_sample, at = start + 5, start
    while (now := time.perf_counter()) - start < args.seconds:
        at += generator.expovariate(rate)
        await asyncio.sleep(max(0.0, at - now))
        kind = generator.choices(["good", "bad", "leaves"], [90, 5, 5])[0]
        body = b'{"query": 5}' if kind == "bad" else json.dumps(
            texts.request(generator.choice([1, 2, 5, 10, 20]))).encode()
        task = asyncio.create_task(one(body, kind))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        for done in [t for t in tasks if t.done()]:
            done.result()
        if time.perf_counter() >= next_sample and window:
            samples.append({"t": round(time.perf_counter() - start, 1), "mb": round(server.memory() / 1e6, 2),
                            "p50": summary(window)["p50_ms"], "p99": summary(window)["p99_ms"]})
            window.clear()
            next_sample += 5
    await asyncio.gather(*tasks)
    if args.plot:
        Path(args.plot).write_text(plot(samples))
    settled = [s for s in samples if s["t"] > args.seconds / 10]
    first, last = settled[:len(settled) // 5], settled[-(len(settled) // 5):]
    mean = lambda rows, key: round(statistics.mean(row[key] for row in rows), 2)
    return {"seconds": args.seconds, **counts,
            "mb_first_fifth": mean(first, "mb"), "mb_last_fifth": mean(last, "mb"),
            "p50_first_fifth": mean(first, "p50"), "p50_last_fifth": mean(last, "p50"),
            "p99_first_fifth": mean(first, "p99"), "p99_last_fifth": mean(last, "p99")}


def plot(samples: list[dict]) -> str:
    """Two panels over the minutes: resident memory, and p50 and p99 of every 5 s."""
    width, height, left = 820, 170, 70
    until = samples[-1]["t"]

    def panel(top, title, keys):
        most = 1.1 * max(s[k] for s in samples for k in keys)
        x = lambda t: left + (width - left - 20) * t / until
        y = lambda v: top + height * (1 - v / most)
        parts = [f'<text x="{left}" y="{top - 8}" font-weight="bold">{title}</text>',
                 f'<path d="M{left},{top}V{top + height}H{width - 20}" fill="none" stroke="#888"/>']
        for value in (0, most / 2, most):
            parts.append(f'<text x="{left - 6}" y="{y(value) + 4:.0f}" text-anchor="end">{value:.0f}</text>')
        for minute in range(0, int(until / 60) + 1, 5):
            parts.append(f'<text x="{x(60 * minute):.0f}" y="{top + height + 16}" '
                         f'text-anchor="middle">{minute} min</text>')
        for key, colour in zip(keys, ("#2266cc", "#cc5522")):
            points = " ".join(f'{x(s["t"]):.1f},{y(s[key]):.1f}' for s in samples)
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
        return "".join(parts)

    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 460" font-family="sans-serif" '
            f'font-size="12"><rect width="100%" height="100%" fill="white"/>'
            + panel(30, "resident memory, MB", ["mb"])
            + panel(260, "latency of 5 s, ms: p50 (blue), p99 (red)", ["p50", "p99"]) + "</svg>\n")


# ---- the program ------------------------------------------------------------------------------------

FIGURES = {f.__name__: f for f in (load, overhead, connections, overload, beside, soak)}
SECONDS = {"load": 20, "overhead": 20, "connections": 20, "overload": 60, "beside": 0, "soak": 1800}


def machine() -> str:
    return re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[1]


async def run(args):
    names = dict(item.split("=", 1) for item in args.peer)
    paths = dict(item.split("=", 1) for item in args.peer_path)
    ours = (f"{args.tamis} serve --port {{port}} --model {args.model} --dtype {args.dtype} --log-level warning "
            + (f"--threads {args.threads} " if args.threads else "") + args.serve)
    folder = Path(os.environ.get("TMPDIR", "/tmp"))
    servers = [Server("tamis", ours, "/v1/rerank", folder / "serving-tamis.log")]
    servers += [Server(name, command, paths.get(name, "/rerank"), folder / f"serving-{name}.log")
                for name, command in names.items()]
    try:
        for server in servers:
            await server.ready()
        figures = await FIGURES[args.figure](args, servers)
    finally:
        for server in servers:
            server.stop()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True,
                            text=True).stdout.strip()
    line = {"bench": f"serving-{args.figure}", "date": time.strftime("%Y-%m-%d"), "commit": commit,
            "machine": machine(), "cores": len(os.sched_getaffinity(0)), "model": Path(args.model).name,
            "dtype": args.dtype, "clients": args.clients, **figures}
    print(json.dumps(line, indent=1))
    if args.json:
        with open(args.json, "a") as out:
            out.write(json.dumps(line) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", choices=FIGURES)
    parser.add_argument("--tamis", default=ROOT / "build" / "release" / "tamis")
    parser.add_argument("--model", default=ROOT / ".cache" / "models" / "tamis-reranker-small")
    parser.add_argument("--dtype", default="f32")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--serve", default="", help="more arguments for tamis serve")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--peer-path", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--clients", type=int, default=16, help="of load (default: 16)")
    parser.add_argument("--seconds", type=float, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plot", metavar="F.svg")
    parser.add_argument("--json", metavar="F.jsonl")
    args = parser.parse_args()
    if args.seconds is None:
        args.seconds = SECONDS[args.figure]
    asyncio.run(run(args))


if __name__ == "__main__":
    main()

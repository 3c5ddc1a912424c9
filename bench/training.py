#!/usr/bin/env python3
"""Steps of training beside transformers.Trainer, in turns: `./run bench training --python PYTHON`.

PYTHON is one that has torch, transformers and accelerate. Both sides train all parameters of the same
model on the same groups (texts are this project's pages, cut to pieces of mixed lengths), in f32, with the
dropout of the model's config, AdamW, clipping and FlagEmbedding's rule of lengths; transformers pads each
batch to its longest pair, as FlagEmbedding's collator does. Steps are counted without the first two. Memory is
the most that the process had (VmHWM). --json F appends a line.

    --reference       the transformers side itself, run by PYTHON
    --memory          our peak by checkpointing, beside what the plan said
"""
from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def words() -> list[str]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return " ".join(re.sub(r"[|`*#-]+", " ", page.read_text()) for page in pages).split()


def write_data(path: Path, examples: int, group: int) -> None:
    rng, pool = random.Random(1), words()

    def text(low, high):
        n = round(math.exp(rng.uniform(math.log(low), math.log(high))))
        at = rng.randrange(len(pool) - n)
        return " ".join(pool[at:at + n])

    with open(path, "w") as out:
        for _ in range(examples):
            example = {"query": text(4, 12), "pos": [text(5, 120)], "neg": [text(5, 120) for _ in range(group - 1)]}
            out.write(json.dumps(example) + "\n")


# ---- transformers' side

def reference(args) -> None:
    import torch
    import transformers

    torch.set_num_threads(args.threads)
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=1).float()
    lines = [json.loads(line) for line in open(args.data)]

    def pairs(example):
        query = tokenizer(example["query"], add_special_tokens=False)["input_ids"][:args.query + args.passage // 4]
        for passage in example["pos"] + example["neg"]:
            ids = tokenizer(passage, add_special_tokens=False)["input_ids"][:args.passage + args.query // 2]
            ids = ids[:args.query + args.passage - 4 - len(query)]
            yield {"input_ids": [0, *query, 2, 2, *ids, 2]}

    def collate(batch):
        return dict(tokenizer.pad([pair for example in batch for pair in pairs(example)], return_tensors="pt"))

    class Trainer(transformers.Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, **_):
            inputs = {k: v for k, v in inputs.items() if k in ("input_ids", "attention_mask")}
            logits = model(**inputs).logits.view(-1, args.group)
            return torch.nn.functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))

    times = []

    class Clock(transformers.TrainerCallback):
        def on_step_end(self, *_, **__):
            times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as out:
        arguments = transformers.TrainingArguments(
            output_dir=out, per_device_train_batch_size=args.batch, max_steps=args.steps, learning_rate=1e-5,
            save_strategy="no", report_to=[], disable_tqdm=True, remove_unused_columns=False, use_cpu=True,
            logging_steps=10 ** 6, dataloader_drop_last=True)
        Trainer(model, arguments, train_dataset=lines, data_collator=collate, callbacks=[Clock()]).train()
    print(json.dumps({"seconds": times[-1] - times[1], "steps": len(times) - 2,
                      "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000}))


# ---- both

def ours(args, data: Path, checkpointing: str) -> dict:
    with tempfile.TemporaryDirectory() as out:
        command = [args.tamis, "train", "reranker", "-m", args.model, "--train_data", data, "--output_dir", f"{out}/m",
                   "--train_group_size", args.group, "--per_device_train_batch_size", args.batch, "--max_steps", args.steps,
                   "--learning_rate", 1e-5, "--query_max_len", args.query, "--passage_max_len", args.passage,
                   "--threads", args.threads, "--save_steps", 0, "--format", "jsonl", "--gradient_checkpointing",
                   checkpointing, *args.train]
        process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        text, notices = process.communicate()
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        if process.returncode != 0:
            sys.exit(notices)
    steps = [json.loads(line) for line in text.splitlines()][2:]
    planned = re.search(r"about (\d+) MB", notices)
    return {"seconds": sum(s["seconds"] for s in steps), "steps": len(steps), "tokens": sum(s["tokens"] for s in steps),
            "planned_mb": int(planned[1]), "peak_mb": usage.ru_maxrss / 1000}


def in_a_process_of_its_own(function, *given) -> dict:
    """RUSAGE_CHILDREN is the largest of all children there were: a fork sees its own child alone."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.close(read)
        os.write(write, json.dumps(function(*given)).encode())
        os._exit(0)
    os.close(write)
    with open(read) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    if not text:
        sys.exit("the run failed")
    return json.loads(text)


def theirs(args, data: Path) -> dict:
    command = [args.python, __file__, "--reference", "--data", data, "--model", args.model, "--threads", args.threads,
               "--group", args.group, "--batch", args.batch, "--steps", args.steps, "--query", args.query,
               "--passage", args.passage]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def measure(args) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.jsonl"
        write_data(data, args.batch * args.steps, args.group)
        if args.memory:
            rows = {}
            for policy in args.policy or ("none", "attention", "2", "1"):
                rows[policy] = in_a_process_of_its_own(ours, args, data, policy)
                print(policy, rows[policy], flush=True)
            return {"memory": rows}
        rounds = []
        for _ in range(args.rounds):
            rounds.append({"tamis": in_a_process_of_its_own(ours, args, data, "none"), "transformers": theirs(args, data)})
            print(rounds[-1], flush=True)
    speed = lambda name: [r[name]["steps"] / r[name]["seconds"] for r in rounds]
    peak = lambda name: statistics.median(r[name]["peak_mb"] for r in rounds)
    return {"steps_per_second": {n: round(statistics.median(speed(n)), 4) for n in ("tamis", "transformers")},
            "ratio": round(statistics.median(a / b for a, b in zip(speed("tamis"), speed("transformers"))), 3),
            "peak_mb": {n: round(peak(n)) for n in ("tamis", "transformers")},
            "peak_ratio": round(peak("tamis") / peak("transformers"), 3)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="python3")
    parser.add_argument("--tamis", default=ROOT / "build" / "release" / "tamis")
    parser.add_argument("--model", default=ROOT / ".cache" / "models" / "tamis-reranker-small")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--group", type=int, default=4)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--query", type=int, default=32)
    parser.add_argument("--passage", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--train", action="append", default=[], help="more arguments for tamis train")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--policy", action="append", default=[], help="of --memory (default: all four)")
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--data")
    parser.add_argument("--json", metavar="F.jsonl")
    args = parser.parse_args()
    if args.reference:
        return reference(args)
    figures = measure(args)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    machine = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[1]
    line = {"bench": "training", "date": time.strftime("%Y-%m-%d"), "commit": commit, "machine": machine,
            "threads": args.threads, "model": Path(args.model).name, "group": args.group, "batch": args.batch, "more": args.train,
            "lengths": [args.query, args.passage], "steps": args.steps, **figures}
    print(json.dumps(line, indent=1))
    if args.json:
        with open(args.json, "a") as out:
            out.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()

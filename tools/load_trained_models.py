#!/usr/bin/env python3
"""Trains the tiny models for a few steps and loads what was written with transformers and torch.

    PYTHON tools/load_trained_models.py       # a Python that has torch and transformers

Prints for each reranker the largest difference of two logits, ours and theirs; exit status 1 above 1e-5.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers

ROOT = Path(__file__).resolve().parents[1]
TAMIS = ROOT / "build/release/tamis"
FIXTURES = ROOT / "tests/fixtures"
PASSAGES = ["a sieve of wood", "the sky"]


def train(task, model, out):
    subprocess.run([TAMIS, "train", task, "-m", FIXTURES / "models" / model, "--train_data",
                    FIXTURES / "train/data.jsonl", "--output_dir", out, "--max_steps", "5", "--train_group_size", "3",
                    "--per_device_train_batch_size", "2", "--query_max_len", "12", "--passage_max_len", "30", "-q"],
                   check=True, stdout=subprocess.DEVNULL)


def difference(model):
    done = subprocess.run([TAMIS, "rerank", "-m", model, "--format", "json", "a tamis", *PASSAGES],
                          capture_output=True, text=True, check=True)
    ours = [r["logit"] for r in sorted(json.loads(done.stdout)["results"], key=lambda r: r["index"])]
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    reference = transformers.AutoModelForSequenceClassification.from_pretrained(model).eval()
    with torch.no_grad():
        pairs = tokenizer([["a tamis", p] for p in PASSAGES], return_tensors="pt", padding=True)
        theirs = reference(**pairs).logits.view(-1).tolist()
    return max(abs(a - b) for a, b in zip(ours, theirs))


def main():
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for model in ("xlmr-ce", "bert-ce", "xlmr-bi-cls-norm", "bert-bi-mean-norm"):
            out = Path(folder) / model
            train("reranker", model, out)
            worst = max(worst, difference(out))
            print(f"{model}: {difference(out):.1e}")
        out = Path(folder) / "m3"
        train("m3", "xlmr-m3", out)
        for head in ("sparse_linear", "colbert_linear"):
            for weights_only in (True, False):
                state = torch.load(out / f"{head}.pt", weights_only=weights_only)
            print(f"{head}.pt: {({name: tuple(value.shape) for name, value in state.items()})}")
    sys.exit(worst > 1e-5)


if __name__ == "__main__":
    main()

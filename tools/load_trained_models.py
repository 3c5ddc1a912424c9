#!/usr/bin/env python3
"""Trains the tiny models for a few steps and loads what was written elsewhere.

    PYTHON tools/load_trained_models.py

PYTHON is one that has torch and transformers; peft, sentence_transformers and FlagEmbedding are tried where it has
them, and named where it has not. Prints the largest difference of two logits or vectors, ours and theirs; exit
status 1 above 1e-5.
"""
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers

ROOT = Path(__file__).resolve().parents[1]
TAMIS = ROOT / "build/release/tamis"
FIXTURES = ROOT / "tests/fixtures"
PASSAGES = ["a sieve of wood", "the sky"]
PAIRS = [["a tamis", p] for p in PASSAGES]
RERANKERS = ("xlmr-ce", "bert-ce", "xlmr-bi-cls-norm", "bert-bi-mean-norm")
EMBEDDERS = ("xlmr-bi-cls-norm", "bert-bi-mean-norm")


def train(task, model, out, *more):
    subprocess.run([TAMIS, "train", task, "-m", FIXTURES / "models" / model, "--train_data",
                    FIXTURES / "train/data.jsonl", "--output_dir", out, "--max_steps", "5", "--train_group_size", "3",
                    "--per_device_train_batch_size", "2", "--query_max_len", "12", "--passage_max_len", "30",
                    "--learning_rate", "1e-3", "-q", *more], check=True, stdout=subprocess.DEVNULL)


def our_logits(model):
    done = subprocess.run([TAMIS, "rerank", "-m", model, "--format", "json", "a tamis", *PASSAGES],
                          capture_output=True, text=True, check=True)
    return [r["logit"] for r in sorted(json.loads(done.stdout)["results"], key=lambda r: r["index"])]


def our_vectors(model):
    done = subprocess.run([TAMIS, "embed", "-m", model, "--format", "jsonl", *PASSAGES],
                          capture_output=True, text=True, check=True)
    return [json.loads(line)["embedding"] for line in done.stdout.splitlines()]


def logits(model, tokenizer):
    with torch.no_grad():
        return model.eval()(**tokenizer(PAIRS, return_tensors="pt", padding=True)).logits.view(-1).tolist()


def by_transformers(out):
    return logits(transformers.AutoModelForSequenceClassification.from_pretrained(out),
                  transformers.AutoTokenizer.from_pretrained(out))


def by_peft(base, out):
    """The source with the adapter alone."""
    import peft
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
    return logits(peft.PeftModel.from_pretrained(model, out / "lora"),
                  transformers.AutoTokenizer.from_pretrained(out))


def by_cross_encoder(out):
    import sentence_transformers
    return sentence_transformers.CrossEncoder(str(out)).predict(PAIRS, activation_fn=torch.nn.Identity()).tolist()


def by_sentence_transformer(out):
    import sentence_transformers
    return sentence_transformers.SentenceTransformer(str(out)).encode(PASSAGES, normalize_embeddings=True)


def by_flag_reranker(out):
    import FlagEmbedding
    return FlagEmbedding.FlagReranker(str(out), use_fp16=False, devices="cpu").compute_score(PAIRS)


def by_flag_m3(out):
    import FlagEmbedding
    return FlagEmbedding.BGEM3FlagModel(str(out), use_fp16=False, devices="cpu").encode(PASSAGES)["dense_vecs"]


class Differences:
    worst = 0.0

    def add(self, name, package, ours, theirs):
        if importlib.util.find_spec(package) is None:
            print(f"{name}: {package} is not here")
            return
        difference = float(np.abs(np.asarray(ours) - np.asarray(theirs())).max())
        self.worst = max(self.worst, difference)
        print(f"{name}, {package}: {difference:.1e}")


def main():
    seen = Differences()
    with tempfile.TemporaryDirectory() as folder:
        for model in RERANKERS:
            out, lora = Path(folder) / model, Path(folder) / f"{model}-lora"
            train("reranker", model, out)
            train("reranker", model, lora, "--use_lora", "--lora_rank", "4")
            ours = our_logits(out)
            seen.add(model, "transformers", ours, lambda: by_transformers(out))
            seen.add(model, "sentence_transformers", ours, lambda: by_cross_encoder(out))
            seen.add(model, "FlagEmbedding", ours, lambda: by_flag_reranker(out))
            ours = our_logits(lora)
            seen.add(f"{model} LoRA", "transformers", ours, lambda: by_transformers(lora))
            seen.add(f"{model} LoRA", "peft", ours, lambda: by_peft(FIXTURES / "models" / model, lora))
        for model in EMBEDDERS:
            out = Path(folder) / f"{model}-embedder"
            train("embedder", model, out)
            seen.add(f"{model} embedder", "sentence_transformers", our_vectors(out),
                     lambda: by_sentence_transformer(out))
        out = Path(folder) / "m3"
        train("m3", "xlmr-m3", out)
        for head in ("sparse_linear", "colbert_linear"):
            for weights_only in (True, False):
                state = torch.load(out / f"{head}.pt", weights_only=weights_only)
            print(f"{head}.pt: {({name: tuple(value.shape) for name, value in state.items()})}")
        seen.add("m3", "FlagEmbedding", our_vectors(out), lambda: by_flag_m3(out))
    sys.exit(seen.worst > 1e-5)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""The transformers side of bench/compare.py: a process that answers one JSON line with another.

What FlagReranker does for a cross-encoder on the CPU: token ids of query and passage, cut on ids,
pairs sorted by length (or left in order), batches padded to their longest, forward in f32. Left
out, in its favour: the trial batch that FlagReranker runs first and throws away.
"""
from __future__ import annotations

import json
import resource
import sys
import time

STARTED = time.perf_counter()  # after the interpreter's own start; compare.py times from outside


def tokenize(tokenizer, pairs: list[list[str]], max_length: int) -> list[list[list[int]]]:
    """[ids, type ids] of each pair, cut as FlagReranker cuts."""
    queries = tokenizer([query for query, _ in pairs], add_special_tokens=False)["input_ids"]
    passages = tokenizer([passage for _, passage in pairs], add_special_tokens=False)["input_ids"]
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    xlmr = tokenizer.cls_token == "<s>"
    middle = [last, last] if xlmr else [last]
    out = []
    for query, passage in zip(queries, passages):
        head = [first, *query[:max_length * 3 // 4], *middle]
        tail = [*passage[:max(0, max_length - len(head) - 1)], last]
        out.append([head + tail, [0] * len(head) + [0 if xlmr else 1] * len(tail)])
    return out


class Worker:
    """One loaded model."""

    def __init__(self, request: dict) -> None:
        import tokenizers
        import torch
        import transformers
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
        self.torch = torch
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        torch.set_num_threads(request["threads"])
        self.tokenizer = AutoTokenizer.from_pretrained(request["model"])
        self.model = AutoModelForSequenceClassification.from_pretrained(
            request["model"], dtype=torch.float32).eval()
        self.versions = {"torch": torch.__version__, "transformers": transformers.__version__,
                         "tokenizers": tokenizers.__version__,
                         "attention": self.model.config._attn_implementation,
                         "torch_isa": torch.backends.cpu.get_cpu_capability()}
        # A short forward, so that "ready" means that a score could be had.
        self.run({"pairs": [["a", "b"]], "threads": request["threads"], "max_length": 512,
                  "batch_size": 1, "order": "given"})

    def batches(self, inputs: list, request: dict) -> list[list[int]]:
        order = list(range(len(inputs)))
        if request["order"] == "sorted":
            order.sort(key=lambda i: -len(inputs[i][0]))
        size = request["batch_size"]
        return [order[start:start + size] for start in range(0, len(order), size)]

    def run(self, request: dict) -> dict:
        torch = self.torch
        torch.set_num_threads(request["threads"])
        started = time.perf_counter()
        inputs = tokenize(self.tokenizer, request["pairs"], request["max_length"])
        tokenized = time.perf_counter()
        pad = self.tokenizer.pad_token_id
        scores = [0.0] * len(inputs)
        padded = 0
        for batch in self.batches(inputs, request):
            longest = max(len(inputs[i][0]) for i in batch)
            padded += longest * len(batch)
            arguments = {
                "input_ids": [inputs[i][0] + [pad] * (longest - len(inputs[i][0])) for i in batch],
                "attention_mask": [[1] * len(inputs[i][0]) + [0] * (longest - len(inputs[i][0]))
                                   for i in batch]}
            if self.model.config.type_vocab_size > 1:
                arguments["token_type_ids"] = [
                    inputs[i][1] + [0] * (longest - len(inputs[i][1])) for i in batch]
            with torch.no_grad():
                logits = self.model(**{k: torch.tensor(v) for k, v in arguments.items()}).logits
            for i, row in zip(batch, logits[:, 0].tolist()):
                scores[i] = row
        ended = time.perf_counter()
        return {"tokenize_ms": (tokenized - started) * 1e3,
                "inference_ms": (ended - tokenized) * 1e3, "total_ms": (ended - started) * 1e3,
                "tokens": sum(len(ids) for ids, _ in inputs), "padded_tokens": padded,
                "scores": scores,
                "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    answers = sys.stdout
    sys.stdout = sys.stderr  # whatever a library prints is no answer
    worker = None
    for line in sys.stdin:
        request = json.loads(line)
        if worker is None:
            worker = Worker(request)
            answer = {"load_ms": (time.perf_counter() - STARTED) * 1e3, "versions": worker.versions}
        else:
            answer = worker.run(request)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""A peer of bench/compare.py: a process that answers one JSON line with another.

    python bench/peers/worker.py

The first line says which peer ({"peer": "openvino-int8", "model": DIR, "exports": DIR, "threads":
N}), each one after it is a run ({"pairs", "max_length", "batch_size", "order"}). What all peers
share is here: ids of query and passage, cut on ids, in batches that are padded to their longest,
sorted by length or in the order given, as FlagReranker does for a cross-encoder. Left out, in its
favour: the trial batch that FlagReranker runs first and throws away.
"""
from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

STARTED = time.perf_counter()  # after the interpreter's own start; compare.py times from outside


class Torch:
    """transformers, in f32 or bf16."""

    def __init__(self, request: dict) -> None:
        import torch
        import transformers
        from transformers import AutoModelForSequenceClassification
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        torch.set_num_threads(request["threads"])
        self.torch = torch
        bf16 = request["peer"] == "torch-bf16"
        self.model = AutoModelForSequenceClassification.from_pretrained(
            request["model"], dtype=torch.bfloat16 if bf16 else torch.float32).eval()
        self.versions = {"torch": torch.__version__, "transformers": transformers.__version__,
                         "attention": self.model.config._attn_implementation,
                         "isa": torch.backends.cpu.get_cpu_capability()}

    def __call__(self, ids: list, mask: list) -> list[float]:
        torch = self.torch
        with torch.no_grad():
            logits = self.model(input_ids=torch.tensor(ids),
                                attention_mask=torch.tensor(mask)).logits
        return logits[:, 0].float().tolist()


class OnnxRuntime:
    """The CPU provider on a file of export.py."""

    def __init__(self, request: dict) -> None:
        import numpy
        import onnxruntime
        self.numpy = numpy
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = request["threads"]
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        file = Path(request["exports"]) / request["peer"] / "model.onnx"
        self.session = onnxruntime.InferenceSession(str(file), options,
                                                    providers=["CPUExecutionProvider"])
        self.names = [i.name for i in self.session.get_inputs()]
        self.versions = {"onnxruntime": onnxruntime.__version__}

    def __call__(self, ids: list, mask: list) -> list[float]:
        as_array = self.numpy.asarray
        inputs = {"input_ids": as_array(ids, "int64"), "attention_mask": as_array(mask, "int64")}
        logits = self.session.run(None, {k: v for k, v in inputs.items() if k in self.names})[0]
        return logits[:, 0].tolist()


class OpenVino:
    """The CPU plug-in, one stream. openvino-f32 runs in f32, which must be asked for where the
    machine has AMX; the others choose for themselves."""

    def __init__(self, request: dict) -> None:
        import numpy
        import openvino
        self.numpy = numpy
        core = openvino.Core()
        settings = {"INFERENCE_NUM_THREADS": request["threads"], "NUM_STREAMS": 1,
                    "PERFORMANCE_HINT": "LATENCY"}
        name = request["peer"]
        if name == "openvino-f32":
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        if name == "openvino-bf16":
            settings["INFERENCE_PRECISION_HINT"] = "bf16"
            name = "openvino-f32"
        file = Path(request["exports"]) / name / "model.xml"
        compiled = core.compile_model(str(file), "CPU", settings)
        self.request = compiled.create_infer_request()
        self.versions = {"openvino": openvino.__version__.split("-")[0],
                         "precision": str(compiled.get_property("INFERENCE_PRECISION_HINT"))}

    def __call__(self, ids: list, mask: list) -> list[float]:
        as_array = self.numpy.asarray
        out = self.request.infer({"input_ids": as_array(ids, "int64"),
                                  "attention_mask": as_array(mask, "int64")})
        return out[0][:, 0].tolist()


def open_peer(request: dict):
    kind = request["peer"].split("-")[0]
    return {"torch": Torch, "ort": OnnxRuntime, "openvino": OpenVino}[kind](request)


class Worker:
    def __init__(self, request: dict) -> None:
        from tokenizers import Tokenizer
        self.tokenizer = Tokenizer.from_file(str(Path(request["model"]) / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        config = json.loads((Path(request["model"]) / "config.json").read_text())
        self.first, self.last = config["bos_token_id"], config["eos_token_id"]
        self.pad = config["pad_token_id"]
        self.peer = open_peer(request)
        # A short forward, so that "ready" means that a score could be had.
        self.run({"pairs": [["a", "b"]], "max_length": 512, "batch_size": 1, "order": "given"})

    def tokenize(self, pairs: list, max_length: int) -> list[list[int]]:
        """Ids of each pair, <s> query </s></s> passage </s>, cut as FlagReranker cuts."""
        encode = lambda texts: [e.ids for e in  # noqa: E731
                                self.tokenizer.encode_batch(texts, add_special_tokens=False)]
        out = []
        for query, passage in zip(encode([q for q, _ in pairs]), encode([p for _, p in pairs])):
            head = [self.first, *query[:max_length * 3 // 4], self.last, self.last]
            out.append(head + [*passage[:max(0, max_length - len(head) - 1)], self.last])
        return out

    def run(self, request: dict) -> dict:
        started, cpu = time.perf_counter(), time.process_time()
        inputs = self.tokenize(request["pairs"], request["max_length"])
        tokenized = time.perf_counter()
        order = list(range(len(inputs)))
        if request["order"] == "sorted":
            order.sort(key=lambda i: -len(inputs[i]))
        size = request["batch_size"]
        scores, padded = [0.0] * len(inputs), 0
        for at in range(0, len(order), size):
            batch = order[at:at + size]
            longest = max(len(inputs[i]) for i in batch)
            padded += longest * len(batch)
            ids = [inputs[i] + [self.pad] * (longest - len(inputs[i])) for i in batch]
            mask = [[1] * len(inputs[i]) + [0] * (longest - len(inputs[i])) for i in batch]
            for i, score in zip(batch, self.peer(ids, mask)):
                scores[i] = score
        ended = time.perf_counter()
        return {"tokenize_ms": (tokenized - started) * 1e3,
                "inference_ms": (ended - tokenized) * 1e3, "total_ms": (ended - started) * 1e3,
                "cpu_ms": (time.process_time() - cpu) * 1e3,
                "tokens": sum(map(len, inputs)), "padded_tokens": padded, "scores": scores,
                "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    worker = None
    for line in sys.stdin:
        request = json.loads(line)
        if worker is None:
            worker = Worker(request)
            answer = {"load_ms": (time.perf_counter() - STARTED) * 1e3,
                      "versions": worker.peer.versions}
        else:
            answer = worker.run(request)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Golden values of SPLADE: log(1 + max(0, logit)) of a masked language model, the largest over the
tokens of a text.

    PYTHON tools/golden/make_splade_goldens.py

PYTHON needs torch, transformers, tokenizers and safetensors. Writes tests/golden/splade.json: for
the tiny masked language models and, where it is there, .cache/models/splade-tiny, the weights of
each text by token id (of a real vocabulary the thirty largest, and how many there are).
"""
from __future__ import annotations

import json

import torch
import transformers
from tokenizers import Tokenizer
from transformers import AutoModelForMaskedLM

import texts
from make_model_goldens import FIXTURES, ROOT, VERSIONS, Templates, model_arguments

SHORT = ["what is panda?", texts.ENGLISH, "the cat the cat", ""]
KEPT = 30


def splade(model: torch.nn.Module, item: object, bert: bool) -> torch.Tensor:
    with torch.no_grad():
        logits = model(**model_arguments(item, bert)).logits[0]
    return torch.log1p(torch.relu(logits)).max(dim=0).values


def main() -> None:
    torch.set_num_threads(2)
    transformers.utils.logging.disable_progress_bar()
    folders = [(FIXTURES / "models" / name, 60) for name in ("bert-bi-cls", "xlmr-bi-mlm")]
    folders.append((ROOT / ".cache" / "models" / "splade-tiny", 256))
    models = []
    for folder, max_length in folders:
        if not folder.exists():
            continue
        model = AutoModelForMaskedLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager").eval()
        templates = Templates(Tokenizer.from_file(str(folder / "tokenizer.json")))
        cases = []
        for text in SHORT:
            weights = splade(model, templates.single(text, max_length),
                             model.config.model_type == "bert")
            order = torch.argsort(weights, descending=True)[:KEPT].tolist()
            cases.append({"text": text, "max_length": max_length,
                          "positive": int((weights > 0).sum()),
                          "weights": {str(i): float(f"{weights[i]:.7g}")
                                      for i in order if weights[i] > 0}})
        models.append({"model": folder.name, "cases": cases})
    path = ROOT / "tests" / "golden" / "splade.json"
    lines = ",\n".join("  " + json.dumps(model, ensure_ascii=False) for model in models)
    head = json.dumps({"made_by": "tools/golden/make_splade_goldens.py", **VERSIONS})
    path.write_text(f'{head[:-1]},\n "models": [\n{lines}\n ]}}\n', encoding="utf-8")
    print(path.stat().st_size, "bytes;", [m["model"] for m in models])


if __name__ == "__main__":
    main()

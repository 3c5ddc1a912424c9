#!/usr/bin/env python3
"""Golden logits of the default model: models/tamis-reranker-small/golden.jsonl, written anew.

    PYTHON tools/golden/make_default_goldens.py [MODEL]

PYTHON needs torch, transformers, tokenizers and safetensors. The pairs stay those of the file; tokens
(FlagEmbedding's pair rule, 512 at most) and logits are computed on the CPU in f32, one pair at a time;
logit_bf16 likewise, with every linear's matrix rounded to bf16 first.
"""
from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification

from make_model_goldens import ROOT, Templates, model_arguments

GOLDEN = ROOT / "models" / "tamis-reranker-small" / "golden.jsonl"


def main() -> None:
    torch.set_num_threads(2)
    transformers.utils.logging.disable_progress_bar()
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".cache" / "models" / "tamis-reranker-small"
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    templates = Templates(Tokenizer.from_file(str(folder / "tokenizer.json")))
    rows = [json.loads(line) for line in GOLDEN.read_text().splitlines()]
    moved = 0.0
    items = [templates.pair(row["query"], row["passage"], 512) for row in rows]

    @torch.no_grad()
    def logits():
        return [model(**model_arguments(item, False)).logits[0, 0].item() for item in items]

    for row, item, logit in zip(rows, items, logits()):
        moved = max(moved, abs(logit - row["logit"]))
        row |= {"tokens": len(item.ids), "logit": logit}
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):  # word rows stay as they are stored
            module.weight.data = module.weight.data.bfloat16().float()
    for row, logit in zip(rows, logits()):
        row["logit_bf16"] = logit
    by_bf16 = max(abs(row["logit_bf16"] - row["logit"]) for row in rows)
    GOLDEN.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    print(f"{len(rows)} pairs, transformers {transformers.__version__}, torch {torch.__version__}; "
          f"from what was there a logit moved by {moved:.2g} at most; bf16 moves one by {by_bf16:.2g}")


if __name__ == "__main__":
    main()

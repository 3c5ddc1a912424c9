#!/usr/bin/env python3
"""Makes tests/golden/stsb.json: Spearman's correlation of multilingual-e5-small with the judgements of
STSb in each language, by transformers.

    PYTHON tools/golden/make_sts_goldens.py FOLDER

FOLDER holds stsb-LANGUAGE-test.csv (text, text, score). PYTHON needs torch, transformers, tokenizers,
scipy. Texts as they are, mean pooling, cosine, f32.
"""
from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import torch
import transformers
from scipy.stats import spearmanr
from transformers import AutoModel, AutoTokenizer

from make_model_goldens import ROOT, VERSIONS

MODEL = "multilingual-e5-small"


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(2)
    transformers.utils.logging.set_verbosity_error()
    path = ROOT / ".cache" / "models" / MODEL
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModel.from_pretrained(path, dtype=torch.float32).eval()

    def embed(texts: list[str]) -> torch.Tensor:
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        out = torch.zeros(len(texts), model.config.hidden_size)
        for start in range(0, len(order), 64):
            chosen = order[start:start + 64]
            batch = tokenizer([texts[i] for i in chosen], padding=True, truncation=True,
                              max_length=512, return_tensors="pt")
            with torch.no_grad():
                hidden = model(**batch).last_hidden_state
            mask = batch["attention_mask"][..., None]
            out[chosen] = (hidden * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(out, dim=-1)

    languages = {}
    for file in sorted(folder.glob("stsb-*-test.csv")):
        rows = list(csv.reader(file.open(encoding="utf-8", newline="")))
        a, b = embed([r[0] for r in rows]), embed([r[1] for r in rows])
        value = spearmanr((a * b).sum(1).numpy(), [float(r[2]) for r in rows]).statistic
        languages[file.stem.split("-")[1]] = {"pairs": len(rows), "spearman": round(float(value), 6)}
        print(file.name, languages[file.stem.split("-")[1]], flush=True)
    out = ROOT / "tests" / "golden" / "stsb.json"
    out.write_text(json.dumps({"made_by": "tools/golden/make_sts_goldens.py", **VERSIONS,
                               "model": MODEL, "languages": languages}, indent=1) + "\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Golden embeddings of the real embedders in .cache/models (`tools/get_models.py all`).

    PYTHON tools/golden/make_real_goldens.py

PYTHON needs torch, transformers, tokenizers and safetensors. Writes tests/golden/<model>.json:
ids and embeddings, computed on the CPU in eager f32 and rounded to 7 significant digits. Weights
stored as f16 are widened to f32 first. The reranker's golden values are in models/.
"""
from __future__ import annotations

import torch
import transformers
from tokenizers import Tokenizer
from transformers import AutoModel

import texts
from make_model_goldens import ROOT, VERSIONS, Templates, model_arguments, pool, write_golden

SHORT = ["what is panda?", "query: what does a sieve keep back?", "passage: " + texts.ENGLISH,
         texts.GERMAN, texts.RUSSIAN, texts.CHINESE, texts.JAPANESE, texts.ARABIC, texts.HINDI,
         texts.KOREAN, texts.THAI, ""]
LONG = " ".join([texts.ENGLISH, texts.GERMAN, texts.FRENCH, texts.SPANISH, texts.RUSSIAN] * 3)

# name: (texts, max_length, pooling, normalised)
MODELS = {
    "multilingual-e5-small": (SHORT + [LONG], 512, "mean", True),
    "all-MiniLM-L6-v2": (SHORT[:6] + [LONG, "MESH ÉTÉ naïve 3.5% \U0001f35e"], 256, "mean", True),
    # No sentence-transformers files there: the first token, as FlagModel takes by default.
    "splade-tiny": (SHORT[:6] + [LONG, "[MASK] literal"], 512, "cls", False),
}


def round7(values: torch.Tensor) -> list[float]:
    return [float(f"{value:.7g}") for value in values.tolist()]


def main() -> None:
    torch.set_num_threads(2)
    transformers.utils.logging.disable_progress_bar()
    for name, (inputs, max_length, pooling, normalize) in MODELS.items():
        folder = ROOT / ".cache" / "models" / name
        model = AutoModel.from_pretrained(folder, dtype=torch.float32,
                                          attn_implementation="eager").eval()
        templates = Templates(Tokenizer.from_file(str(folder / "tokenizer.json")))
        cases = []
        for text in inputs:
            item = templates.single(text, max_length)
            with torch.no_grad():
                out = model(**model_arguments(item, model.config.model_type == "bert"))
            embedding = pool(out.last_hidden_state[0], pooling, normalize)
            cases.append({"text": text, "max_length": max_length, "truncated": item.truncated,
                          "ids": item.ids, "embedding": round7(embedding)})
        path = ROOT / "tests" / "golden" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        write_golden(path, {"made_by": "tools/golden/make_real_goldens.py", "kind": "bi_encoder",
                            **VERSIONS, "pooling": pooling, "normalized": normalize,
                            "arithmetic": "f32 on the CPU, eager attention, one text at a time"},
                     cases)
        print(f"{name:24} {len(cases)} texts, {path.stat().st_size} bytes, tokens",
              [len(case["ids"]) for case in cases])


if __name__ == "__main__":
    main()

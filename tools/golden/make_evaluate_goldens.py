#!/usr/bin/env python3
"""Makes tests/golden/evaluate.json: what pytrec_eval gives for random runs, with ties, documents that nobody
judged, grades of 0 and below, queries without a relevant document.

    pip install pytrec-eval-terrier; python3 tools/golden/make_evaluate_goldens.py
"""
import json
import random
from pathlib import Path

import pytrec_eval

ROOT = Path(__file__).resolve().parents[2]
MEASURES = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "p": "P"}
DEPTHS = [1, 3, 10, 100]


def main():
    rng = random.Random(7)
    documents = [f"d{i}" for i in range(60)]
    qrels, run = {}, {}
    for q in range(30):
        judged = rng.sample(documents, rng.randint(1, 20))
        grades = [0] if q == 3 else [-1, 0, 0, 1, 1, 2, 3]
        qrels[f"q{q}"] = {d: rng.choice(grades) for d in judged}
    for q in range(2, 33):  # some of each are not in the other
        found = rng.sample(documents, rng.randint(1, 50))
        run[f"q{q}"] = {d: round(rng.uniform(0, 3), rng.choice([0, 1, 6])) for d in found}
    names = {f"{m}.{','.join(map(str, DEPTHS))}" for m in MEASURES.values()}
    result = pytrec_eval.RelevanceEvaluator(qrels, names).evaluate(run)
    values = {f"{ours}@{k}": {q: row[f"{theirs}_{k}"] for q, row in sorted(result.items())}
              for ours, theirs in MEASURES.items() for k in DEPTHS}
    golden = {"judgements": qrels, "run": run, "values": values}
    (ROOT / "tests/golden/evaluate.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()

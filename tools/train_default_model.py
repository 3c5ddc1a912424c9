#!/usr/bin/env python3
"""How the default reranker is trained further with Tamis, and how good it is.

    python3 tools/train_default_model.py data    [--sets DIR] [--out DIR]   # training data, and what is tested on
    python3 tools/train_default_model.py train   [--out DIR] [-- more arguments of tamis train]
    python3 tools/train_default_model.py report  [--out DIR] [--models NAME=DIR ...] [--dtypes f32,int8]

Data (the sets named below; nothing of them is copied into the project): SciFact's train queries with negatives of a
BM25, three lines each, and XQuAD's questions on paragraphs p0 to p189 in six languages, negatives from the same
article and others, every fifth question with passages of another language. SciFact's test queries and paragraphs
p190 to p239 are not trained on; the report is of those. Everything follows from the seed.
"""
from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench"))
from retrieval import Bm25, read_dataset  # noqa: E402

TAMIS = ROOT / "build" / "release" / "tamis"
MODELS = ROOT / ".cache" / "models"
LANGUAGES = ("en", "zh", "ar", "hi", "ru", "de")
TRAIN_PARAGRAPHS = 190
SEED = 20261130
NEGATIVES = 20           # of a line; a step draws from them
SCIFACT_LINES = 3        # of a query: there are few of them
XQUAD_SHARE = 0.2        # of the questions: what the model knows already, lest it forget
ARGUMENTS = ["--train_group_size", "6", "--per_device_train_batch_size", "8", "--query_max_len", "64",
             "--passage_max_len", "224", "--learning_rate", "5e-5", "--warmup_ratio", "0.05", "--weight_decay", "0.01",
             "--num_train_epochs", "1", "--freeze_layers", "6", "--logging_steps", "10", "--save_steps", "50"]


def paragraph(document: str) -> int:
    return int(document[1:])


def write_lines(path: Path, rows) -> int:
    count = 0
    with open(path, "w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def write_dataset(folder: Path, data, documents, queries) -> None:
    """A part of a set in BEIR's form, with BM25's best 100 of each query."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    corpus = {d: data.corpus[d] for d in documents}
    write_lines(folder / "corpus.jsonl", ({"_id": d, "title": "", "text": text} for d, text in corpus.items()))
    write_lines(folder / "queries.jsonl", ({"_id": q, "text": data.queries[q]} for q in queries))
    with open(folder / "qrels" / "test.tsv", "w", encoding="utf-8") as out:
        out.write("query-id\tcorpus-id\tscore\n")
        for q in queries:
            for document, gain in data.relevant[q].items():
                out.write(f"{q}\t{document}\t{gain}\n")
    index = Bm25(corpus)
    with open(folder / "bm25.trec", "w", encoding="utf-8") as out:
        for q in queries:
            found = index.top(data.queries[q], 100)
            for rank, document in enumerate(found, 1):
                out.write(f"{q} Q0 {document} {rank} {len(found) - rank} bm25\n")


def scifact_lines(sets: Path, rng: random.Random):
    data = read_dataset(sets / "scifact", "scifact", "train")
    index = Bm25(data.corpus)
    for query in sorted(data.queries):
        found = [d for d in index.top(data.queries[query], 60) if d not in data.relevant[query]]
        for _ in range(SCIFACT_LINES):
            chosen = rng.sample(found, min(NEGATIVES, len(found)))
            yield {"query": data.queries[query], "pos": [data.corpus[d] for d in data.relevant[query]],
                   "neg": [data.corpus[d] for d in chosen]}


def xquad_lines(sets: Path, rng: random.Random):
    data = {language: read_dataset(sets / "xquad" / language, language) for language in LANGUAGES}
    for language, own in data.items():
        train = [d for d in own.corpus if paragraph(d) < TRAIN_PARAGRAPHS]
        index = Bm25({d: own.corpus[d] for d in train})
        questions = [q for q in sorted(own.queries)
                     if all(paragraph(d) < TRAIN_PARAGRAPHS for d in own.relevant[q])]
        for query in rng.sample(questions, round(XQUAD_SHARE * len(questions))):
            found = [d for d in index.top(own.queries[query], 2 * NEGATIVES) if d not in own.relevant[query]]
            found += rng.sample([d for d in train if d not in own.relevant[query] and d not in found], 5)
            chosen = found[:NEGATIVES // 2] + rng.sample(found[NEGATIVES // 2:], min(5, len(found[NEGATIVES // 2:])))
            texts = data[rng.choice(LANGUAGES)] if rng.random() < 0.2 else own  # the sets are parallel
            yield {"query": own.queries[query], "pos": [texts.corpus[d] for d in own.relevant[query]],
                   "neg": [texts.corpus[d] for d in chosen]}


def make_data(args) -> None:
    args.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(SEED)
    print("scifact:", write_lines(args.out / "scifact.jsonl", scifact_lines(args.sets, rng)), "lines")
    print("xquad:", write_lines(args.out / "xquad.jsonl", xquad_lines(args.sets, rng)), "lines")
    data = read_dataset(args.sets / "scifact", "scifact")
    write_dataset(args.out / "test" / "scifact", data, data.corpus, sorted(data.queries))
    for language in LANGUAGES:
        data = read_dataset(args.sets / "xquad" / language, language)
        documents = [d for d in data.corpus if paragraph(d) >= TRAIN_PARAGRAPHS]
        queries = [q for q in sorted(data.queries) if set(data.relevant[q]) <= set(documents)]
        write_dataset(args.out / "test" / f"xquad-{language}", data, documents, queries)


def train(args) -> None:
    command = [TAMIS, "train", "reranker", "--model_name_or_path", args.model, "--train_data", args.out / "scifact.jsonl",
               args.out / "xquad.jsonl", "--output_dir", args.out / "model", *ARGUMENTS, "--seed", str(SEED), *args.more]
    sys.exit(subprocess.run(command).returncode)


def evaluate(*arguments) -> dict:
    done = subprocess.run([TAMIS, "eval", *arguments, "--metrics", "ndcg@10", "--format", "json", "-q"],
                          capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def report(args) -> None:
    for folder in sorted((args.out / "test").iterdir()):
        rows = {"BM25": ["--qrels", folder / "qrels" / "test.tsv", folder / "bm25.trec"],
                "e5": ["--dataset", folder, "--embedder", MODELS / "multilingual-e5-small", "--query-instruction", "query: "]}
        for item in args.models:
            name, model = item.split("=", 1)
            for dtype in args.dtypes.split(","):
                rows[f"{name} {dtype}"] = ["--dataset", folder, "--candidates", folder / "bm25.trec", "--reranker", model,
                                           "--dtype", dtype, "--rerank_top_k", str(args.depth)]
        for name, arguments in rows.items():
            line = {"set": folder.name, "what": name, **evaluate(*arguments)}
            print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["data", "train", "report"])
    parser.add_argument("--sets", type=Path, default=ROOT.parent / "shared" / "data" / "sets")
    parser.add_argument("--out", type=Path, default=ROOT / ".cache" / "default-model")
    parser.add_argument("--model", type=Path, default=MODELS / "tamis-reranker-small", help="what is trained further")
    parser.add_argument("--models", nargs="*", default=[], metavar="NAME=DIR", help="rerankers of the report")
    parser.add_argument("--dtypes", default="f32,int8")
    parser.add_argument("--depth", type=int, default=50, help="of BM25's best, ordered anew")
    args, args.more = parser.parse_known_args()
    {"data": make_data, "train": train, "report": report}[args.step](args)


if __name__ == "__main__":
    main()

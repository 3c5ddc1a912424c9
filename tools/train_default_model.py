#!/usr/bin/env python3
"""How the default reranker was trained with Tamis, and how good it is.

    .venv/bin/python tools/train_default_model.py data    [--sets DIR] [--out DIR]   # training data, and what is tested on
    .venv/bin/python tools/train_default_model.py train   [--out DIR] [more arguments of tamis train]   # OUT/model
    .venv/bin/python tools/train_default_model.py publish [--out DIR]                # OUT/model into models/
    .venv/bin/python tools/train_default_model.py smaller [--out DIR] [more arguments]   # OUT/smaller: six layers, distilled
    .venv/bin/python tools/train_default_model.py report  [--out DIR] [--models NAME=DIR ...] [--dtypes f32,int8]
                                                          [--tests NAME ...] [--depth N]

It starts from the first version of the default model, which the project's history has (FIRST below).

Data (the sets named below; nothing of them is copied into the project): SciFact's train queries with negatives of a
BM25, three lines each, and XQuAD's questions on paragraphs p0 to p189 in six languages, negatives from the same
article and others, every fifth question with passages of another language. SciFact's test queries and paragraphs
p190 to p239 are not trained on; the report is of those. Everything follows from the seed.
"""
from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ROOT / "models" / "tamis-reranker-small"
sys.path[:0] = [str(ROOT / "bench"), str(PUBLISHED)]
from assemble import assembled, sha256  # noqa: E402
from retrieval import Bm25, read_dataset  # noqa: E402

TAMIS = ROOT / "build" / "release" / "tamis"
MODELS = ROOT / ".cache" / "models"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
FIRST = "3232740:models/tamis-reranker-small/upper.safetensors"  # a commit of this repository
FIRST_SHA256 = "4a7ac913dd275fad4f301f0c3dedcc56372c79c42412cac2ddf34936f146fd29"
LANGUAGES = ("en", "zh", "ar", "hi", "ru", "de")
TRAIN_PARAGRAPHS = 190
SEED = 20261130
NEGATIVES = 20           # of a line; a step draws from them
SCIFACT_LINES = 3        # of a query: there are few of them
XQUAD_SHARE = 0.2        # of the questions: what the model knows already, lest it forget
ARGUMENTS = ["--train_group_size", "6", "--per_device_train_batch_size", "8", "--query_max_len", "64",
             "--passage_max_len", "224", "--warmup_ratio", "0.05", "--weight_decay", "0.01",
             "--num_train_epochs", "1", "--logging_steps", "10", "--save_steps", "50"]
SMALLER_LAYERS = (0, 2, 4, 7, 9, 11)  # what the smaller model starts from


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


def write_model(out: Path, tensors: dict, config: dict, tokenizer: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    save_file(dict(sorted(tensors.items())), out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(config, indent=2))
    for name in TOKENIZER:
        shutil.copyfile(tokenizer / name, out / name)


def first_model(args) -> Path:
    """The default model as it was before Tamis trained it."""
    out = args.out / "first"
    if not (out / "model.safetensors").is_file():
        done = subprocess.run(["git", "-C", ROOT, "show", FIRST], capture_output=True)
        if hashlib.sha256(done.stdout).hexdigest() != FIRST_SHA256:
            sys.exit(f"git show {FIRST} did not give the file that was trained further: is this a whole clone?\n"
                     f"{done.stderr.decode()}")
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "first.safetensors").write_bytes(done.stdout)
        write_model(out, assembled(MODELS / "multilingual-e5-small", args.out / "first.safetensors"),
                    json.loads((PUBLISHED / "config.json").read_text()), MODELS / "multilingual-e5-small")
    return out


def tamis_train(model: Path, data: list[Path], out: Path, *arguments: str) -> None:
    done = subprocess.run([TAMIS, "train", "reranker", "--model_name_or_path", model, "--train_data", *data,
                           "--output_dir", out, *ARGUMENTS, "--seed", str(SEED), *arguments])
    if done.returncode != 0:
        sys.exit(done.returncode)


def train(args) -> None:
    tamis_train(first_model(args), [args.out / "scifact.jsonl", args.out / "xquad.jsonl"], args.out / "model",
                "--learning_rate", "5e-5", "--freeze_layers", "6", *args.more)


def publish(args) -> None:
    """What was trained, in f16, and the hashes of it and of the whole model."""
    base = load_file(MODELS / "multilingual-e5-small" / "model.safetensors")
    upper = {}
    for name, value in load_file(args.out / "model" / "model.safetensors").items():
        before = base.get(name.removeprefix("roberta."))
        if before is None or not np.array_equal(before.astype(np.float32), value):
            upper[name] = value.astype(np.float16)
    save_file(dict(sorted(upper.items())), PUBLISHED / "upper.safetensors", metadata={"format": "pt"})
    whole = args.out / "published"
    write_model(whole, assembled(MODELS / "multilingual-e5-small", PUBLISHED / "upper.safetensors"),
                json.loads((PUBLISHED / "config.json").read_text()), MODELS / "multilingual-e5-small")
    hashes = {path.name: sha256(path) for path in (PUBLISHED / "upper.safetensors", whole / "model.safetensors")}
    (PUBLISHED / "manifest.json").write_text(json.dumps(hashes, indent=2) + "\n")
    print(f"{len(upper)} tensors; {hashes}; the second hash belongs into tools/get_models.py")


def few_negatives(source: Path, out: Path, rng: random.Random) -> None:
    """One positive and five negatives a line: what a step takes, so that no score is computed in vain."""
    with open(source, encoding="utf-8") as lines:
        write_lines(out, ({**row, "pos": [rng.choice(row["pos"])], "neg": rng.sample(row["neg"], min(5, len(row["neg"])))}
                          for row in map(json.loads, lines)))


def smaller(args) -> None:
    """Six layers of OUT/model, which then learn its logits (in int8: they are what it is worth there) beside the labels."""
    whole, start, rng, data = args.out / "model", args.out / "smaller-start", random.Random(6), []
    tensors = {}
    for name, value in load_file(whole / "model.safetensors").items():
        stem, found, rest = name.partition("encoder.layer.")
        if found:
            layer, rest = rest.split(".", 1)
            if int(layer) not in SMALLER_LAYERS:
                continue
            name = f"{stem}{found}{SMALLER_LAYERS.index(int(layer))}.{rest}"
        tensors[name] = value
    config = json.loads((whole / "config.json").read_text())
    write_model(start, tensors, config | {"num_hidden_layers": len(SMALLER_LAYERS)}, whole)
    for name in ("scifact", "xquad"):
        few, scored = (args.out / f"{name}-{what}.jsonl" for what in ("few", "scored"))
        few_negatives(args.out / f"{name}.jsonl", few, rng)
        subprocess.run([TAMIS, "distill", "-m", whole, "--dtype", "int8", few, scored], check=True)
        data.append(scored)
    tamis_train(start, data, args.out / "smaller", "--knowledge_distillation", "--freeze_words",
                "--fix_position_embedding", "--learning_rate", "1e-4", *args.more)


def evaluate(*arguments) -> dict:
    done = subprocess.run([TAMIS, "eval", *arguments, "--metrics", "ndcg@10", "--format", "json", "-q"],
                          capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def best(run: Path) -> dict[str, list[str]]:
    """Query -> its documents, best first."""
    out: dict[str, list[str]] = {}
    for line in run.read_text().splitlines():
        query, _, document, *_ = line.split()
        out.setdefault(query, []).append(document)
    return out


def shared(a: Path, b: Path) -> float:
    """How many of the ten best are the same, as a share."""
    one, other = best(a), best(b)
    return sum(len(set(one[q][:10]) & set(other[q][:10])) / min(10, len(one[q])) for q in one) / len(one)


def report(args) -> None:
    """A line for each set and system; rankings are kept in OUT/runs by name, and what is there is not computed again."""
    (args.out / "runs").mkdir(exist_ok=True)
    for folder in (args.out / "test" / name for name in args.tests):
        qrels = ["--qrels", folder / "qrels" / "test.tsv"]
        rows = {"BM25": [], "e5": ["--embedder", MODELS / "multilingual-e5-small", "--query-instruction", "query: "]}
        for name, model in (item.split("=", 1) for item in args.models):
            rows |= {f"{name} {dtype}": ["--candidates", folder / "bm25.trec", "--reranker", model, "--dtype", dtype,
                                         "--rerank_top_k", str(args.depth)] for dtype in args.dtypes.split(",")}
        for name, arguments in rows.items():
            run = args.out / "runs" / f"{folder.name} {name} {args.depth}.trec" if arguments else folder / "bm25.trec"
            if not run.is_file():
                made = run.with_suffix(".new")
                evaluate("--dataset", folder, *arguments, "--save-run", made)
                made.rename(run)
            found = evaluate(*qrels, run)["runs"][0]
            ndcg = found["metrics"]["ndcg@10"]
            line = {"set": folder.name, "what": name, "depth": args.depth, "queries": found["queries"],
                    "ndcg@10": round(ndcg["mean"], 4), "low": round(ndcg["low"], 4), "high": round(ndcg["high"], 4)}
            whole = run.with_name(run.name.replace("int8", "f32"))
            if whole != run and whole.is_file():
                line["top10_as_f32"] = round(shared(run, whole), 4)
            print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["data", "train", "publish", "smaller", "report"])
    parser.add_argument("--sets", type=Path, default=ROOT.parent / "shared" / "data" / "sets")
    parser.add_argument("--out", type=Path, default=ROOT / ".cache" / "default-model")
    parser.add_argument("--models", nargs="*", default=[], metavar="NAME=DIR", help="rerankers of the report")
    parser.add_argument("--dtypes", default="f32,int8")
    parser.add_argument("--tests", nargs="*", default=["scifact", *(f"xquad-{language}" for language in LANGUAGES)])
    parser.add_argument("--depth", type=int, default=50, help="of BM25's best, ordered anew")
    args, args.more = parser.parse_known_args()
    if args.more and args.step not in ("train", "smaller"):
        parser.error(f"unrecognized arguments: {' '.join(args.more)}")
    {"data": make_data, "train": train, "publish": publish, "smaller": smaller, "report": report}[args.step](args)


if __name__ == "__main__":
    main()

"""Retrieval data sets in BEIR's form, a BM25 to rank a corpus with, and nDCG."""
from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

# Words of letters and digits; Han characters, which have no spaces between words, one by one.
TOKEN = re.compile(r"[\u4e00-\u9fff]|[^\W_\u4e00-\u9fff]+")


@dataclass
class Dataset:
    name: str
    corpus: dict[str, str]               # id -> text, the title before it
    queries: dict[str, str]              # those that are judged
    relevant: dict[str, dict[str, int]]  # query -> document -> gain


def read_dataset(folder: Path, name: str, split: str = "test") -> Dataset:
    def rows(path: Path) -> list[dict]:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    relevant: dict[str, dict[str, int]] = defaultdict(dict)
    for line in (folder / "qrels" / f"{split}.tsv").read_text().splitlines()[1:]:
        query, document, gain = line.split("\t")
        if int(gain) > 0:
            relevant[query][document] = int(gain)
    corpus = {row["_id"]: f"{row['title']} {row['text']}".strip()
              for row in rows(folder / "corpus.jsonl")}
    queries = {row["_id"]: row["text"] for row in rows(folder / "queries.jsonl")
               if row["_id"] in relevant}
    return Dataset(name, corpus, queries, dict(relevant))


def tokens(text: str) -> list[str]:
    """Words; of Han text characters and pairs of them."""
    found = TOKEN.findall(text.lower())
    pairs = [a + b for a, b in zip(found, found[1:]) if "\u4e00" <= a < "\ua000" > b >= "\u4e00"]
    return found + pairs


class Bm25:
    """Robertson's BM25 with the usual k1 and b."""

    def __init__(self, corpus: dict[str, str], k1: float = 0.9, b: float = 0.4) -> None:
        self.postings: dict[str, list[tuple[str, float]]] = defaultdict(list)
        counts = {document: Counter(tokens(text)) for document, text in corpus.items()}
        lengths = {document: sum(count.values()) for document, count in counts.items()}
        mean = sum(lengths.values()) / len(lengths)
        for document, count in counts.items():
            norm = k1 * (1 - b + b * lengths[document] / mean)
            for word, n in count.items():
                self.postings[word].append((document, n * (k1 + 1) / (n + norm)))
        self.size = len(corpus)

    def top(self, query: str, depth: int) -> list[str]:
        """Ids, best first; ties by id, so that every machine gets the same list."""
        scores: dict[str, float] = defaultdict(float)
        for word, n in Counter(tokens(query)).items():
            found = self.postings.get(word, ())
            idf = math.log(1 + (self.size - len(found) + 0.5) / (len(found) + 0.5))
            for document, weight in found:
                scores[document] += n * idf * weight
        return sorted(scores, key=lambda document: (-scores[document], document))[:depth]


def ranked(scores: list[float]) -> list[int]:
    """Indices, best first; ties in the given order."""
    return sorted(range(len(scores)), key=lambda i: -scores[i])


def ndcg(documents: list[str], relevant: dict[str, int], at: int = 10) -> float:
    """Linear gains, as trec_eval has them."""
    def dcg(gains: list[int]) -> float:
        return sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains[:at]))

    ideal = dcg(sorted(relevant.values(), reverse=True))
    return dcg([relevant.get(document, 0) for document in documents]) / ideal

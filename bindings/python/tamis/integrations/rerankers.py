"""The package `rerankers`: a ranker. Needs rerankers."""
from __future__ import annotations

from typing import Any, Sequence

from rerankers.documents import Document
from rerankers.models.ranker import BaseRanker
from rerankers.results import RankedResults, Result
from rerankers.utils import prep_docs

from ..models import Reranker
from ._shared import loaded


class TamisRanker(BaseRanker):
    """rank(query, docs) as every ranker of `rerankers` has it; scores are logits."""

    ranking_type = "pointwise"

    def __init__(self, model_name_or_path: Any, verbose: int = 0, *, max_length: int = 512,
                 **options: Any) -> None:
        self.reranker = loaded(Reranker, model_name_or_path, options)
        self.verbose = verbose
        self.max_length = max_length

    def score(self, query: str, doc: str) -> float:
        return float(self.reranker.score([(query, doc)], max_length=self.max_length)[0])

    def rank(self, query: str, docs: str | Sequence[str] | Document | Sequence[Document],
             doc_ids: Sequence[str] | Sequence[int] | None = None,
             metadata: Sequence[dict[str, Any]] | None = None) -> RankedResults:
        documents = prep_docs(docs, doc_ids, metadata)
        ranked = self.reranker.rerank(query, [d.text for d in documents],
                                      max_length=self.max_length)
        results = [Result(document=documents[r.index], score=r.logit, rank=i + 1)
                   for i, r in enumerate(ranked)]
        return RankedResults(results=results, query=query, has_scores=True)

"""The methods of sentence-transformers' CrossEncoder, without it."""
from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from .._arguments import text_list
from ..models import Reranker
from ._shared import loaded


class CrossEncoder:
    """predict and rank of a cross-encoder.

    model_name_or_path: a directory, a name of the hub, or a tamis.Reranker. Scores are, as with
    sentence-transformers, the sigmoid of the logit for a model with one label, else logits.
    """

    def __init__(self, model_name_or_path: Any, max_length: int | None = None,
                 device: Any = None, **options: Any) -> None:
        if device is not None:
            options["device"] = device
        self.reranker = loaded(Reranker, model_name_or_path, options)
        self.max_length = max_length or 512

    @property
    def device(self) -> str:
        return self.reranker.device

    @property
    def num_labels(self) -> int:
        return len(self.reranker.info["labels"]) or 1

    def predict(self, sentences: Sequence[Any], batch_size: int = 32,
                show_progress_bar: bool | None = None, apply_sigmoid: bool | None = None) -> Any:
        """Of a list of pairs: float32 [n] or [n, labels]; of one pair: its score.

        batch_size is accepted and changes nothing: batches are cut by tokens.
        """
        single = len(sentences) == 2 and all(isinstance(text, str) for text in sentences)
        scores = self.reranker.score([tuple(sentences)] if single else sentences,
                                     max_length=self.max_length,
                                     progress=bool(show_progress_bar))
        if self.num_labels == 1 if apply_sigmoid is None else apply_sigmoid:
            scores = (1.0 / (1.0 + np.exp(-scores.astype(np.float64)))).astype(np.float32)
        return scores[0] if single else scores

    def rank(self, query: str, documents: Sequence[str], top_k: int | None = None,
             return_documents: bool = False, batch_size: int = 32,
             show_progress_bar: bool | None = None) -> list[dict[str, Any]]:
        """[{"corpus_id", "score", and with return_documents "text"}], best first; ordered by the
        logit, so that scores which round to 1 do not tie."""
        texts, _ = text_list("documents", documents)
        ranked = self.reranker.rerank(query, texts, top_n=top_k, max_length=self.max_length,
                                      progress=bool(show_progress_bar))
        out: list[dict[str, Any]] = []
        for r in ranked:
            out.append({"corpus_id": r.index, "score": np.float32(r.score)})
            if return_documents:
                out[-1]["text"] = r.text
        return out

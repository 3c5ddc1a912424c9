"""Haystack 2: a ranker and two embedders. Needs haystack-ai."""
from __future__ import annotations

from dataclasses import replace
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict

from ..models import Embedder, Reranker
from ._shared import loaded, vectors


class _Lazy:
    """Haystack makes components early and loads models in warm_up; run does it if need be."""

    _kind: Any
    model: Any
    options: dict[str, Any]
    _loaded: Any = None

    def warm_up(self) -> None:
        """Loads the model."""
        if self._loaded is None:
            self._loaded = loaded(self._kind, self.model, self.options)

    def _ready(self) -> Any:
        self.warm_up()
        return self._loaded

    def _settings(self, **settings: Any) -> dict[str, Any]:
        if isinstance(self.model, self._kind):
            raise ValueError("a component with a loaded model cannot be written as a dict; give "
                             "the model's directory or name")
        return default_to_dict(self, model=str(self.model), **settings, **self.options)


@component
class TamisRanker(_Lazy):
    """Orders documents by how well they answer the query, best first; score is the sigmoid of the
    logit (of an embedder the cosine)."""

    _kind = Reranker

    def __init__(self, model: Any, top_k: int | None = 10, max_length: int = 512,
                 **options: Any) -> None:
        self.model, self.top_k, self.max_length, self.options = model, top_k, max_length, options

    def to_dict(self) -> dict[str, Any]:
        return self._settings(top_k=self.top_k, max_length=self.max_length)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TamisRanker:
        return default_from_dict(cls, data)

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, Any]:
        if not documents:
            return {"documents": []}
        ranked = self._ready().rerank(query, [d.content or "" for d in documents],
                                      top_n=top_k or self.top_k, max_length=self.max_length)
        return {"documents": [replace(documents[r.index], score=r.score) for r in ranked]}


@component
class TamisTextEmbedder(_Lazy):
    """The vector of one text, for a query."""

    _kind = Embedder

    def __init__(self, model: Any, prefix: str = "", normalize: bool | None = None,
                 **options: Any) -> None:
        self.model, self.prefix, self.normalize, self.options = model, prefix, normalize, options

    def to_dict(self) -> dict[str, Any]:
        return self._settings(prefix=self.prefix, normalize=self.normalize)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TamisTextEmbedder:
        return default_from_dict(cls, data)

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, Any]:
        return {"embedding": vectors(self._ready(), [text], self.prefix, self.normalize)[0]}


@component
class TamisDocumentEmbedder(_Lazy):
    """Documents with their vectors."""

    _kind = Embedder

    def __init__(self, model: Any, prefix: str = "", normalize: bool | None = None,
                 meta_fields_to_embed: list[str] | None = None, embedding_separator: str = "\n",
                 **options: Any) -> None:
        self.model, self.prefix, self.normalize, self.options = model, prefix, normalize, options
        self.meta_fields_to_embed = meta_fields_to_embed or []
        self.embedding_separator = embedding_separator

    def to_dict(self) -> dict[str, Any]:
        return self._settings(prefix=self.prefix, normalize=self.normalize,
                              meta_fields_to_embed=self.meta_fields_to_embed,
                              embedding_separator=self.embedding_separator)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TamisDocumentEmbedder:
        return default_from_dict(cls, data)

    def _text(self, document: Document) -> str:
        fields = [str(document.meta[key]) for key in self.meta_fields_to_embed
                  if document.meta.get(key) is not None]
        return self.embedding_separator.join([*fields, document.content or ""])

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        rows = vectors(self._ready(), [self._text(d) for d in documents], self.prefix,
                       self.normalize)
        return {"documents": [replace(d, embedding=row) for d, row in zip(documents, rows)]}

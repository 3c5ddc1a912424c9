"""LlamaIndex: a node postprocessor and an embedding. Needs llama-index-core."""
from __future__ import annotations

import asyncio
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from ..models import Embedder, Reranker
from ._shared import loaded, vectors


class TamisPostprocessor(BaseNodePostprocessor):
    """Keeps the nodes that answer the query best, best first; their score is the logit's sigmoid
    (of an embedder the cosine)."""

    model: str = Field(default="", description="A directory or a name of the hub.")
    top_n: int = Field(default=5, description="Nodes to keep.", gt=0)
    max_length: int = Field(default=512, description="Tokens of a query and a node together.")
    _reranker: Reranker = PrivateAttr()

    def __init__(self, model: Any, top_n: int = 5, max_length: int = 512, **options: Any) -> None:
        reranker = loaded(Reranker, model, options)
        super().__init__(model=str(reranker.info["directory"]), top_n=top_n, max_length=max_length)
        self._reranker = reranker

    @classmethod
    def class_name(cls) -> str:
        return "TamisPostprocessor"

    def _postprocess_nodes(self, nodes: list[NodeWithScore],
                           query_bundle: QueryBundle | None = None) -> list[NodeWithScore]:
        if query_bundle is None:
            raise ValueError("TamisPostprocessor needs the query: give query_bundle or query_str")
        if not nodes:
            return []
        texts = [n.node.get_content(metadata_mode=MetadataMode.EMBED) for n in nodes]
        ranked = self._reranker.rerank(query_bundle.query_str, texts, top_n=self.top_n,
                                       max_length=self.max_length)
        return [NodeWithScore(node=nodes[r.index].node, score=r.score) for r in ranked]


class TamisEmbedding(BaseEmbedding):
    """Embeddings of nodes and queries; instructions stand before each text."""

    query_instruction: str = Field(default="", description="Before each query.")
    text_instruction: str = Field(default="", description="Before each text.")
    normalize: bool | None = Field(default=None, description="To length 1; None: as the model.")
    _embedder: Embedder = PrivateAttr()

    def __init__(self, model: Any, query_instruction: str = "", text_instruction: str = "",
                 normalize: bool | None = None, embed_batch_size: int = 64,
                 **options: Any) -> None:
        embedder = loaded(Embedder, model, options)
        super().__init__(model_name=str(embedder.info["directory"]),
                         embed_batch_size=embed_batch_size, query_instruction=query_instruction,
                         text_instruction=text_instruction, normalize=normalize)
        self._embedder = embedder

    @classmethod
    def class_name(cls) -> str:
        return "TamisEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        return vectors(self._embedder, [query], self.query_instruction, self.normalize)[0]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return vectors(self._embedder, texts, self.text_instruction, self.normalize)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

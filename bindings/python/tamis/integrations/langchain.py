"""LangChain: a document compressor and embeddings. Needs langchain-core."""
from __future__ import annotations

from typing import Any, Sequence

from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.embeddings import Embeddings
from pydantic import ConfigDict, PrivateAttr

from ..models import Embedder, Reranker
from ._shared import loaded, vectors


class TamisCompressor(BaseDocumentCompressor):
    """Keeps the documents that answer the query best, best first, with "relevance_score" (the
    sigmoid of the logit; of an embedder the cosine) in their metadata.

    For ContextualCompressionRetriever(base_compressor=TamisCompressor(model=...), ...).
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    model: Any
    """A directory, a name of the hub, or a tamis.Reranker."""
    top_n: int | None = 3
    """Documents to keep; None keeps all."""
    max_length: int = 512
    """Tokens of a query and a document together."""
    options: dict[str, Any] = {}
    """Of tamis.Reranker: device, dtype, threads, ..."""
    _reranker: Reranker = PrivateAttr()

    def model_post_init(self, _: Any) -> None:
        self._reranker = loaded(Reranker, self.model, self.options)

    def compress_documents(self, documents: Sequence[Document], query: str,
                           callbacks: Any = None) -> list[Document]:
        """New documents with the contents and metadata of the old ones."""
        if not documents:
            return []
        ranked = self._reranker.rerank(query, [d.page_content for d in documents],
                                       top_n=self.top_n, max_length=self.max_length)
        return [Document(page_content=documents[r.index].page_content, id=documents[r.index].id,
                         metadata={**documents[r.index].metadata, "relevance_score": r.score})
                for r in ranked]


class TamisEmbeddings(Embeddings):
    """Embeddings of documents and queries.

    model: a directory, a name of the hub, or a tamis.Embedder. query_instruction and
    document_instruction stand before each text, such as "query: " and "passage: " of e5.
    normalize: to length 1; None is as the model says.
    """

    def __init__(self, model: Any, *, query_instruction: str = "", document_instruction: str = "",
                 normalize: bool | None = None, **options: Any) -> None:
        self.embedder = loaded(Embedder, model, options)
        self.query_instruction = query_instruction
        self.document_instruction = document_instruction
        self.normalize = normalize

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return vectors(self.embedder, texts, self.document_instruction, self.normalize)

    def embed_query(self, text: str) -> list[float]:
        return vectors(self.embedder, [text], self.query_instruction, self.normalize)[0]

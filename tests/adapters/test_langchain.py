import asyncio

import numpy
import pytest

pytest.importorskip("langchain_core", reason="langchain-core is not in .cache/adapters")
from langchain_core.documents import Document  # noqa: E402

import tamis  # noqa: E402
from tamis.integrations.langchain import TamisCompressor, TamisEmbeddings  # noqa: E402

TEXTS = ["the cat sat on the mat", "a drum sieve", "the sky is blue", "what is a cat"]


def test_compressor_keeps_the_best_with_their_metadata(reranker_model, order):
    documents = [Document(page_content=t, metadata={"n": i}, id=str(i)) for i, t in enumerate(TEXTS)]
    compressor = TamisCompressor(model=reranker_model, top_n=2, options={"threads": 1})
    kept = compressor.compress_documents(documents, "where is the cat")
    want = order("where is the cat", TEXTS)[:2]
    assert [d.metadata["n"] for d in kept] == [i for i, _, _ in want]
    assert [d.metadata["relevance_score"] for d in kept] == pytest.approx([s for _, s, _ in want])
    assert [d.id for d in kept] == [str(i) for i, _, _ in want]
    assert documents[0].metadata == {"n": 0}  # the caller's own are as they were
    again = asyncio.run(compressor.acompress_documents(documents, "where is the cat"))
    assert [d.page_content for d in again] == [d.page_content for d in kept]
    assert compressor.compress_documents([], "q") == []


def test_a_field_that_does_not_exist_is_refused(reranker_model):
    with pytest.raises(ValueError, match="topn"):
        TamisCompressor(model=reranker_model, topn=2)


def test_embeddings_put_the_instructions_before_the_texts(embedder_model):
    native = tamis.Embedder(embedder_model)
    ours = TamisEmbeddings(native, query_instruction="query: ", document_instruction="passage: ")
    numpy.testing.assert_allclose(ours.embed_query("a cat"), native.encode("query: a cat"),
                                  atol=1e-6)
    numpy.testing.assert_allclose(ours.embed_documents(TEXTS),
                                  native.encode(["passage: " + t for t in TEXTS]), atol=1e-6)
    assert ours.embed_documents([]) == []
    assert isinstance(ours.embed_query("a")[0], float)


def test_embeddings_serve_langchains_vector_store(embedder_model):
    from langchain_core.vectorstores import InMemoryVectorStore
    store = InMemoryVectorStore(TamisEmbeddings(embedder_model, normalize=True))
    store.add_texts(TEXTS)
    assert store.similarity_search(TEXTS[2], k=1)[0].page_content == TEXTS[2]

import asyncio

import numpy
import pytest

pytest.importorskip("llama_index.core", reason="llama-index-core is not in .cache/adapters")
from llama_index.core.schema import NodeWithScore, TextNode  # noqa: E402

import tamis  # noqa: E402
from tamis.integrations.llama_index import TamisEmbedding, TamisPostprocessor  # noqa: E402

TEXTS = ["the cat sat on the mat", "a drum sieve", "the sky is blue", "what is a cat"]


def test_postprocessor_orders_nodes(reranker_model, order):
    nodes = [NodeWithScore(node=TextNode(text=t, id_=str(i)), score=0.5)
             for i, t in enumerate(TEXTS)]
    post = TamisPostprocessor(reranker_model, top_n=3)
    got = post.postprocess_nodes(nodes, query_str="where is the cat")
    want = order("where is the cat", TEXTS)[:3]
    assert [n.node.node_id for n in got] == [str(i) for i, _, _ in want]
    assert [n.score for n in got] == pytest.approx([s for _, s, _ in want])
    again = asyncio.run(post.apostprocess_nodes(nodes, query_str="where is the cat"))
    assert [n.node.node_id for n in again] == [n.node.node_id for n in got]
    assert post.postprocess_nodes([], query_str="q") == []
    with pytest.raises(ValueError, match="needs the query"):
        post.postprocess_nodes(nodes)


def test_embedding_of_queries_and_texts(embedder_model):
    native = tamis.Embedder(embedder_model)
    ours = TamisEmbedding(native, query_instruction="query: ")
    numpy.testing.assert_allclose(ours.get_query_embedding("a cat"), native.encode("query: a cat"),
                                  atol=1e-6)
    numpy.testing.assert_allclose(ours.get_text_embedding_batch(TEXTS), native.encode(TEXTS),
                                  atol=1e-6)
    numpy.testing.assert_allclose(asyncio.run(ours.aget_query_embedding("a cat")),
                                  native.encode("query: a cat"), atol=1e-6)


def test_embedding_serves_an_index(embedder_model):
    from llama_index.core import VectorStoreIndex
    index = VectorStoreIndex([TextNode(text=t) for t in TEXTS],
                             embed_model=TamisEmbedding(embedder_model, normalize=True))
    assert index.as_retriever(similarity_top_k=1).retrieve(TEXTS[1])[0].text == TEXTS[1]

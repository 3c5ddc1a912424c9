import numpy
import pytest

pytest.importorskip("haystack", reason="haystack-ai is not in .cache/adapters")
from haystack import Document, Pipeline  # noqa: E402

import tamis  # noqa: E402
from tamis.integrations.haystack import (  # noqa: E402
    TamisDocumentEmbedder, TamisRanker, TamisTextEmbedder)

TEXTS = ["the cat sat on the mat", "a drum sieve", "the sky is blue", "what is a cat"]


def test_ranker_in_a_pipeline_and_through_yaml(reranker_model, order):
    pipeline = Pipeline()
    pipeline.add_component("ranker", TamisRanker(reranker_model, top_k=3, threads=1))
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=["tamis.integrations.haystack"])
    documents = [Document(content=t, meta={"n": i}) for i, t in enumerate(TEXTS)]
    want = order("where is the cat", TEXTS)
    for p in (pipeline, again):
        out = p.run({"ranker": {"query": "where is the cat", "documents": documents}})
        got = out["ranker"]["documents"]
        assert [d.meta["n"] for d in got] == [i for i, _, _ in want[:3]]
        assert [d.score for d in got] == pytest.approx([s for _, s, _ in want[:3]])
        out = p.run({"ranker": {"query": "q", "documents": documents, "top_k": 1}})
        assert len(out["ranker"]["documents"]) == 1
    assert TamisRanker(reranker_model).run("q", []) == {"documents": []}


def test_embedders_of_texts_and_documents(embedder_model):
    native = tamis.Embedder(embedder_model)
    text = TamisTextEmbedder(native, prefix="query: ").run("a cat")["embedding"]
    numpy.testing.assert_allclose(text, native.encode("query: a cat"), atol=1e-6)
    embedder = TamisDocumentEmbedder(native, meta_fields_to_embed=["title"])
    documents = [Document(content=TEXTS[0], meta={"title": "cats"}), Document(content=TEXTS[1])]
    got = embedder.run(documents)["documents"]
    numpy.testing.assert_allclose(
        [d.embedding for d in got], native.encode(["cats\n" + TEXTS[0], TEXTS[1]]), atol=1e-6)
    assert documents[0].embedding is None
    with pytest.raises(ValueError, match="loaded"):
        embedder.to_dict()

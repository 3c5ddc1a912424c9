import numpy
import pytest

import tamis
from tamis.integrations.cross_encoder import CrossEncoder

TEXTS = ["the cat sat on the mat", "a drum sieve", "the sky is blue", "what is a cat"]


def test_predict_and_rank(reranker_model, order):
    model = CrossEncoder(reranker_model, device="cpu", threads=1)
    want = order("where is the cat", TEXTS)
    scores = model.predict([("where is the cat", t) for t in TEXTS])
    assert scores.dtype == numpy.float32 and scores.shape == (4,)
    for index, score, logit in want:
        assert scores[index] == pytest.approx(score, abs=1e-6)
        assert model.predict(("where is the cat", TEXTS[index])) == pytest.approx(score, abs=1e-5)
    logits = model.predict([("where is the cat", t) for t in TEXTS], apply_sigmoid=False)
    assert sorted(logits, reverse=True) == pytest.approx([logit for _, _, logit in want])
    ranked = model.rank("where is the cat", TEXTS, top_k=2, return_documents=True)
    assert [r["corpus_id"] for r in ranked] == [i for i, _, _ in want[:2]]
    assert ranked[0]["text"] == TEXTS[want[0][0]]
    assert "text" not in model.rank("q", TEXTS)[0]


def test_options_of_a_loaded_model_are_refused(reranker_model):
    with tamis.Reranker(reranker_model) as reranker:
        with pytest.raises(TypeError, match="not loaded yet: threads"):
            CrossEncoder(reranker, threads=1)
    with pytest.raises(TypeError, match="expected a path"):
        CrossEncoder(7)

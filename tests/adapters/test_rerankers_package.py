import pytest

pytest.importorskip("rerankers", reason="rerankers is not in .cache/adapters")
from rerankers.documents import Document  # noqa: E402

from tamis.integrations.rerankers import TamisRanker  # noqa: E402

TEXTS = ["the cat sat on the mat", "a drum sieve", "the sky is blue", "what is a cat"]


def test_rank_gives_ranked_results(reranker_model, order):
    ranker = TamisRanker(reranker_model)
    results = ranker.rank("where is the cat", TEXTS, doc_ids=["a", "b", "c", "d"])
    want = order("where is the cat", TEXTS)
    assert [r.doc_id for r in results] == ["abcd"[i] for i, _, _ in want]
    assert [r.rank for r in results] == [1, 2, 3, 4]
    assert [r.score for r in results] == pytest.approx([logit for _, _, logit in want])
    assert results.top_k(1)[0].text == TEXTS[want[0][0]]
    documents = [Document(text=t, doc_id=i, metadata={"n": i}) for i, t in enumerate(TEXTS)]
    assert [r.doc_id for r in ranker.rank("where is the cat", documents)] == [i for i, _, _ in want]
    assert ranker.score("where is the cat", TEXTS[0]) == pytest.approx(
        next(logit for i, _, logit in want if i == 0), abs=1e-5)

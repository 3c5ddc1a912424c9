"""Every call that FlagEmbedding 1.4.2 was given (tools/golden/make_flag_goldens.py) gives the same
through Tamis: shapes, dtypes, types, keys and numbers."""
import json
from pathlib import Path

import numpy
import pytest

import tamis

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = json.loads((ROOT / "tests/golden/flagembedding.json").read_text(encoding="utf-8"))
CLASSES = {"BaseReranker": tamis.FlagReranker, "BaseEmbedder": tamis.FlagModel,
           "M3Embedder": tamis.BGEM3FlagModel,
           "FlagAutoReranker.from_finetuned": tamis.FlagAutoReranker.from_finetuned,
           "FlagAutoModel.from_finetuned": tamis.FlagAutoModel.from_finetuned}
TOLERANCE = 1e-4


def make(entry):
    return CLASSES[entry["class"]](str(ROOT / "tests/fixtures/models" / entry["model"]),
                                   devices="cpu", **entry["arguments"])


def expect_same(got, want, where):
    """`want` as make_flag_goldens.plain wrote it."""
    if isinstance(want, dict) and set(want) == {"shape", "dtype", "values"}:
        assert isinstance(got, (numpy.ndarray, numpy.generic)), where
        assert list(numpy.shape(got)) == want["shape"], where
        assert str(got.dtype) == want["dtype"], where
        numpy.testing.assert_allclose(numpy.ravel(got), want["values"], rtol=0, atol=TOLERANCE,
                                      err_msg=where)
        if got.ndim >= 1 and got.size:
            a = numpy.reshape(got, (-1, got.shape[-1])).astype(float)
            b = numpy.reshape(want["values"], a.shape)
            length = numpy.linalg.norm(a, axis=1) * numpy.linalg.norm(b, axis=1)
            if "matching" not in where:
                assert ((a * b).sum(axis=1) >= 0.999999 * length).all(), where
    elif isinstance(want, dict):
        assert isinstance(got, dict), where
        assert list(got) == list(want), f"{where}: keys or their order"
        for key in want:
            expect_same(got[key], want[key], f"{where}[{key!r}]")
    elif isinstance(want, list):
        assert isinstance(got, list) and len(got) == len(want), where
        for i, (one, other) in enumerate(zip(got, want)):
            expect_same(one, other, f"{where}[{i}]")
    elif want is None:
        assert got is None, where
    else:
        assert isinstance(got, (float, int, numpy.floating)), f"{where}: {type(got)}"
        assert float(got) == pytest.approx(want, abs=TOLERANCE), where


def names():
    return [f"{i}-{entry['class']}-{entry['model']}" for i, entry in enumerate(GOLDEN["models"])]


@pytest.mark.parametrize("entry", GOLDEN["models"], ids=names())
def test_every_call_gives_what_flagembedding_gives(entry):
    model = make(entry)
    assert entry["calls"]
    for i, call in enumerate(entry["calls"]):
        got = getattr(model, call["method"])(*call["args"], **call["kwargs"])
        expect_same(got, call["result"], f"call {i}, {call['method']}")


def test_colbert_score_is_flagembeddings():
    entry = next(e for e in GOLDEN["models"] if "colbert_score" in e)
    model = make(entry)
    wanted = entry["colbert_score"]
    texts = entry["calls"][1]["args"][0]
    vectors = model.encode(texts, return_colbert_vecs=True)["colbert_vecs"]
    got = model.colbert_score(vectors[wanted["query"]], vectors[wanted["passage"]])
    expect_same(got, wanted["result"], "colbert_score")


def test_golden_file_is_of_the_version_that_it_names():
    assert GOLDEN["versions"]["FlagEmbedding"] == "1.4.2"
    assert GOLDEN["versions"]["transformers"].startswith("4.")

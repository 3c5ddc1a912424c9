"""STSb: Spearman's correlation is that of transformers, to four digits, in each language."""
import csv
import json
from pathlib import Path

import numpy
import pytest

import tamis

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "sets" / "stsb"
MODEL = ROOT / ".cache" / "models" / "multilingual-e5-small"
GOLDEN = json.loads((ROOT / "tests" / "golden" / "stsb.json").read_text())


def ranks(values):
    """Ranks with ties at their mean."""
    values = numpy.asarray(values)
    _, inverse, counts = numpy.unique(values, return_inverse=True, return_counts=True)
    ends = numpy.cumsum(counts)
    return (ends - (counts - 1) / 2)[inverse]


def spearman(a, b):
    return numpy.corrcoef(ranks(a), ranks(b))[0, 1]


def test_ranks_of_ties_are_their_mean():
    assert ranks([3, 1, 3, 2]).tolist() == [3.5, 1, 3.5, 2]
    assert spearman([1, 2, 3, 4], [10, 30, 20, 40]) == pytest.approx(0.8)


@pytest.fixture(scope="module")
def embedder():
    if not MODEL.exists():
        pytest.skip(".cache/models/multilingual-e5-small is not there")
    with tamis.Embedder(MODEL) as model:
        yield model


@pytest.mark.parametrize("language", GOLDEN["languages"])
def test_correlation_is_that_of_transformers(embedder, language):
    file = DATA / f"stsb-{language}-test.csv"
    if not file.exists():
        pytest.skip("../shared/data/sets/stsb is not there")
    rows = list(csv.reader(file.open(encoding="utf-8", newline="")))
    want = GOLDEN["languages"][language]
    assert len(rows) == want["pairs"]
    a = embedder.encode([row[0] for row in rows], normalize=True)
    b = embedder.encode([row[1] for row in rows], normalize=True)
    got = spearman((a * b).sum(axis=1), [float(row[2]) for row in rows])
    assert got == pytest.approx(want["spearman"], abs=5e-5)

"""tamis verify: published values beside our own."""
import json

import pytest

from conftest import ROOT, fixture_model

MINILM = ROOT / ".cache" / "models" / "all-MiniLM-L6-v2"


def test_real_weights_give_the_published_values(tamis):
    if not MINILM.exists():
        pytest.skip(".cache/models/all-MiniLM-L6-v2 is not there")
    lines = tamis("verify", "-m", MINILM).text.splitlines()
    assert lines[0].split()[:4] == ["what", "published", "here", "difference"]
    rows = [line.split() for line in lines[1:]]
    assert len(rows) == 6 and {row[0] for row in rows} == {"cosine", "number"}
    for row in rows:
        assert abs(float(row[3])) <= float(row[4]) <= 1e-4


@pytest.mark.parametrize("fixture, name, kinds", [
    ("xlmr-m3", "bge-m3", {"cosine", "sparse", "colbert"}),
    ("xlmr-ce", "bge-reranker-v2-m3", {"logit"})])
def test_other_weights_do_not_and_that_is_an_error(tamis, fixture, name, kinds):
    done = tamis("verify", "-m", fixture_model(fixture), "--as", name, status=65)
    rows = [line.split() for line in done.text.splitlines()[1:]]
    assert {row[0] for row in rows} == kinds and "!" in done.text
    assert "differ by more than they may" in done.err and "weights" in done.err


def test_a_name_that_nobody_published_lists_those_that_are_known(tamis):
    done = tamis("verify", "-m", fixture_model("xlmr-ce"), status=66)
    assert "xlmr-ce" in done.err and "bge-reranker-v2-m3" in done.err and "bge-m3" in done.err


def test_values_of_a_file_are_compared(tamis, tmp_path):
    model = fixture_model("xlmr-ce")
    case = json.loads((model / "golden.json").read_text())["cases"][0]
    result = tamis("rerank", "-m", model, "--format", "jsonl", case["query"],
                   case["passage"]).lines[0]["results"][0]
    pair = [case["query"], case["passage"]]
    file = tmp_path / "values.json"

    def write(*entries):
        file.write_text(json.dumps(entries))
    good = {"model": "someone/xlmr-ce", "kind": "rerank_logit", "items": [[*pair, result["logit"]]]}
    sigmoid = {"model": "xlmr-ce", "kind": "rerank_sigmoid", "items": [[*pair, result["score"]]]}
    other = {"model": "xlmr-ce", "kind": "dense_sim", "items": {}}
    write(good, other, sigmoid, {**good, "model": "other"})
    rows = tamis("verify", "-m", model, "--values", file).text.splitlines()
    assert [row.split()[0] for row in rows] == ["what", "logit", "sigmoid"]
    write({**good, "items": [[*pair, result["logit"] + 1]]})
    assert "!" in tamis("verify", "-m", model, "--values", file, status=65).text
    write(other)
    assert "xlmr-ce" in tamis("verify", "-m", model, "--values", file, status=66).err
    write({**good, "items": [pair]})
    assert "2 parts" in tamis("verify", "-m", model, "--values", file, status=65).err
    file.write_text("{")
    assert "values.json" in tamis("verify", "-m", model, "--values", file, status=65).err

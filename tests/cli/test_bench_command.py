"""tamis bench. What it measures is not asserted; what it says about it is."""
import json

import pytest

from conftest import request

QUICK = ("--seconds", "0", "--dtype", "f32,int8", "--threads", "1,2")


def test_a_row_for_each_dtype_thread_count_and_amount_of_work(tamis, tiny):
    report = tamis("bench", "-m", tiny, *QUICK, "--lengths", "5,16", "--format", "json").json
    assert report["isa"] and report["cores"] >= 1
    rows = report["rows"]
    assert [(row["dtype"], row["threads"]) for row in rows] == [
        (dtype, threads) for dtype in ("f32", "int8") for threads in (1, 2) for _ in range(4)]
    assert {row["work"] for row in rows} == {"1 x 5", "819 x 5", "1 x 16", "256 x 16"}
    for row in rows:
        count, length = map(int, row["work"].split(" x "))
        assert row["sequences"] == count and row["tokens"] == count * length
        assert row["times"] >= 3
        assert 0 < row["best_ms"] <= row["median_ms"] <= row["worst_ms"]
        assert row["sequences_per_s"] == pytest.approx(1000 * count / row["median_ms"])
        assert row["share_of_peak"] == pytest.approx(
            row["operations_per_s"] / row["peak_operations_per_s"])
        assert row["weight_bytes"] > 0 and row["workspace_bytes"] > 0


def test_operations_are_those_of_the_layers(tamis, tiny):
    row = tamis("bench", "-m", tiny, "--seconds", "0", "--dtype", "f32", "--threads", "1",
                "--lengths", "7", "--format", "json").json["rows"][0]
    c = json.loads((tiny / "config.json").read_text())
    h, f, layers, t = c["hidden_size"], c["intermediate_size"], c["num_hidden_layers"], 7
    rows = t * (layers - 1) + 1  # of the last layer one row is computed beyond keys and values
    operations = 2 * (layers * t * 2 * h * h + rows * (2 * h * h + 2 * h * f)) + 4 * rows * t * h
    assert row["operations_per_s"] * row["median_ms"] / 1000 == pytest.approx(operations)


def test_requests_of_ones_own(tamis, tiny, tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_text(request("a query", "one passage", "another") + "\n" + request("b", "c"))
    rows = tamis("bench", "-m", tiny, *QUICK, "--input", path, "--format", "json").json["rows"]
    assert [row["work"] for row in rows] == ["requests"] * 4
    assert {row["sequences"] for row in rows} == {3}


def test_embedders_are_measured_too(tamis, embedder):
    out = tamis("bench", "-m", embedder, *QUICK, "--lengths", "8").text
    assert "texts/s" in out and "texts a second of 8 tokens" in out


def test_the_table_ends_in_an_answer(tamis, tiny):
    result = tamis("bench", "-m", tiny, *QUICK, "--lengths", "8")
    assert "This machine at its best:" in result.text
    assert "pairs a second of 8 tokens on average, 100 in" in result.text
    assert "tamis: int8, 2 threads" in result.err
    assert tamis("bench", "-m", tiny, *QUICK, "--lengths", "8", "--quiet").err == ""


@pytest.mark.parametrize("arguments, said", [
    (("--dtype", "f99"), "f99"), (("--threads", "0"), "--threads"), (("--lengths", "0"), "--lengths"),
    (("--lengths", "x"), "--lengths"), (("--seconds", "-1"), "--seconds")])
def test_wrong_arguments_are_named(tamis, tiny, arguments, said):
    result = tamis("bench", "-m", tiny, *arguments, status=64)
    assert said in result.err and "see 'tamis bench --help'" in result.err


def test_no_requests_is_an_error(tamis, tiny):
    result = tamis("bench", "-m", tiny, "--input", "-", status=None)
    assert result.status != 0 and "expected requests" in result.err


def test_an_unknown_instruction_set_lists_those_that_exist(tamis, tiny):
    result = tamis("bench", "-m", tiny, *QUICK, "--isa", "mmx", status=64)
    assert "mmx" in result.err

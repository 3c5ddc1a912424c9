"""tamis distill, mine, split: FlagEmbedding's scripts around its training data."""
import json

import pytest
from conftest import FIXTURES

LINES = [{"query": "what is a tamis", "pos": ["a drum sieve"], "neg": ["the sky", "a river"], "type": "normal"},
         {"query": "what runs downhill", "pos": ["a river", "water"], "neg": ["a star"], "id": 7, "pos_scores": [1, 2]},
         {"query": "x", "pos": ["the sky"], "neg": ["flour"]}]


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(line) + "\n\n" for line in LINES))
    return path


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_distill_adds_a_rerankers_logits(tamis, data, tmp_path):
    out = tmp_path / "scored.jsonl"
    tamis("distill", "-m", FIXTURES / "xlmr-ce", data, out)
    for line, scored in zip(LINES, read(out), strict=True):
        ranked = tamis("rerank", "-m", FIXTURES / "xlmr-ce", "--format", "json", line["query"],
                       *line["pos"], *line["neg"]).json["results"]
        logits = [r["logit"] for r in sorted(ranked, key=lambda r: r["index"])]
        assert scored["pos_scores"] + scored["neg_scores"] == pytest.approx(logits, abs=1e-6)
        assert {k: scored[k] for k in line if k != "pos_scores"} == {k: v for k, v in line.items() if k != "pos_scores"}
    tamis("train", "reranker", "--model_name_or_path", FIXTURES / "xlmr-ce", "--train_data", out, "--output_dir",
          tmp_path / "m", "--knowledge_distillation", "--max_steps", "1", "--train_group_size", "2",
          "--passage_max_len", "30", "--query_max_len", "12")


def test_distill_goes_on_where_it_was_ended(tamis, data, tmp_path):
    whole, part = tmp_path / "whole.jsonl", tmp_path / "part.jsonl"
    tamis("distill", "-m", FIXTURES / "xlmr-ce", data, whole)
    lines = whole.read_text().splitlines(keepends=True)
    part.write_text(lines[0] + lines[1][:20])  # killed in the middle of a line
    assert "--resume" in tamis("distill", "-m", FIXTURES / "xlmr-ce", data, part, status=64).err
    tamis("distill", "-m", FIXTURES / "xlmr-ce", data, part, "--resume")
    assert part.read_text() == whole.read_text()


def test_mine_draws_what_is_near_and_not_positive(tamis, data, tmp_path):
    out = tmp_path / "mined.jsonl"
    arguments = ["mine", "-m", FIXTURES / "xlmr-bi-cls-norm", "--range_for_sampling", "0-6", "--negative_number", "3"]
    tamis(*arguments, data, out)
    pool = {text for line in LINES for text in line["pos"] + line["neg"]}
    for line, mined in zip(LINES, read(out), strict=True):
        assert len(set(mined["neg"])) == 3 and set(mined["neg"]) <= pool - set(line["pos"])
        assert mined["pos"] == line["pos"] and list(mined) == list(line)
    again = tmp_path / "again.jsonl"
    tamis(*arguments, data, again)
    assert again.read_text() == out.read_text()
    other = tmp_path / "other.jsonl"
    tamis(*arguments, "--seed", "1", data, other)
    assert other.read_text() != out.read_text()


def test_mine_takes_the_nearest_of_a_pool(tamis, data, tmp_path):
    texts = ["what is a tamis", "a drum sieve", "moon", "stone", "what runs downhill"]
    pool = tmp_path / "pool.jsonl"
    pool.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    out = tmp_path / "mined.jsonl"
    tamis("mine", "-m", FIXTURES / "xlmr-bi-cls-norm", "--candidate_pool", pool, "--range_for_sampling", "0-2",
          "--negative_number", "1", data, out)
    for line, mined in zip(LINES, read(out), strict=True):
        assert mined["neg"][0] not in [*line["pos"], line["query"]]


def test_mine_leaves_out_what_may_be_an_answer(tamis, data, tmp_path):
    """Nothing is nearer than the positive passage less a margin of 2: all are random then."""
    out = tmp_path / "mined.jsonl"
    tamis("mine", "-m", FIXTURES / "xlmr-bi-cls-norm", "--range_for_sampling", "0-100", "--margin", "2", "--negative_number", "2",
          data, out)
    assert all(len(line["neg"]) == 2 for line in read(out))


def test_split_goes_by_the_longest_text(tamis, tmp_path):
    data = tmp_path / "d.jsonl"
    data.write_text("".join(json.dumps({"query": "a", "pos": ["b " * n], "neg": ["c"]}) + "\n" for n in (1, 30, 9, 60)))
    tamis("split", "-m", FIXTURES / "xlmr-ce", data, tmp_path / "parts", "--bounds", "0", "10", "60")
    counts = {path.name: len(path.read_text().splitlines()) for path in (tmp_path / "parts").iterdir()}
    lengths = [max(len(tamis("tokenize", "-m", FIXTURES / "xlmr-ce", text).json["ids"])
                   for text in ("a", "b " * n, "c")) for n in (1, 30, 9, 60)]
    want = {}
    for n in lengths:
        name = "d_len-0-10.jsonl" if n < 10 else "d_len-10-60.jsonl" if n < 60 else "d_len-60-inf.jsonl"
        want[name] = want.get(name, 0) + 1
    assert counts == want


@pytest.mark.parametrize("command, more, status, message", [
    ("distill", [], 65, "bad.jsonl:1: pos: expected an array, got a string"),
    ("mine", [], 65, "bad.jsonl:1: pos: expected an array, got a string"),
    ("split", [], 65, "bad.jsonl:1: pos: expected an array, got a string"),
    ("mine -", [], 64, "read twice"),
    ("mine", ["--range_for_sampling", "9"], 64, "expected two ranks as in 10-210"),
    ("split", ["--bounds", "5", "2"], 64, "ascending numbers from 0"),
])
def test_what_is_wrong_is_said(tamis, tmp_path, command, more, status, message):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"query": "q", "pos": "p", "neg": ["n"]}\n')
    command, *data = [*command.split(), bad][:2]
    model = FIXTURES / ("xlmr-bi-cls-norm" if command == "mine" else "xlmr-ce")
    assert message in tamis(command, "-m", model, *data, tmp_path / "out", *more, status=status).err

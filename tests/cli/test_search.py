"""tamis index and search."""
import json

import pytest

from conftest import fixture_model

M3 = fixture_model("xlmr-m3")
TEXTS = ["the cat sat on the mat", "a drum sieve of fine horsehair", "the sky is blue today",
         "what is a cat", "flour falls through a sieve"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    file = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    lines = [{"id": f"doc{i}", "text": t} for i, t in enumerate(TEXTS)]
    lines[1]["title"] = "Tamis"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


@pytest.fixture(scope="module")
def index(tamis, corpus, tmp_path_factory):
    path = tmp_path_factory.mktemp("index") / "corpus.index"
    done = tamis("index", corpus, "-o", path, "-m", M3, "--sparse", "--max-length", "64")
    assert "5 passages" in done.err
    return path


def hits(tamis, index, *options):
    return tamis("search", index, "--format", "jsonl", *options).lines[0]["hits"]


def test_a_passage_finds_itself_first_in_every_mode(tamis, index):
    for mode in ("dense", "sparse", "hybrid"):
        for i in (0, 2, 3, 4):
            found = hits(tamis, index, "--mode", mode, TEXTS[i])
            assert (found[0]["id"], found[0]["rank"], found[0]["text"]) == (f"doc{i}", 1, TEXTS[i])
            assert [h["score"] for h in found] == sorted((h["score"] for h in found), reverse=True)
    assert hits(tamis, index, "Tamis " + TEXTS[1])[0]["id"] == "doc1"  # with its title
    assert len(hits(tamis, index, "-k", "2", "a cat")) == 2


def test_colbert_and_a_reranker_order_anew(tamis, index):
    colbert = hits(tamis, index, "--rerank", "colbert", TEXTS[3])
    assert colbert[0]["id"] == "doc3" and colbert[0]["score"] == pytest.approx(1, abs=1e-4)
    reranker = fixture_model("xlmr-ce")
    got = hits(tamis, index, "--rerank", reranker, "where is the cat")
    texts = [h["text"] for h in hits(tamis, index, "where is the cat")]
    want = tamis("rerank", "-m", reranker, "--format", "jsonl", "where is the cat",
                 *texts).lines[0]["results"]
    assert [h["text"] for h in got] == [texts[r["index"]] for r in want]
    assert [h["score"] for h in got] == pytest.approx([r["logit"] for r in want], abs=1e-4)


def test_queries_by_lines_and_as_a_table(tamis, index):
    stdin = "".join(json.dumps({"text": t}) + "\n" for t in TEXTS[2:4])
    lines = tamis("search", index, "--format", "jsonl", stdin=stdin).lines
    assert [line["hits"][0]["id"] for line in lines] == ["doc2", "doc3"]
    table = tamis("search", index, TEXTS[2]).text.splitlines()
    assert table[0].split()[0] == "1" and "doc2" in table[0] and TEXTS[2] in table[0]


def test_the_index_is_what_numpy_reads(index):
    numpy = pytest.importorskip("numpy")
    rows = numpy.load(index / "dense.npy")
    assert rows.shape == (5, 32) and rows.dtype == numpy.float32
    ids = [json.loads(line)["id"] for line in (index / "passages.jsonl").read_text().splitlines()]
    assert ids == [f"doc{i}" for i in range(5)]


def test_bad_input_leaves_no_index(tamis, corpus, tmp_path):
    out = tmp_path / "index"
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "a"}\n{"txet": "b"}\n')
    assert "bad.jsonl:2" in tamis("index", bad, "-o", out, "-m", M3, status=65).err
    assert not any(out.iterdir()) if out.exists() else True
    bad.write_text("")
    assert "empty" in tamis("index", bad, "-o", out, "-m", M3, status=64).err
    assert "sparse_linear.pt" in tamis("index", corpus, "-o", out, "-m",
                                       fixture_model("xlmr-bi-mean"), "--sparse", status=64).err
    assert "index.json" in tamis("search", tmp_path / "away", "q", status=66).err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    assert "empty" in tamis("index", corpus, "-o", tmp_path / "full", "-m", M3, status=64).err

"""tamis embed, tokenize, inspect."""
import json
import math

import pytest

from conftest import fixture_model


def text_lines(*texts) -> str:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts)


def golden_cases(model):
    return json.loads((model / "golden.json").read_text())["cases"]


def test_embed_arguments_and_lines_agree(tamis, embedder):
    texts = ["a sieve", "", "flour", "[x]"]
    lines = tamis("embed", "-m", embedder, "--input", "-", stdin=text_lines(*texts))
    assert tamis("embed", "-m", embedder, stdin=text_lines(*texts)).out == lines.out
    arguments = tamis("embed", "-m", embedder, *texts).lines
    assert len(arguments) == len(texts)
    for got, want in zip(lines.lines, arguments, strict=True):
        assert list(got) == ["embedding"]
        assert got["embedding"] == pytest.approx(want["embedding"], abs=1e-5)
        assert math.hypot(*got["embedding"]) == pytest.approx(1, abs=1e-5)


def test_embed_json_is_one_list(tamis, embedder):
    texts = ["a sieve", "flour"]
    assert tamis("embed", "-m", embedder, "--format", "json", *texts).json == tamis(
        "embed", "-m", embedder, *texts).lines
    assert len(tamis("embed", "-m", embedder, "--format", "json", "-i", "-",
                     stdin=text_lines(*texts)).json) == 2


def test_embed_pooling_changes_the_vectors(tamis, embedder):
    def embed(*more):
        return tamis("embed", "-m", embedder, *more, "a sieve for flour").lines[0]["embedding"]
    assert embed("--pooling", "mean") == embed()
    assert embed("--pooling", "cls") != embed() != embed("--pooling", "last")


def test_embed_bad_line(tamis, embedder):
    text = text_lines("a") + '{"query":"q","passage":"p"}\n' + text_lines("b")
    done = tamis("embed", "-m", embedder, stdin=text, status=65)
    assert len(done.lines) == 1 and "standard input:2: " in done.err and "text" in done.err
    done = tamis("embed", "-m", embedder, "--keep-going", stdin=text, status=65)
    assert [list(line) for line in done.lines] == [["embedding"], ["error"], ["embedding"]]


def test_embed_timings(tamis, embedder):
    done = tamis("embed", "-m", embedder, "--timings", "--repeat", "2", "a", "b")
    report = json.loads(done.err.splitlines()[-1])
    assert report["texts"] == 2 and len(report["total_ms_all"]) == 2


def test_embed_refuses_a_cross_encoder(tamis, tiny):
    assert "cross-encoder" in tamis("embed", "-m", tiny, "x", status=64).err


@pytest.mark.parametrize("name", ["xlmr-ce", "bert-ce"])
def test_tokenize_gives_the_ids_of_the_goldens(tamis, name):
    model = fixture_model(name)
    by_length = {}
    for case in golden_cases(model):
        by_length.setdefault(case["max_length"], []).append(case)
    for max_length, cases in by_length.items():
        lines = "".join(json.dumps({"query": case["query"], "passage": case["passage"]}) + "\n"
                        for case in cases)
        done = tamis("tokenize", "-m", model, "--max-length", str(max_length), stdin=lines).lines
        assert [line["ids"] for line in done] == [case["ids"] for case in cases]


def test_tokenize_cuts_only_when_told(tamis, tiny):
    pair = json.dumps({"query": "sieve " * 50, "passage": "flour " * 500})
    whole = tamis("tokenize", "-m", tiny, stdin=pair).lines[0]["ids"]
    assert len(whole) > 550
    lengths = {}
    for rule in ("flagembedding", "longest_first"):
        cut = tamis("tokenize", "-m", tiny, "--max-length", "40", "--truncation", rule, stdin=pair)
        lengths[rule] = cut.lines[0]["ids"]
        assert len(lengths[rule]) == 40
    assert lengths["flagembedding"] != lengths["longest_first"]
    done = tamis("tokenize", "-m", tiny, "--max-length", "40", "--truncation", "only_second",
                 stdin=pair, status=64)
    assert "standard input:1: " in done.err and "only_second" in done.err


def test_tokenize_pieces(tamis, tiny):
    (line,) = tamis("tokenize", "-m", tiny, "--tokens", "a sieve").lines
    assert len(line["tokens"]) == len(line["ids"]) and all(line["tokens"])
    assert "tokens" not in tamis("tokenize", "-m", tiny, "a sieve").lines[0]


def test_tokenize_text_beats_pair_and_bad_lines_are_named(tamis, tiny):
    both = json.dumps({"text": "a", "query": "b", "passage": "c"})
    assert tamis("tokenize", "-m", tiny, stdin=both).lines == tamis("tokenize", "-m", tiny,
                                                                   "a").lines
    done = tamis("tokenize", "-m", tiny, stdin='{"query":"q"}', status=65)
    assert "passage" in done.err


def test_tokenize_json(tamis, tiny):
    done = tamis("tokenize", "-m", tiny, "--format", "json", "a", "b")
    assert done.json == tamis("tokenize", "-m", tiny, "a", "b").lines


def test_inspect(tamis, tiny):
    text = tamis("inspect", tiny).text
    described = tamis("inspect", "-m", tiny, "--format", "json").json
    assert described["kind"] == "cross_encoder" and described["architecture"] in text
    assert described["memory"]["weight_bytes"] > 0 and described["isas"]
    assert described["parameters"] > 0 and str(described["max_length"]) in text
    names = [tensor["name"] for tensor in described["tensors"]]
    assert names == sorted(names)
    every = tamis("inspect", tiny, "--all").text
    assert all(name in every for name in names)
    assert len(text.splitlines()) < len(every.splitlines())


def test_inspect_embedder_and_labels(tamis, embedder, labels):
    described = tamis("inspect", embedder, "--format", "json").json
    assert described["pooling"] == "mean" and described["normalize"] is True
    assert len(tamis("inspect", labels, "--format", "json").json["labels"]) == 2


def test_inspect_lists_ignored_tensors(tamis):
    for name in ("bert-ce-old-names", "xlmr-ce-extra-rows", "bert-bi-cls"):
        model = fixture_model(name)
        described = tamis("inspect", model, "--format", "json").json
        ignored = [tensor["name"] for tensor in described["tensors"] if not tensor["used"]]
        assert ("ignored tensors" in tamis("inspect", model).text) == bool(ignored)

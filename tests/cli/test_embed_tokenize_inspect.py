"""tamis embed, tokenize, inspect."""
import json
import math
import subprocess

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


M3 = fixture_model("xlmr-m3")


def test_embed_gives_the_three_outputs_of_bge_m3(tamis):
    golden = json.loads((M3.parents[2] / "golden/flagembedding.json").read_text())
    model = next(m for m in golden["models"] if m["class"] == "M3Embedder")
    call = [c for c in model["calls"] if c["method"] == "encode"][1]
    lines = tamis("embed", "-m", M3, "--sparse", "--colbert", "--max-length", "64",
                  stdin=text_lines(*call["args"][0])).lines
    want = call["result"]
    width = want["dense_vecs"]["shape"][1]
    for i, line in enumerate(lines):
        assert list(line) == ["embedding", "sparse", "colbert"]
        assert line["embedding"] == pytest.approx(
            want["dense_vecs"]["values"][i * width:(i + 1) * width], abs=1e-5)
        assert list(line["sparse"]) == list(want["lexical_weights"][i])
        assert line["sparse"] == pytest.approx(want["lexical_weights"][i], abs=1e-4)
        flat = [x for row in line["colbert"] for x in row]
        assert flat == pytest.approx(want["colbert_vecs"][i]["values"], abs=1e-4)
    alone = tamis("embed", "-m", M3, "--sparse", "--no-dense", "a text").lines[0]
    assert list(alone) == ["sparse"]
    assert "sparse_linear.pt" in tamis("embed", "-m", fixture_model("xlmr-bi-mean"), "--sparse",
                                       "a", status=64).err


def test_heads_survive_quantize_and_the_packed_cache(tamis, tmp_path):
    def outputs(model, *options):
        return tamis("embed", "-m", model, "--sparse", "--colbert", *options, "the cat sat").out
    plain = outputs(M3)
    for _ in range(2):  # made, then mapped
        assert outputs(M3, "--cache", tmp_path / "cache") == plain
    requests = tmp_path / "requests.jsonl"
    requests.write_text(json.dumps({"query": "a cat", "passages": ["the cat sat", "a drum"]}))
    tamis("quantize", M3, tmp_path / "int8", "--calibrate", requests)
    assert not (tmp_path / "int8" / "sparse_linear.pt").exists()  # it is among the weights now
    got, want = (json.loads(text) for text in (outputs(tmp_path / "int8"), plain))
    assert got["embedding"] == pytest.approx(want["embedding"], abs=0.02)
    assert got["sparse"] == pytest.approx(want["sparse"], abs=0.1)


def test_embed_cuts_and_normalizes(tamis):
    def vector(*options):
        return tamis("embed", "-m", M3, *options, "a text").lines[0]["embedding"]
    cut = vector("--dimension", "8")
    assert len(cut) == 8 and math.hypot(*cut) == pytest.approx(1, abs=1e-5)
    raw = vector("--dimension", "8", "--normalize", "no")
    assert math.hypot(*raw) != pytest.approx(1, abs=1e-2)
    assert [x / math.hypot(*raw) for x in raw] == pytest.approx(cut, abs=1e-5)
    assert "32" in tamis("embed", "-m", M3, "--dimension", "33", "a", status=64).err


def test_embed_puts_the_instruction_before_the_text(tamis):
    def vector(text, *options):
        return tamis("embed", "-m", M3, *options, text).lines[0]["embedding"]
    assert vector("a cat", "--instruction", "query: ") == vector("query: a cat")
    assert vector("a cat", "--instruction", "Find", "--instruction-format", "Do: {}\\nFor: {}") == \
        vector("Do: Find\nFor: a cat")
    assert "twice" in tamis("embed", "-m", M3, "--instruction-format", "{}", "a", status=64).err


def test_embed_writes_npy(tamis, tmp_path):
    numpy = pytest.importorskip("numpy")
    texts = [f"text number {i}" for i in range(300)]
    file = tmp_path / "rows.npy"
    tamis("embed", "-m", M3, "--format", "npy", "-o", file, stdin=text_lines(*texts))
    rows = numpy.load(file)
    assert rows.dtype == numpy.float32 and rows.shape == (300, 32)
    want = [line["embedding"] for line in tamis("embed", "-m", M3, stdin=text_lines(*texts)).lines]
    numpy.testing.assert_allclose(rows, want, atol=1e-5)
    tamis("embed", "-m", M3, "--format", "npy", "--number", "f16", "-o", file, "a", "b")
    half = numpy.load(file)
    assert half.dtype == numpy.float16 and half.shape == (2, 32)
    tamis("embed", "-m", M3, "--format", "npy", "-o", file, stdin="")
    assert numpy.load(file).shape[0] == 0


def test_embed_appends_npy_to_nothing(tamis, tmp_path):
    numpy = pytest.importorskip("numpy")
    file = tmp_path / "rows.npy"
    for mode, status in (("wb", 0), ("ab", 64)):
        with file.open(mode) as out:
            done = subprocess.run([tamis.path, "embed", "-m", M3, "--format", "npy", "a", "b"],
                                  stdout=out, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert numpy.load(file).shape == (2, 32)


@pytest.mark.parametrize("options, word", [
    (["--format", "npy"], "--output"), (["--format", "npy", "-o", "x", "--sparse"], "jsonl"),
    (["--format", "npy", "-o", "x", "--keep-going"], "--keep-going"), (["--number", "f16"], "npy")])
def test_embed_refuses_what_npy_cannot_hold(tamis, tmp_path, options, word):
    done = tamis("embed", "-m", M3, *options, "a", status=64, cwd=tmp_path)
    assert word in done.err and not (tmp_path / "x").exists()


def test_splade_gives_lexical_weights(tamis):
    golden = json.loads((M3.parents[2] / "golden/splade.json").read_text())
    cases = next(m for m in golden["models"] if m["model"] == "bert-bi-cls")["cases"]
    model = fixture_model("bert-bi-cls")
    lines = tamis("embed", "-m", model, "--pooling", "splade", "--sparse", "--no-dense",
                  "--max-length", "60", stdin=text_lines(*[c["text"] for c in cases])).lines
    for line, case in zip(lines, cases, strict=True):
        assert {key: line["sparse"][key] for key in case["weights"]} == pytest.approx(
            case["weights"], abs=1e-4)
    assert "ask for sparse" in tamis("embed", "-m", model, "--pooling", "splade", "a",
                                     status=64).err


def test_inspect_names_the_heads(tamis):
    text = tamis("inspect", M3).text
    assert "sparse head" in text and "colbert head    32" in text
    info = tamis("inspect", "--format", "json", M3).json
    assert info["sparse"] is True and info["colbert_dimension"] == 32


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

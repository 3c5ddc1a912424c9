"""tamis rerank --input: JSON lines in, JSON lines out."""
import json
import os
import select
import shutil
import subprocess
import time

import pytest

from conftest import ROOT, request

GOLDEN = ROOT / "models" / "tamis-reranker-small" / "golden.jsonl"


def batch(tamis, model, stdin, *more, **options):
    return tamis("rerank", "-m", model, "--input", "-", *more, stdin=stdin, **options)


def test_results_come_in_the_order_of_the_requests(tamis, tiny):
    lines = [request(f"query {i}", *[f"passage {j} " * (j % 5) for j in range(i % 7 + 1)])
             for i in range(200)]
    done = batch(tamis, tiny, "".join(lines)).lines
    assert [len(line["results"]) for line in done] == [i % 7 + 1 for i in range(200)]
    for i in (0, 6, 111):
        query, passages = (json.loads(lines[i])[key] for key in ("query", "passages"))
        alone = tamis("rerank", "-m", tiny, "--format", "jsonl", query, *passages).json["results"]
        for got, want in zip(done[i]["results"], alone, strict=True):
            assert got["index"] == want["index"] or got["logit"] == pytest.approx(want["logit"],
                                                                                  abs=1e-5)
            assert got["logit"] == pytest.approx(want["logit"], abs=1e-5)


def test_file_and_standard_input_give_the_same(tamis, tiny, tmp_path):
    text = request("a", "b", "c") + "\n" + request("ü", "你好") + "   \n" + request("", "")
    path = tmp_path / "requests.jsonl"
    path.write_text(text)
    done = batch(tamis, tiny, text)
    assert tamis("rerank", "-m", tiny, "--input", path).out == done.out
    assert len(done.lines) == 3  # empty lines are passed over


def test_no_lines_no_results(tamis, tiny):
    assert batch(tamis, tiny, "").out == b""
    assert batch(tamis, tiny, "\n\n", "--format", "json").json == []


def test_other_members_are_ignored_and_top_n_counts(tamis, tiny):
    line = json.dumps({"id": 7, "passages": ["a", "b", "c"], "query": "q", "more": [{}]})
    assert len(batch(tamis, tiny, line, "--top-n", "2").lines[0]["results"]) == 2


def test_json_is_one_list(tamis, tiny):
    text = request("a", "b") * 3 + "oops\n"
    done = batch(tamis, tiny, text, "--format", "json", "--keep-going", status=65).json
    assert [list(item) for item in done] == [["results"]] * 3 + [["error"]]


def test_tables(tamis, tiny):
    text = batch(tamis, tiny, request("eins", "a") + request("zwei", "b"), "--format", "table").text
    assert text.count("query: ") == 2 and text.index("eins") < text.index("zwei")


BAD = {
    "not JSON": (b"{oops", "not valid JSON"),
    "not an object": (b"[1, 2]", "JSON object"),
    "no query": (b'{"passages":["a"]}', "query"),
    "query of another kind": (b'{"query":3,"passages":["a"]}', "expected a string"),
    "no passages": (b'{"query":"q"}', "passages"),
    "passages of another kind": (b'{"query":"q","passages":"a"}', "expected an array"),
    "a passage of another kind": (b'{"query":"q","passages":["a",null]}', "passages[1]"),
    "empty list": (b'{"query":"q","passages":[]}', "empty list"),
    "lone surrogate": (b'{"query":"\\ud800","passages":["a"]}', "not valid JSON"),
    "cut off": (b'{"query":"q","passages":["a"', "not valid JSON"),
    "two values": (b'{"query":"q","passages":["a"]} {}', "not valid JSON"),
    "deep nesting": (b'{"query":' + b"[" * 5000 + b"]" * 5000 + b"}", "not valid JSON"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_ends_the_run_after_all_earlier_results(tamis, tiny, name):
    line, words = BAD[name]
    good = request("q", "a", "b").encode()
    done = batch(tamis, tiny, good * 3 + line + b"\n" + good, status=65)
    assert len(done.lines) == 3
    assert "standard input:4: " in done.err and words in done.err


@pytest.mark.parametrize("name", BAD)
def test_keep_going_puts_an_error_in_its_place(tamis, tiny, name):
    line, words = BAD[name]
    good = request("q", "a", "b").encode()
    done = batch(tamis, tiny, good + line + b"\n" + good, "--keep-going", status=65)
    first, error, last = done.lines
    assert first == last and list(error) == ["error"]
    assert error["error"]["line"] == 2 and error["error"]["code"] == "data_loss"
    assert words in error["error"]["message"]


def test_a_bad_line_names_its_file(tamis, tiny, tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_text(request("q", "a") + "\n\n{}\n")
    done = tamis("rerank", "-m", tiny, "--input", path, status=65)
    assert f"{path}:4: " in done.err


def test_ill_formed_utf8_in_json_is_repaired(tamis, tiny):
    done = batch(tamis, tiny, b'{"query":"caf\xe9","passages":["\xff\xfe","ok"]}\n')
    assert "3 ill-formed UTF-8 sequences" in done.err
    same = batch(tamis, tiny, request("caf\ufffd", "\ufffd\ufffd", "ok"))
    assert done.out == same.out and same.err == ""


def test_escaped_nul_is_data(tamis, tiny):
    assert len(batch(tamis, tiny, request("a\0b", "\0")).lines) == 1


def test_a_line_fed_alone_is_answered_at_once(tamis, tiny):
    with tamis.start("rerank", "-m", tiny, "--input", "-", stdin=subprocess.PIPE,
                     stdout=subprocess.PIPE) as process:
        for i in range(3):
            process.stdin.write(request(f"q{i}", "a", "b").encode())
            process.stdin.flush()
            assert select.select([process.stdout], [], [], 30)[0], "no answer while input is open"
            assert len(json.loads(process.stdout.readline())["results"]) == 2
        process.stdin.close()
        assert process.stdout.read() == b""
    assert process.returncode == 0


def peak_kib(pid: int) -> int:
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def test_memory_does_not_grow_with_the_input(tamis, tiny):
    # AddressSanitizer, if it is there, keeps what was freed, by default up to 256 MB of it.
    options = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"
    with tamis.start("rerank", "-m", tiny, "--max-length", "8", "--threads", "1", "--input", "-",
                     stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                     env={"ASAN_OPTIONS": options}) as process:
        block = request("q", "word " * 2000).encode() * 100  # 1 MB
        for _ in range(4):
            process.stdin.write(block)
        early = peak_kib(process.pid)
        for _ in range(16):
            process.stdin.write(block)
        late = peak_kib(process.pid)
        process.stdin.close()
    assert process.returncode == 0
    assert late - early < 8 << 10


def test_keep_going_is_not_slowed_down_by_a_closed_input(tamis, tiny):
    started = time.monotonic()
    batch(tamis, tiny, b"x\n" * 2000, "--keep-going", status=65)
    assert time.monotonic() - started < 60


def test_golden_logits(tamis, real):
    golden = [json.loads(line) for line in GOLDEN.read_text().splitlines()]
    if tamis.sanitized:  # all of them take minutes
        golden = golden[:6]
    text = "".join(request(case["query"], case["passage"]) for case in golden)
    for line, case in zip(batch(tamis, real, text).lines, golden, strict=True):
        (result,) = line["results"]
        assert result["tokens"] == case["tokens"]
        assert result["logit"] == pytest.approx(case["logit"], abs=1e-4)


def test_golden_logits_by_the_default_model(tamis, real):
    if tamis.path.resolve().parents[2] != ROOT:
        pytest.skip("the program does not lie in build/<preset> of this tree")
    case = json.loads(GOLDEN.read_text().splitlines()[0])
    done = tamis("rerank", "--format", "jsonl", case["query"], case["passage"])
    assert done.json["results"][0]["logit"] == pytest.approx(case["logit"], abs=1e-4)


def test_weights_cut_under_a_running_process_are_an_error(tamis, tiny, tmp_path):
    """Word rows are read, not mapped: no SIGBUS."""
    model = shutil.copytree(tiny, tmp_path / "model")
    process = tamis.start("rerank", "-m", model, "--input", "-", stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdin.write(request("a query", "a passage"))
    process.stdin.flush()
    assert "results" in process.stdout.readline()
    os.truncate(model / "model.safetensors", 3000)
    out, err = process.communicate(request("another query", "a passage"), timeout=60)
    assert process.returncode == 65 and out == ""
    assert "it was cut while in use" in err

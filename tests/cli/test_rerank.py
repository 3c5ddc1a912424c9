"""tamis rerank QUERY PASSAGE...: where texts come from, and the formats."""
import json

import pytest

PASSAGES = ["hi", "A sieve lets the fine flour pass.", "", "大熊猫是中国的动物", "hi"]


def results(tamis, model, *arguments, **more):
    return tamis("rerank", "--model", model, "--format", "jsonl", *arguments, **more).json["results"]


def test_results_are_sorted_and_ties_keep_their_order(tamis, tiny):
    found = results(tamis, tiny, "a sieve", *PASSAGES)
    assert sorted(result["index"] for result in found) == list(range(len(PASSAGES)))
    keys = [(-result["logit"], result["index"]) for result in found]
    assert keys == sorted(keys)
    order = [result["index"] for result in found]
    assert order.index(4) == order.index(0) + 1  # the same passage twice
    for result in found:
        assert list(result) == ["index", "logit", "score", "tokens", "truncated"]
        assert 0 <= result["score"] <= 1 and result["tokens"] > 0 and not result["truncated"]


def test_texts_from_arguments_file_and_standard_input_score_alike(tamis, tiny, tmp_path):
    passages = tmp_path / "passages.txt"
    passages.write_text("\n".join(PASSAGES) + "\n")
    expected = results(tamis, tiny, "a sieve", *PASSAGES)
    assert results(tamis, tiny, "--query", "a sieve", *PASSAGES) == expected
    assert results(tamis, tiny, "--query", "a sieve", "--passages-file", passages) == expected
    assert results(tamis, tiny, "a sieve", "--passages-file", "-",
                   stdin=passages.read_bytes()) == expected
    assert results(tamis, tiny, "a sieve", stdin=passages.read_bytes()) == expected


def test_lines_may_end_with_crlf_and_begin_with_a_byte_order_mark(tamis, tiny):
    plain = results(tamis, tiny, "q", stdin="one\ntwo\n\nthree")
    dressed = results(tamis, tiny, "q", stdin=b"\xef\xbb\xbfone\r\ntwo\r\n\r\nthree\r\n")
    assert plain == dressed and len(plain) == 4


def test_texts_that_look_like_syntax_stay_texts(tamis, tiny, tmp_path):
    odd = ["[a, b]", "[]", "++", "embed", "rerank", "\x01", "- x", "-5 degrees", "a=b"]
    after_dashes = ["--top-n", "-v", "--", "--help"]
    everything = odd + after_dashes
    passages = tmp_path / "passages.txt"
    passages.write_text("\n".join(everything) + "\n")
    expected = results(tamis, tiny, "--query=[q]", "--passages-file", passages)
    assert results(tamis, tiny, "--query", "[q]", *odd, "--", *after_dashes) == expected
    assert len(expected) == len(everything)


def test_empty_query_and_empty_passage_are_texts(tamis, tiny):
    assert len(results(tamis, tiny, "", "")) == 1
    assert results(tamis, tiny, "--query=", "x", "") == results(tamis, tiny, "", "x", "")


def test_top_n(tamis, tiny):
    everything = results(tamis, tiny, "a sieve", *PASSAGES)
    assert results(tamis, tiny, "--top-n", "2", "a sieve", *PASSAGES) == everything[:2]
    assert results(tamis, tiny, "-n", "99", "a sieve", *PASSAGES) == everything


def test_json_is_the_same_document_indented(tamis, tiny):
    compact = tamis("rerank", "-m", tiny, "--format", "jsonl", "q", *PASSAGES)
    indented = tamis("rerank", "-m", tiny, "--format", "json", "q", *PASSAGES)
    assert compact.json == indented.json
    assert compact.text.count("\n") == 1 and indented.text.count("\n") > 10


def test_numbers_are_written_as_short_as_they_can_be(tamis, tiny):
    text = tamis("rerank", "-m", tiny, "--format", "jsonl", "q", "a passage").text
    logit = text.split('"logit":')[1].split(",")[0]
    assert len(logit.lstrip("-").replace(".", "").lstrip("0")) <= 9  # digits that make a float


def test_table(tamis, tiny):
    found = results(tamis, tiny, "a sieve", *PASSAGES)
    lines = tamis("rerank", "-m", tiny, "a sieve", *PASSAGES).text.splitlines()
    assert lines[0].split() == ["rank", "logit", "tokens", "index", "passage"]
    for rank, (line, result) in enumerate(zip(lines[1:], found, strict=True), 1):
        cells = line.split(maxsplit=4)
        assert cells[0] == str(rank)
        assert float(cells[1]) == pytest.approx(result["logit"], abs=6e-5)
        assert cells[2:4] == [str(result["tokens"]), str(result["index"])]
        assert "".join(cells[4:]) == PASSAGES[result["index"]]


def test_sigmoid_shows_scores(tamis, tiny):
    found = results(tamis, tiny, "a sieve", *PASSAGES)
    lines = tamis("rerank", "-m", tiny, "--sigmoid", "a sieve", *PASSAGES).text.splitlines()
    assert lines[0].split()[1] == "score"
    for line, result in zip(lines[1:], found, strict=True):
        assert float(line.split()[1]) == pytest.approx(result["score"], abs=6e-5)


def test_table_marks_what_was_cut(tamis, tiny):
    text = tamis("rerank", "-m", tiny, "--max-length", "16", "q", "word " * 100, "short").text
    cut = [line for line in text.splitlines() if "16*" in line]
    assert len(cut) == 1 and text.splitlines()[-1].startswith("* ")


def test_table_cannot_be_disturbed_by_a_passage(tamis, tiny):
    text = tamis("rerank", "-m", tiny, "q", "a\tb\nc\x1b[31m\x07\u202e d").text
    assert len(text.splitlines()) == 2
    assert "\x1b" not in text and "\u202e" not in text and "a b c␛[31m␇ d" in text


def test_several_labels(tamis, labels):
    found = results(tamis, labels, "q", "one", "two", "three")
    assert [result["index"] for result in found] == [0, 1, 2]
    for result in found:
        assert list(result) == ["index", "logits", "tokens", "truncated"]
        assert len(result["logits"]) == 2
    table = tamis("rerank", "-m", labels, "q", "one", "two").text.splitlines()
    assert len(table) == 3 and len(table[1].split()) == 6


def test_an_embedder_ranks_by_cosine(tamis, embedder):
    found = results(tamis, embedder, "the sieve", "flour", "the sieve")
    assert found[0]["index"] == 1 and found[0]["logit"] == pytest.approx(1, abs=1e-5)


def test_batch_tokens_and_threads_do_not_change_scores(tamis, tiny):
    expected = results(tamis, tiny, "a sieve", *PASSAGES)
    for more in (["--batch-tokens", "8"], ["--threads", "1"], ["--threads", "3"]):
        for got, want in zip(results(tamis, tiny, *more, "a sieve", *PASSAGES), expected):
            assert got["logit"] == pytest.approx(want["logit"], abs=1e-5)


def test_isa_and_device(tamis, tiny):
    isas = tamis("inspect", tiny, "--format", "json").json["isas"]
    expected = results(tamis, tiny, "a sieve", "flour")[0]["logit"]
    for isa in isas:
        got = results(tamis, tiny, "--isa", isa, "a sieve", "flour")[0]["logit"]
        assert got == pytest.approx(expected, abs=1e-5)
    got = results(tamis, tiny, "--device", "ref", "a sieve", "flour")[0]["logit"]
    assert got == pytest.approx(expected, abs=1e-4)


def test_max_length_above_the_models_is_clamped_with_a_notice(tamis, tiny):
    limit = tamis("inspect", tiny, "--format", "json").json["max_length"]
    long = "word " * 3000
    done = tamis("rerank", "-m", tiny, "--format", "jsonl", "--max-length", "99999", "q", long)
    assert done.json["results"][0]["tokens"] <= limit
    assert "99999" in done.err and str(limit) in done.err
    quiet = tamis("rerank", "-m", tiny, "--max-length", "99999", "-q", "q", long)
    assert quiet.err == ""


def test_a_passage_of_a_megabyte(tamis, tiny):
    done = tamis("rerank", "-m", tiny, "--format", "jsonl", "q", stdin="sieve " * 180000 + "\nhi")
    cut = {result["index"]: result["truncated"] for result in done.json["results"]}
    assert cut == {0: True, 1: False}


def test_nul_bytes_are_data(tamis, tiny):
    done = tamis("rerank", "-m", tiny, "--format", "jsonl", "q", stdin=b"a\x00b\nc\n\x00\n")
    assert sorted(result["index"] for result in done.json["results"]) == [0, 1, 2]


def test_ill_formed_utf8_is_replaced_counted_and_noticed(tamis, tiny):
    done = tamis("rerank", "-m", tiny, "--format", "jsonl", "q",
                 stdin=b"caf\xe9\n\xed\xa0\x80 x\nok\n")
    assert len(done.json["results"]) == 3
    assert "4 ill-formed UTF-8 sequences in standard input" in done.err
    replaced = results(tamis, tiny, "q", "caf\ufffd", "\ufffd\ufffd\ufffd x", "ok")
    assert done.json["results"] == replaced


def test_timings(tamis, tiny):
    done = tamis("rerank", "-m", tiny, "--timings", "--repeat", "3", "q", "one", "two")
    report = json.loads(done.err.splitlines()[-1])
    assert report["pairs"] == 2 and report["tokens"] > 4
    assert len(report["inference_ms_all"]) == len(report["total_ms_all"]) == 3
    assert report["first_result_ms"] >= report["load_ms"] > 0
    once = json.loads(tamis("rerank", "-m", tiny, "--timings", "q", "one").err.splitlines()[-1])
    assert "total_ms_all" not in once

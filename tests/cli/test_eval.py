"""tamis eval: its files, and what it says of models on a data set."""
import json

import pytest
from conftest import FIXTURES

RUN = "q1 Q0 a 1 2.0 x\nq1 Q0 b 2 1.0 x\nq2 Q0 b 1 3 x\n"
QRELS = {"trec": "q1 0 b 1\nq2 0 b 2\n", "beir": "query-id\tcorpus-id\tscore\nq1\tb\t1\nq2\tb\t2\n",
         "flag": '{"qid": "q1", "docid": "b", "relevance": 1}\n{"qid": "q2", "docid": "b", "relevance": 2}\n'}


@pytest.fixture
def files(tmp_path):
    (tmp_path / "run").write_text(RUN)
    (tmp_path / "qrels").write_text(QRELS["trec"])
    return tmp_path


@pytest.mark.parametrize("layout", QRELS)
def test_judgements_in_every_layout(tamis, files, layout):
    (files / "qrels").write_text(QRELS[layout])
    answer = tamis("eval", "--qrels", files / "qrels", files / "run", "--format", "json", "--metrics", "mrr@10", "p@1").json
    metrics = answer["runs"][0]["metrics"]
    assert metrics["mrr@10"]["mean"] == 0.75 and metrics["p@1"]["mean"] == 0.5


def test_runs_in_every_layout(tamis, files):
    (files / "lines").write_text('{"query_id": "q1", "hits": [{"id": "a", "score": 2}, {"id": "b", "score": 1}]}\n'
                                 '{"query_id": "q2", "hits": [{"id": "b", "score": 3}]}\n')
    (files / "flag").write_text(json.dumps({"eval_name": "x", "search_results": {
        "q1": {"a": 2, "b": 1}, "q2": {"b": 3}}}))
    table = tamis("eval", "--qrels", files / "qrels", files / "run").text
    for name in ("lines", "flag"):
        assert tamis("eval", "--qrels", files / "qrels", files / name).text == table.replace(
            str(files / "run"), str(files / name))


def test_two_runs_are_compared(tamis, files):
    (files / "other").write_text(RUN.replace("a 1 2.0", "a 1 0.5"))
    answer = tamis("eval", "--qrels", files / "qrels", files / "run", files / "other", "--format", "json",
                   "--metrics", "ndcg_at_10").json
    assert answer["comparison"][0]["better"] == 1 and answer["comparison"][0]["p_value"] > 0.4
    text = tamis("eval", "--qrels", files / "qrels", files / "run", files / "other").text
    assert text.startswith("| run | queries | ndcg@10 |") and "difference" in text


@pytest.fixture
def dataset(tmp_path):
    """The same in BEIR's layout and in FlagEmbedding's."""
    corpus = [("d1", "a sieve", "of horsehair"), ("d2", "", "the sky is blue"), ("d3", "soup", "")]
    queries = [("q1", "what is a tamis"), ("q2", "not judged")]
    for name in ("beir", "flag"):
        (tmp_path / name).mkdir()
        key = "_id" if name == "beir" else "id"
        (tmp_path / name / "corpus.jsonl").write_text("".join(
            json.dumps({key: i, "title": title, "text": text}) + "\n" for i, title, text in corpus))
        file = "queries.jsonl" if name == "beir" else "test_queries.jsonl"
        (tmp_path / name / file).write_text("".join(json.dumps({key: i, "text": t}) + "\n" for i, t in queries))
    (tmp_path / "beir" / "qrels").mkdir()
    (tmp_path / "beir" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    (tmp_path / "flag" / "test_qrels.jsonl").write_text('{"qid": "q1", "docid": "d1", "relevance": 1}\n')
    return tmp_path


@pytest.mark.parametrize("layout", ["beir", "flag"])
def test_models_on_a_data_set(tamis, dataset, layout):
    run = dataset / "new.trec"
    answer = tamis("eval", "--dataset", dataset / layout, "--embedder", FIXTURES / "xlmr-bi-cls-norm", "--reranker",
                   FIXTURES / "xlmr-ce", "--save-run", run, "--format", "json", "--metrics", "ndcg@10", "recall@3").json
    assert [r["queries"] for r in answer["runs"]] == [1, 1]
    assert answer["runs"][0]["metrics"]["recall@3"]["mean"] == 1
    # The run that was saved is the reranker's own order.
    ranked = tamis("rerank", "-m", FIXTURES / "xlmr-ce", "--format", "json", "what is a tamis", "a sieve of horsehair",
                   "the sky is blue", "soup").json["results"]
    lines = [line.split() for line in run.read_text().splitlines()]
    assert [line[2] for line in lines] == [["d1", "d2", "d3"][r["index"]] for r in ranked]
    again = tamis("eval", "--qrels", dataset / "flag" / "test_qrels.jsonl", run, "--format", "json", "--metrics",
                  "ndcg@10").json
    assert again["runs"][0]["metrics"]["ndcg@10"] == answer["runs"][1]["metrics"]["ndcg@10"]


def test_candidates_instead_of_a_search(tamis, dataset):
    (dataset / "bm25.trec").write_text("q1 Q0 d2 1 2 x\nq1 Q0 d1 2 1 x\n")
    answer = tamis("eval", "--dataset", dataset / "beir", "--candidates", dataset / "bm25.trec", "--reranker",
                   FIXTURES / "xlmr-ce", "--format", "json").json
    assert len(answer["runs"]) == 2 and answer["comparison"]


@pytest.mark.parametrize("arguments, status, message", [
    ([], 64, "expected --qrels and one or two runs"),
    (["--qrels", "qrels"], 64, "expected --qrels and one or two runs"),
    (["--qrels", "none", "run"], 66, "none: no such file"),
    (["--qrels", "qrels", "run", "--metrics", "f1@3"], 64, 'metric "f1@3"'),
    (["--qrels", "run", "run"], 65, "run:1: expected query, document and grade"),
    (["--qrels", "qrels", "qrels"], 65, "qrels:1: expected TREC's 6 columns"),
    (["--dataset", "none", "--embedder", "x"], 66, "none: no such directory"),
    (["--dataset", ".", "--embedder", "x"], 66, "qrels/test.tsv or test_qrels.jsonl"),
])
def test_what_is_wrong_is_said(tamis, files, arguments, status, message):
    assert message in tamis("eval", *arguments, status=status, cwd=files).err

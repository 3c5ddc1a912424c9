"""tamis eval on data sets as they lie on disk: MIRACL's files, MLDR's, and what FlagEmbedding saves of both."""
import shutil

import pytest
from conftest import FIXTURES, ROOT

SETS = ROOT / "tests" / "fixtures" / "eval"
EMBEDDER = FIXTURES / "xlmr-bi-cls-norm"
DOCUMENTS = {"de-dev": {"11#0", "11#1", "12#0", "13#0"}, "en-dev": {"21#0", "22#0"},
             "en-test": {"doc-en-1", "doc-en-2", "doc-en-3"}}


@pytest.fixture
def sets(tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(SETS, tmp_path / "eval")


def run_of(path):
    """{query: [documents, the best first]} of a run in TREC's format."""
    out = {}
    for line in path.read_text().splitlines():
        query, _, document, *_ = line.split()
        out.setdefault(query, []).append(document)
    return out


def search(tamis, tmp_path, *arguments):
    """The answer, and the run that was saved."""
    run = tmp_path / "found.trec"
    answer = tamis("eval", *arguments, "--embedder", EMBEDDER, "--save-run", run, "--format", "json", "--metrics",
                   "recall@1", "recall@4").json
    return answer, run


def test_miracl_is_what_flagembedding_saves_of_it(tamis, tmp_path):
    raw, run = search(tamis, tmp_path, "--dataset", SETS / "miracl", "--dataset_names", "de", "--split", "dev")
    found = run_of(run)
    assert set(found) == {"1#0", "2#0"}, "queries without judgements do not count"
    assert all(set(documents) == DOCUMENTS["de-dev"] for documents in found.values())
    assert raw["runs"][0]["dataset"] == "de-dev" and raw["runs"][0]["queries"] == 2
    assert raw["runs"][0]["metrics"]["recall@4"]["mean"] == 1
    # Half a hit where the best of two relevant documents is first, a whole one where the only one is.
    expected = sum({"1#0": {"11#0": .5, "11#1": .5}, "2#0": {"12#0": 1}}[q].get(d[0], 0) for q, d in found.items()) / 2
    assert raw["runs"][0]["metrics"]["recall@1"]["mean"] == expected
    text = run.read_text()
    saved, run = search(tamis, tmp_path, "--dataset_dir", SETS / "saved", "--dataset-names", "de", "--splits", "dev")
    assert saved == raw and run.read_text() == text


def test_a_directory_of_one_language_is_a_data_set(tamis, tmp_path):
    answer, run = search(tamis, tmp_path, "--dataset", SETS / "miracl" / "miracl-v1.0-de", "--split", "dev")
    assert set(run_of(run)["1#0"]) == DOCUMENTS["de-dev"]
    assert "dataset" not in answer["runs"][0]


def test_mldr_brings_its_judgements_with_the_queries(tamis, tmp_path):
    answer, run = search(tamis, tmp_path, "--dataset", SETS / "mldr" / "mldr-v1.0-en")
    found = run_of(run)
    assert set(found) == {"q-en-1", "q-en-2"}
    assert all(set(documents) == DOCUMENTS["en-test"] for documents in found.values())
    hits = (found["q-en-1"][0] == "doc-en-1") + (found["q-en-2"][0] == "doc-en-3")
    assert answer["runs"][0]["metrics"]["recall@1"]["mean"] == hits / 2


def test_several_data_sets_and_splits_in_one_table(tamis, tmp_path):
    run = tmp_path / "found.trec"
    arguments = ["eval", "--dataset", SETS / "miracl", "--split", "dev", "--embedder", EMBEDDER, "--reranker",
                 FIXTURES / "xlmr-ce", "--save-run", run, "--metrics", "mrr@10", "recall@4"]
    answer = tamis(*arguments, "--format", "json").json
    assert [r["dataset"] for r in answer["runs"]] == ["de-dev", "de-dev", "en-dev", "en-dev"]
    assert [c["dataset"] for c in answer["comparison"]] == ["de-dev"] * 2 + ["en-dev"] * 2
    for i, average in enumerate(answer["average"]):
        means = [r["metrics"]["mrr@10"]["mean"] for r in answer["runs"][i::2]]
        assert average["metrics"]["mrr@10"] == pytest.approx(sum(means) / 2, abs=1e-12)
    assert set(run_of(tmp_path / "found.en-dev.trec")) == {"5#0"} and not run.exists()
    lines = tamis(*arguments).text.splitlines()
    assert lines[0] == "| data set | run | queries | mrr@10 | recall@4 |"
    assert [line.split(" | ")[0] for line in lines[2:8]] == ["| de-dev"] * 2 + ["| en-dev"] * 2 + ["| average"] * 2
    splits = tamis("eval", "--dataset", SETS / "mldr", "--dataset_names", "en", "--split", "dev", "test", "--embedder",
                   EMBEDDER, "--format", "json").json
    assert [r["dataset"] for r in splits["runs"]] == ["en-dev", "en-test"]


def test_lengths_are_the_searchs_and_the_rerankers_own(tamis, tmp_path):
    """FlagEmbedding's arguments of lengths: what is beyond them is cut, each for itself."""
    def order(*arguments):
        tamis("eval", "--dataset", SETS / "mldr" / "mldr-v1.0-en", "--embedder", EMBEDDER, *arguments, "--save-run",
              tmp_path / "run")
        return (tmp_path / "run").read_text()
    whole = order()
    assert order("--embedder_passage_max_length", "4") != whole
    assert order("--embedder_query_max_length", "4") != whole
    assert order("--max-length", "4") == order("--embedder_query_max_length", "4", "--embedder_passage_max_length", "4")
    reranker = ["--reranker", FIXTURES / "xlmr-ce"]
    assert order(*reranker, "--reranker_max_length", "12") != order(*reranker)


def test_arguments_of_flagembedding_scripts_are_taken(tamis, tmp_path):
    table = tmp_path / "eval_results.md"
    result = tamis("eval", "--eval_name", "miracl", "--dataset_dir", SETS / "miracl", "--dataset_names", "de", "en",
                   "--splits", "dev", "--corpus_embd_save_dir", "embd", "--output_dir", "results", "--search_top_k",
                   "1000", "--rerank_top_k", "100", "--cache_path", "cache", "--overwrite", "False", "--k_values", "10",
                   "100", "--eval_output_method", "markdown", "--eval_output_path", table, "--eval_metrics",
                   "ndcg_at_10", "recall_at_100", "--embedder_name_or_path", EMBEDDER, "--reranker_name_or_path",
                   FIXTURES / "xlmr-ce", "--ignore_identical_ids", "False", "--use_fp16", "False", cwd=tmp_path)
    assert "goes on without: cache_path, corpus_embd_save_dir, output_dir, overwrite, use_fp16" in result.err
    assert table.read_text().startswith("| data set | run | queries | ndcg@10 | recall@100 |")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["eval_results.md"]


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("path, old, new, message", [
    ("miracl/miracl-v1.0-de/topics/topics.miracl-v1.0-de-dev.tsv", "2#0\tIst", "2#0 Ist",
     'dev.tsv:2: expected a query\'s id, a tab and its text, got "2#0 Ist eine Suppe'),
    ("miracl/miracl-v1.0-de/topics/topics.miracl-v1.0-de-dev.tsv", "\tWas", "\tWas\t",
     "dev.tsv:1: expected a query's id, a tab and its text"),
    ("miracl/miracl-v1.0-de/qrels/qrels.miracl-v1.0-de-dev.tsv", "13#0\t0", "13#0\tno",
     'dev.tsv:3: expected a number, got "no"'),
    ("miracl-corpus/miracl-corpus-v1.0-de/docs-1.jsonl", '"docid"', '"document"',
     "docs-1.jsonl:1: expected a document's _id, id or docid, got"),
    ("miracl-corpus/miracl-corpus-v1.0-de/docs-1.jsonl", '"docid": "12#0"', '"docid": true',
     "docs-1.jsonl:1: id: expected a string, got a boolean"),
    ("miracl-corpus/miracl-corpus-v1.0-de/docs-0.jsonl", '"text"', '"txt"', 'docs-0.jsonl:1: no "text"'),
])
def test_a_bad_line_is_named(tamis, sets, path, old, new, message):
    change(sets / path, old, new)
    result = tamis("eval", "--dataset", sets / "miracl", "--dataset_names", "de", "--split", "dev", "--embedder",
                   EMBEDDER, status=65)
    assert message in result.err


@pytest.mark.parametrize("old, new, message", [
    ('"positive_passages"', '"positives"', 'test.jsonl:1: no "positive_passages"'),
    ('"positive_passages": [', '"positive_passages": ["x", ', "test.jsonl:1: docid"),
    ('"query": "What', '"query": 7, "was": "What', "test.jsonl:1: query: expected a string, got an integer"),
])
def test_a_bad_line_of_mldr_is_named(tamis, sets, old, new, message):
    change(sets / "mldr" / "mldr-v1.0-en" / "test.jsonl", old, new)
    result = tamis("eval", "--dataset", sets / "mldr", "--embedder", EMBEDDER, status=65)
    assert message in result.err


def test_what_is_missing_is_named(tamis, sets):
    def error(*arguments, status):
        return tamis("eval", "--embedder", EMBEDDER, *arguments, status=status).err
    miracl = sets / "miracl"
    assert "expected fr or miracl-v1.0-fr or mldr-v1.0-fr in it" in error(
        "--dataset", miracl, "--dataset_names", "fr", status=66)
    assert "qrels/test.tsv or test_qrels.jsonl (BEIR, FlagEmbedding), qrels/qrels.*-test.tsv (MIRACL) or test.jsonl" \
        in error("--dataset", miracl, "--dataset_names", "de", status=66)
    shutil.rmtree(miracl / "miracl-v1.0-de" / "topics")
    assert "expected topics/topics.*-dev.tsv in it" in error("--dataset", miracl, "--split", "dev", status=66)
    shutil.copytree(SETS / "miracl" / "miracl-v1.0-de" / "topics", miracl / "miracl-v1.0-de" / "topics")
    corpus = sets / "miracl-corpus" / "miracl-corpus-v1.0-de"
    (corpus / "docs-1.jsonl").rename(corpus / "docs-1.jsonl.gz")
    assert "docs-1.jsonl.gz: is compressed; unpack it: gunzip -k docs-1.jsonl.gz" in error(
        "--dataset", miracl, "--split", "dev", status=69)
    shutil.rmtree(corpus)
    message = error("--dataset", miracl, "--split", "dev", status=66)
    assert "expected corpus.jsonl or docs-*.jsonl in it or in " in message and str(corpus) in message
    mldr = sets / "mldr" / "mldr-v1.0-en"
    for name in ("dev", "test"):
        (mldr / f"{name}.jsonl").rename(mldr / f"{name}.jsonl.gz")
    assert "test.jsonl.gz: is compressed" in error("--dataset", sets / "mldr", status=69)
    assert "--qrels judges one data set, and there are 2" in tamis(
        "eval", "--dataset", SETS / "miracl", "--split", "dev", "--embedder", EMBEDDER, "--qrels",
        SETS / "saved" / "de" / "dev_qrels.jsonl", status=64).err


def test_candidates_that_are_not_of_a_data_set_are_told_with_its_name(tamis, tmp_path):
    run = tmp_path / "bm25.trec"
    run.write_text("1#0 Q0 11#0 1 2 x\n")
    result = tamis("eval", "--dataset", SETS / "miracl", "--split", "dev", "--candidates", run, status=64)
    assert "en-dev: the run and the judgements have no query in common" in result.err

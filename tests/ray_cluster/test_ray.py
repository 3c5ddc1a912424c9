"""The files of deploy/ray on a real Ray of this machine: what they answer is the package's own answer.

`./run ray` makes the environment (.cache/ray-venv) and runs this; it is not part of ./run test."""
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

try:
    import ray
    from ray import serve
except ImportError:
    ray = None
pytestmark = pytest.mark.skipif(ray is None, reason="Ray is not installed here; ./run ray has it in .cache/ray-venv")

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy" / "ray"
MODEL = ROOT / "tests" / "fixtures" / "models" / "xlmr-ce"
sys.path.insert(0, str(DEPLOY))

QUERY = "what is a tamis"
PASSAGES = ["a drum sieve", "the sky", "fine horsehair", "a sieve of cloth for flour"]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    # What `serve run` does for the application's module: workers can import it.
    paths = os.pathsep.join([str(DEPLOY), os.environ.get("PYTHONPATH", "")])
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1",
             runtime_env={"env_vars": {"PYTHONPATH": paths}})
    yield
    serve.shutdown()
    ray.shutdown()


@pytest.fixture(scope="module")
def handle(cluster):
    import serve_app
    return serve.run(serve_app.app({"model": str(MODEL), "replicas": "2", "cpus": "1"}))


def post(body, path="/v1/rerank"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request("http://127.0.0.1:8000" + path, data=data, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture(scope="module")
def expected():
    import tamis
    return tamis.Reranker(MODEL).rerank(QUERY, PASSAGES)


def test_serve_ranks_as_the_package_does(handle, expected):
    status, answer = post({"query": QUERY, "documents": PASSAGES})
    assert status == 200
    assert [(r["index"], r["logit"]) for r in answer["results"]] == [(r.index, r.logit) for r in expected]
    status, answer = post({"query": QUERY, "documents": PASSAGES, "top_n": 1}, "/rerank")
    assert [r["index"] for r in answer["results"]] == [expected[0].index]


def test_serve_is_called_by_its_handle(handle, expected):
    got = handle.rerank.remote(QUERY, PASSAGES).result(timeout_s=60)
    assert [r["relevance_score"] for r in got] == [r.score for r in expected]


@pytest.mark.parametrize("body, field", [
    (b"{", "JSON"), ({"documents": ["a"]}, "query"), ({"query": "a", "documents": []}, "documents"),
    ({"query": "a", "documents": [1]}, "documents"), ({"query": "a", "documents": ["b"], "top_n": 0}, "top_n"),
    ([], "query")])
def test_serve_says_what_is_wrong(handle, body, field):
    status, answer = post(body)
    assert status == 400 and field in answer["message"]


def test_serve_has_one_route(handle):
    assert post({}, "/v1/nothing")[0] == 404


def test_serve_goes_on_when_a_replica_is_killed(handle, expected):
    names = [a["name"] for a in ray.util.list_named_actors(all_namespaces=True) if "Reranker" in a["name"]]
    assert len(names) == 2
    ray.kill(ray.get_actor(names[0], namespace="serve"))
    for _ in range(20):
        status, answer = post({"query": QUERY, "documents": PASSAGES})
        assert status == 200 and answer["results"][0]["index"] == expected[0].index
        time.sleep(0.1)


def test_wrong_arguments_are_named():
    import serve_app
    with pytest.raises(ValueError, match="model=DIR"):
        serve_app.app({"replicas": "1"})
    with pytest.raises(ValueError, match="threads"):
        serve_app.app({"model": "a", "threads": "1"})


def test_data_set_is_scored_as_by_the_package(tmp_path):
    pairs = [(QUERY, f"{PASSAGES[i % 4]} {i}") for i in range(100)]
    with open(tmp_path / "pairs.jsonl", "w") as out:
        for query, passage in pairs:
            out.write(json.dumps({"query": query, "passage": passage}) + "\n")
    job = [sys.executable, DEPLOY / "score_dataset.py", "--model", MODEL, "--workers", "2", "--rows", "16",
           tmp_path / "pairs.jsonl", tmp_path / "scored"]
    done = subprocess.run(job, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    import pyarrow.parquet
    import tamis
    table = pyarrow.parquet.read_table(tmp_path / "scored").to_pydict()
    logits = tamis.Reranker(MODEL).score(pairs)
    assert dict(zip(table["passage"], table["logit"])) == {p: float(l) for (_, p), l in zip(pairs, logits)}


def test_data_set_on_too_few_cores_is_refused_at_once(tmp_path):
    job = [sys.executable, DEPLOY / "score_dataset.py", "--model", MODEL, "--cpus", "9999",
           tmp_path / "pairs.jsonl", tmp_path / "out"]
    done = subprocess.run(job, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0 and "--cpus 9999: the cluster has" in done.stderr


def test_data_set_without_its_columns_is_refused(tmp_path):
    (tmp_path / "wrong.jsonl").write_text('{"question": "a", "passage": "b"}\n')
    job = [sys.executable, DEPLOY / "score_dataset.py", "--model", MODEL,
           tmp_path / "wrong.jsonl", tmp_path / "out"]
    done = subprocess.run(job, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert "expected query and passage, got passage, question" in done.stdout + done.stderr

"""What an operator does with the server: settings, keys, models, metrics, logs, reloads."""
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from conftest import FIXTURES, ROOT, RERANK, Connection, Server, binary, request_bytes

MODEL = ("--model", FIXTURES / "xlmr-ce")
KEY, ADMIN = "user-key-1234", "admin-key-5678"


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def serve(*arguments, env=None):
    """Runs it to its end."""
    return subprocess.run([binary(), "serve", *map(str, arguments)], capture_output=True, text=True,
                          timeout=60, stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})


# Settings

def test_flag_goes_over_environment_goes_over_file(tmp_path):
    file = tmp_path / "serve.toml"
    file.write_text('port = 1111\nhost = "127.0.0.2"\nmax_body = "1MiB"\n')
    done = serve("--config", file, "--port", 3333, "--check", *MODEL,
                 env={"TAMIS_SERVE_PORT": "2222", "TAMIS_SERVE_HOST": "127.0.0.3"})
    assert done.returncode == 0, done.stderr
    assert "listens on 127.0.0.3 port 3333" in done.stdout


def test_models_of_a_file_have_settings_of_their_own(tmp_path):
    file = tmp_path / "serve.toml"
    file.write_text(f'''
dtype = "bf16"
[[model]]
id = "small"
directory = "{FIXTURES / 'xlmr-ce'}"
[[model]]
id = "other"
directory = "{FIXTURES / 'xlmr-bi-mean'}"
dtype = "f16"
max_length = 32
aliases = ["one", "two"]
''')
    done = serve("--config", file, "--check")
    assert done.returncode == 0, done.stderr
    assert re.search(r"model small:.*\n.*weights in bf16", done.stdout)
    assert re.search(r"model other:.*\n.*at most 32 tokens, weights in f16", done.stdout)
    assert "fits" in done.stdout


@pytest.mark.parametrize("text, parts", [
    ("prot = 80\n", ["serve.toml:1", "'prot'", "did you mean 'port'"]),
    ("\nport = 99999\n", ["serve.toml:2: port", "0 to 65535", "99999"]),
    ("port = [1, 2]\n", ["serve.toml:1: port", "one value, got a list"]),
    ("port = \n", ["serve.toml:1"]),
    ('dtype = "f64"\n', ["serve.toml:1: dtype", "f32, f16, bf16 or int8", "f64"]),
    ('max_body = "lots"\n', ["serve.toml:1: max_body", "lots"]),
    ('[[model]]\nid = "a"\n', ["serve.toml:1", "needs its directory"]),
    ('[[model]]\ndirectory = "x"\ncolour = 1\n', ["serve.toml:3", "'colour'", "did you mean"]),
    ('tls_key = "x"\n', ["tls-certificate", "tls-key"]),
])
def test_a_wrong_file_says_where_and_what(tmp_path, text, parts):
    file = tmp_path / "serve.toml"
    file.write_text(text)
    done = serve("--config", file, "--check", *MODEL)
    assert done.returncode == 64, done.stderr
    for part in parts:
        assert part in done.stderr


def test_a_file_that_is_not_there():
    done = serve("--config", "/nowhere/serve.toml", "--check", *MODEL)
    assert done.returncode == 66 and "/nowhere/serve.toml" in done.stderr


def test_a_wrong_variable_is_named_but_not_the_secret_in_it():
    done = serve("--check", *MODEL, env={"TAMIS_SERVE_PORT": "eighty"})
    assert done.returncode == 64
    assert "TAMIS_SERVE_PORT" in done.stderr and "eighty" in done.stderr
    done = serve("--check", *MODEL, env={"TAMIS_SERVE_API_KEY": "short"})
    assert done.returncode == 64 and "short" not in done.stderr.replace("shorter", "")


def test_keys_are_no_flags():
    assert serve("--api-key", "abcdefgh", *MODEL).returncode == 64


def test_a_model_that_is_not_there_ends_the_start():
    done = serve("--port", 0, "--model", "/nowhere/model")
    assert done.returncode == 66 and "/nowhere/model" in done.stderr


def test_two_models_of_one_name_are_refused():
    for more in ([], ["--check"]):
        done = serve("--port", 0, *MODEL, *MODEL, *more)
        assert done.returncode == 64 and "NAME=DIR" in done.stderr


def test_check_warns_of_an_open_door():
    assert "set api-key-file" in serve("--host", "0.0.0.0", "--check", *MODEL).stdout
    assert "set api-key-file" not in serve("--check", *MODEL).stdout


def test_the_page_of_docs_has_the_table_of_settings():
    page = (ROOT / "docs" / "serving.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `--") or line.startswith("| – | `TAMIS")]
    help_text = serve("--help").stdout
    flags = set(re.findall(r"--([a-z-]+)", help_text)) - {"help", "check"}
    in_page = set(re.findall(r"^\| `--([a-z-]+)", page, re.M))
    assert in_page == flags, in_page ^ flags
    for row in rows:
        flag, variable, key = re.match(r"\| (\S.*?) \| `(\S+)` \| `(\S+)` \|", row).groups()
        assert variable == "TAMIS_SERVE_" + key.upper()


# Keys

@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    (folder / "keys").write_text(f"# who\n{KEY}\n\n")
    (folder / "admin").write_text(f"{ADMIN}\n")
    with Server(*MODEL, "--api-key-file", folder / "keys", "--admin-key-file", folder / "admin",
                "--admin-socket", folder / "admin.sock") as server:
        server.folder = folder
        yield server


def test_without_a_key_nothing_but_health(guarded):
    for path in ("/rerank", "/v1/rerank", "/v1/embeddings", "/v1/score"):
        answer = guarded.post(path, RERANK)
        assert answer.status == 401, path
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "key" in answer.text
    assert guarded.get("/metrics").status == 401
    assert guarded.get("/health").status == 200
    assert guarded.get("/").status == 200, "the page itself is no secret: it asks for the key"


@pytest.mark.parametrize("headers", [bearer(KEY), {"authorization": f"bearer {KEY}"}, {"x-api-key": KEY},
                                     {"Authorization": KEY}, bearer(ADMIN)])
def test_a_key_opens(guarded, headers):
    assert guarded.post("/rerank", RERANK, headers=headers).status == 200


@pytest.mark.parametrize("key", ["", "x", KEY[:-1], KEY + "x", KEY.upper()])
def test_a_wrong_key_does_not(guarded, key):
    assert guarded.post("/rerank", RERANK, headers=bearer(key)).status == 401


def test_a_users_key_is_not_the_operators(guarded):
    body = {"device": "cpu"}
    assert guarded.post("/v1/models/xlmr-ce/device", body, headers=bearer(KEY)).status == 403
    assert guarded.post("/v1/models/xlmr-ce/device", body, headers=bearer(ADMIN)).status == 200
    with Connection(guarded.folder / "admin.sock") as c:
        c.send(request_bytes("POST", "/v1/models/xlmr-ce/device", body))
        assert c.read().status == 200
    assert ((guarded.folder / "admin.sock").stat().st_mode & 0o777) == 0o600


def test_without_an_admin_key_those_routes_are_shut():
    with Server(*MODEL) as server:
        assert server.request("DELETE", "/v1/models/xlmr-ce").status == 403
        assert server.post("/rerank", RERANK).status == 200


def test_no_key_is_ever_written_down(guarded):
    guarded.post("/rerank", RERANK, headers=bearer(KEY))
    guarded.post("/rerank", RERANK, headers=bearer("wrong-key-0000"))
    for secret in (KEY, ADMIN, "wrong-key-0000"):
        assert secret not in guarded.log


def test_new_keys_without_a_restart(guarded):
    (guarded.folder / "keys").write_text(f"{KEY}\nanother-key-99\n")
    assert guarded.post("/rerank", RERANK, headers=bearer("another-key-99")).status == 401
    guarded.process.send_signal(signal.SIGHUP)
    guarded.wait_for("reloaded")
    assert guarded.post("/rerank", RERANK, headers=bearer("another-key-99")).status == 200


def test_a_broken_reload_leaves_everything_as_it_was(guarded):
    keys = (guarded.folder / "keys").read_text()
    (guarded.folder / "keys").write_text("")
    guarded.process.send_signal(signal.SIGHUP)
    guarded.wait_for("not reloaded")
    assert guarded.post("/rerank", RERANK, headers=bearer(KEY)).status == 200
    (guarded.folder / "keys").write_text(keys)


def test_the_rate_of_an_address_is_limited():
    with Server(*MODEL, "--address-rate", 5) as server:
        answers = [server.post("/rerank", RERANK) for _ in range(20)]
        refused = [a for a in answers if a.status == 429]
        assert 5 <= len([a for a in answers if a.status == 200]) < 20
        assert refused and int(refused[0].headers["retry-after"]) >= 1
        assert server.get("/health").status == 200


def test_other_pages_may_not_call_unless_they_are_named():
    origin = {"Origin": "https://example.org"}
    with Server(*MODEL) as server:
        assert "access-control-allow-origin" not in server.post("/rerank", RERANK, headers=origin).headers
    with Server(*MODEL, "--cors-origin", "https://example.org") as server:
        answer = server.post("/rerank", RERANK, headers=origin)
        assert answer.headers["access-control-allow-origin"] == "https://example.org"
        other = server.post("/rerank", RERANK, headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        preflight = server.request("OPTIONS", "/rerank", headers={
            **origin, "Access-Control-Request-Method": "POST"})
        assert preflight.status == 204
        assert "POST" in preflight.headers["access-control-allow-methods"]


# Models

@pytest.fixture()
def admin(tmp_path):
    shutil.copytree(FIXTURES / "xlmr-ce", tmp_path / "model")
    with Server("--model", f"first={tmp_path / 'model'}", "--sim", "memory=1GiB", "--sim", "memory=1GiB",
                env={"TAMIS_SERVE_ADMIN_KEY": ADMIN}) as server:
        server.folder = tmp_path
        yield server


def scores(server, **more):
    answer = server.post("/v1/score", {"query": "what is a tamis", "passages": RERANK["documents"], **more})
    assert answer.status == 200, answer.text
    return {r["index"]: r["logit"] for r in answer.json["results"]}


def test_with_one_model_any_name_means_it_and_with_two_not(admin):
    assert scores(admin, model="whatever") == scores(admin)
    answer = admin.post("/v1/models", {"id": "second", "directory": str(FIXTURES / "xlmr-bi-mean")},
                        headers=bearer(ADMIN))
    assert answer.status in (200, 201), answer.text
    answer = admin.post("/v1/score", {"query": "a", "passages": ["b"], "model": "whatever"})
    assert answer.status == 404 and "first" in answer.text and "second" in answer.text
    assert admin.post("/v1/embeddings", {"input": "a", "model": "second"}).status == 200
    assert admin.request("DELETE", "/v1/models/second", headers=bearer(ADMIN)).status in (200, 204)
    assert scores(admin, model="whatever") == scores(admin)


def test_a_model_moves_while_it_serves(admin):
    want = scores(admin)
    for device in ("sim:0", "sim:0,sim:1", "cpu"):
        answer = admin.post("/v1/models/first/device", {"device": device}, headers=bearer(ADMIN))
        assert answer.status == 200, answer.text
        got = scores(admin)
        assert all(abs(got[i] - want[i]) < 1e-5 for i in want)
        assert f'"device":"{device}"' in admin.get("/v1/models").text
    answer = admin.post("/v1/models/first/device", {"device": "nowhere:0"}, headers=bearer(ADMIN))
    assert 400 <= answer.status < 500 and "sim:N" in answer.text
    assert scores(admin) == want


@pytest.mark.parametrize("damage", ["gone", "cut", "no directory"])
def test_a_model_that_vanished_or_is_damaged_leaves_the_old_one(admin, damage):
    want = scores(admin)
    copy = admin.folder / "copy"
    if damage != "no directory":
        shutil.copytree(FIXTURES / "xlmr-ce", copy)
        weights = copy / "model.safetensors"
        weights.unlink() if damage == "gone" else weights.write_bytes(weights.read_bytes()[:1000])
    body = {"id": "first", "directory": str(copy)}
    answer = admin.post("/v1/models", body, headers=bearer(ADMIN))
    assert 400 <= answer.status < 500 and "copy" in answer.text
    assert scores(admin) == want
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(FIXTURES / "xlmr-ce", copy)
    assert admin.post("/v1/models", body, headers=bearer(ADMIN)).status in (200, 201)
    assert scores(admin) == want


def test_running_out_of_memory_on_a_device_costs_no_request():
    """The n-th allocation fails: the start says so, or the batch is run in smaller parts."""
    body = {"query": "what is a tamis", "passages": ["a drum sieve of horsehair " * 9] * 300}
    backed_off = 0
    for n in range(1, 10):
        server = Server(*MODEL, "--device", "sim:0", "--sim", f"memory=1GiB,fail_alloc={n}",
                        "--warmup-ms", 0, wait=False, env={"TAMIS_SERVE_ADMIN_KEY": ADMIN})
        with server:
            try:
                server.wait_ready()
            except AssertionError:
                assert server.process.returncode == 73 and "sim:0" in server.log
                continue
            # What a placement planned is there; after a trim it is allocated anew.
            assert server.post("/v1/admin/trim", {}, headers=bearer(ADMIN)).status == 200
            answer = server.post("/v1/score", body)
            assert answer.status == 200 and len(answer.json["results"]) == 300
            backed_off += 'tamis_out_of_memory_total{device="sim:0"}' in server.get("/metrics").text
    assert backed_off > 0


# Watch

def test_metrics_have_teis_names_and_the_memory_of_devices(reranker):
    reranker.post("/rerank", RERANK)
    text = reranker.get("/metrics").text
    for name in ("te_request_count", "te_request_success", "te_request_duration_bucket",
                 "te_request_tokenization_duration_sum", "te_request_queue_duration_sum",
                 "te_request_inference_duration_count", "te_batch_next_size_bucket",
                 "te_batch_next_tokens_sum", "te_queue_size", "tamis_batches_total",
                 'tamis_device_memory_used_bytes{device="cpu"}',
                 'tamis_device_memory_reserved_bytes{device="cpu"}',
                 'tamis_device_memory_peak_bytes{device="cpu"}',
                 'tamis_device_memory_limit_bytes{device="cpu"}', "tamis_padding_saved_tokens_total"):
        assert name in text, name
    for line in text.splitlines():
        assert line.startswith("#") or re.fullmatch(r'[a-z_]+(\{[^{}]*\})? \S+', line), line
    assert "nan" not in text.lower()


def test_counters_count(reranker):
    def value(name):
        found = re.search(rf"^{re.escape(name)} (\S+)$", reranker.get("/metrics").text, re.M)
        return float(found[1]) if found else 0

    before = value('te_request_count{method="batch"}'), value("te_predict_count")
    reranker.post("/rerank", RERANK)
    reranker.post("/rerank", {"query": 5})
    assert value('te_request_count{method="batch"}') >= before[0] + 1
    assert value("te_predict_count") == before[1] + 3


def test_stats_are_what_the_page_shows(reranker):
    reranker.post("/rerank", RERANK)
    time.sleep(1.1)  # the second that runs is not shown
    stats = reranker.get("/v1/stats").json
    assert stats["server"]["ready"] and not stats["server"]["draining"]
    assert stats["requests"]["total"] > 0 and stats["batches"]["count"] > 0
    assert 0 < stats["batches"]["fill"] <= 1 and 0 <= stats["batches"]["padding_saved"] < 1
    assert len(stats["series"]["requests"]) == 60 and sum(stats["series"]["requests"]) > 0
    assert stats["latency_ms"]["p99"] >= stats["latency_ms"]["p50"] > 0
    assert stats["models"][0]["id"] == "xlmr-ce"
    assert stats["devices"][0]["used_bytes"] > 0


def test_a_line_of_json_for_each_request_with_its_ids(tmp_path):
    with Server(*MODEL, "--log-format", "json", "--log-file", tmp_path / "log") as server:
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        answer = server.post("/rerank", RERANK, headers={
            "X-Request-Id": "my-id.7", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
        assert answer.headers["x-request-id"] == "my-id.7"
        own = server.post("/rerank", RERANK, headers={"X-Request-Id": "forged\tid"}).headers
        assert re.fullmatch("[0-9a-f]{16}", own["x-request-id"])
        lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        first = next(line for line in lines if line.get("request_id") == "my-id.7")
        assert first["trace_id"] == trace and first["status"] == 200 and first["texts"] == 3
        assert first["tokens"] > 0 and first["total_ms"] >= first["inference_ms"] > 0


def test_the_log_is_opened_anew_by_a_reload(tmp_path):
    log = tmp_path / "log"
    with Server(*MODEL, "--log-file", log) as server:
        log.rename(tmp_path / "old")
        server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 30
        while not log.exists() or "reloaded" not in log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        server.post("/rerank", RERANK)
        assert "path=/rerank" in log.read_text()


def test_a_forged_line_does_not_get_into_the_log():
    with Server(*MODEL) as server:
        server.post("/rerank?x=%0aFORGED", {**RERANK, "model": "a\nFORGED line"})
        server.get("/no%0dsuch%1b[31mpath")
        assert not any(line.startswith("FORGED") for line in server.lines)


# Overload

def test_too_much_work_is_refused_at_once_and_says_when_to_come_again():
    with Server(*MODEL, "--threads", 1, "--max-tokens", 20000) as server:
        body = {"query": "q", "documents": ["a drum sieve of fine horsehair " * 10] * 400}
        held = [server.connect() for _ in range(16)]
        for c in held:
            c.send(request_bytes("POST", "/rerank", body))
        answers = [c.read() for c in held]
        refused = [a for a in answers if a.status == 429]
        assert refused and any(a.status == 200 for a in answers)
        assert all(int(a.headers["retry-after"]) >= 1 and "tokens" in a.text for a in refused)
        assert "tamis_refused_total" in server.get("/metrics").text


def test_no_request_is_too_large_for_an_idle_server():
    with Server(*MODEL, "--max-tokens", 1000) as server:
        body = {"query": "q", "documents": ["a drum sieve"] * 5000}
        answer = server.post("/rerank", body)
        assert answer.status == 200 and len(answer.json["results"]) == 5000


def test_a_deadline_that_is_over_is_told():
    with Server(*MODEL, "--threads", 1) as server:
        body = {"query": "q", "documents": ["a drum sieve of fine horsehair " * 20] * 20000}
        answer = server.post("/rerank", body, headers={"x-tamis-timeout-ms": "50"})
        assert answer.status == 504 and "deadline" in answer.text

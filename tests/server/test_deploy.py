"""The files under deploy/ name what there is: settings, routes, metrics."""
import json
import re
import subprocess
import sys

import pytest

from conftest import ROOT, RERANK, Server, binary, FIXTURES

if str(ROOT / ".cache" / "adapters") not in sys.path:
    sys.path.append(str(ROOT / ".cache" / "adapters"))

DEPLOY = ROOT / "deploy"


def flags():
    help_text = subprocess.run([binary(), "serve", "--help"], capture_output=True, text=True).stdout
    return set(re.findall(r"--([a-z][a-z-]+)", help_text))


def test_the_example_of_settings_is_understood(tmp_path):
    text = (DEPLOY / "systemd" / "serve.toml").read_text()
    for name, fixture in (("bge-reranker-v2-m3", "xlmr-ce"), ("bge-m3", "xlmr-m3")):
        text = text.replace(f"/srv/models/{name}", str(FIXTURES / fixture))
    (tmp_path / "keys").write_text("a-key-of-a-user\n")
    text = text.replace("/etc/tamis/keys", str(tmp_path / "keys"))
    (tmp_path / "serve.toml").write_text(text)
    done = subprocess.run([binary(), "serve", "--config", tmp_path / "serve.toml", "--check"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "model reranker" in done.stdout and "weights in int8" in done.stdout


def test_systemd_starts_what_there_is():
    text = (DEPLOY / "systemd" / "tamis.service").read_text()
    for line in re.findall(r"^Exec(?:Start|StartPre)=(.*)$", text, re.M):
        assert line.startswith("/usr/local/bin/tamis serve ")
        assert set(re.findall(r"--([a-z-]+)", line)) <= flags()
    assert "SIGTERM" not in text and "HUP" in text


def test_kubernetes_probes_routes_and_passes_flags_that_there_are(reranker):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "tamis.yaml").read_text()))
    pod = documents[0]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert reranker.get(container[probe]["httpGet"]["path"]).status == 200
    assert {a[2:] for a in container["args"] if a.startswith("--")} <= flags()
    for variable in container["env"]:
        name = variable["name"].removeprefix("TAMIS_SERVE_").lower().replace("_", "-")
        assert name in flags(), name
    assert pod["securityContext"]["runAsNonRoot"] is True
    scaler = yaml.safe_load((DEPLOY / "kubernetes" / "autoscaling.yaml").read_text())
    metric = scaler["spec"]["metrics"][0]["pods"]["metric"]["name"]
    assert metric in reranker.get("/metrics").text


def test_the_image_is_not_root_and_sets_what_there_is():
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    assert re.search(r"^USER \d+$", text, re.M) and "HEALTHCHECK" in text
    for name in re.findall(r"TAMIS_SERVE_([A-Z_]+)=", text):
        assert name.lower().replace("_", "-") in flags()
    wanted = (ROOT / "tools" / "apt.txt").read_text().split()
    for package in re.findall(r"\blib[a-z0-9.-]+-dev\b|\bprometheus-cpp-dev\b", text):
        assert package in wanted, package


def test_the_dashboard_asks_for_metrics_that_there_are():
    with Server("--model", FIXTURES / "xlmr-ce", "--max-tokens", 1,
                env={"TAMIS_SERVE_API_KEY": "a-key-of-a-user"}) as server:
        key = {"x-api-key": "a-key-of-a-user"}
        server.post("/rerank", RERANK)  # refused, for it has no key
        server.post("/rerank", RERANK, headers=key)
        known = server.get("/metrics", headers=key).text
    panels = json.loads((DEPLOY / "grafana" / "tamis.json").read_text())["panels"]
    # Of work that this server has not had.
    elsewhere = {"te_embed_count", "tamis_out_of_memory_total"}
    for panel in panels:
        for target in panel["targets"]:
            for name in re.findall(r"\b(?:te|tamis)_[a-z_]+", target["expr"]):
                assert name in elsewhere or name in known, f"{panel['title']}: {name}"

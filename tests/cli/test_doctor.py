"""tamis doctor: what it says of this machine, and of runs that disappoint. Each finding by itself is
provoked in tests/unit/engine/doctor_test.cc."""
import subprocess

import pytest

from test_devices import gpus  # noqa: F401
from test_terminal import on_terminal, width

SEVERITIES = ["problem", "warning", "info", "ok"]


def examined(tamis, *arguments, **more):
    report = tamis("doctor", "--format", "json", "-q", *arguments, **more).json
    ranks = [SEVERITIES.index(finding["severity"]) for finding in report["findings"]]
    assert ranks == sorted(ranks)
    assert report["problems"] == ranks.count(0) and report["warnings"] == ranks.count(1)
    for finding in report["findings"]:
        assert list(finding) == ["id", "severity", "title", "what", "fix"]
        assert finding["title"] and (finding["fix"] or finding["severity"] == "ok"), finding
    return {finding["id"]: finding for finding in report["findings"]}, report


def test_this_machine(tamis):
    found, report = examined(tamis)
    assert {"device.asked", "cpu.isa", "cpu.threads", "cpu.load", "memory.host"} <= found.keys()
    assert report["problems"] == 0 and report["placement"] == []
    assert "no model given" in tamis("doctor").err and tamis("doctor", "-q").err == ""


@pytest.mark.parametrize("device", ["cpu", "sim:0"])
def test_a_model_that_is_where_it_should_be(tamis, tiny, device):
    found, report = examined(tamis, tiny, "--device", device)
    assert found["place.where"]["severity"] == found["memory.plan"]["severity"] == "ok"
    assert {"speed.single", "speed.tokenizing"} <= found.keys()
    (placement,) = report["placement"]
    assert placement["device"] == device and placement["on_device"] and not placement["retired"]
    assert examined(tamis, "-m", tiny)[0].keys() >= {"place.where"}


def test_an_embedder(tamis, embedder):
    found, _ = examined(tamis, embedder)
    assert "place.where" in found


def test_findings_do_not_change_the_exit_status(tamis, tiny, tmp_path):
    for arguments, problem, words in [
            (["--device", "tpu"], "device.unknown", "devices here: cpu"),
            (["--device", "cpu:99"], "device.unknown", "cpu:0"),
            ([tiny, "--device", "cuda:0"], "gpu.no_driver", "libnvidia-ml"),
            ([tiny, "--memory-limit", "1MB"], "memory.limit", "needed"),
            ([tiny, "--memory-limit", "0"], "memory.limit", "0 B available"),
            ([tiny, "--device", "sim:0", "--sim", "memory=64KiB"], "memory.does_not_fit",
             "available"),
            (["--device", "sim:0", "--sim", "gone=1"], "device.unusable", "gone"),
            ([tmp_path / "no"], "model.unreadable", "no"),
            (["--isa", "mmx"], "cpu.isa", "mmx")]:
        found, report = examined(tamis, *arguments)
        if problem == "gpu.no_driver" and problem not in found:
            continue  # this machine has one
        assert found[problem]["severity"] == "problem" and words in found[problem]["what"]
        assert report["problems"] > 0


def test_what_would_fit_does_fit(tamis, tiny):
    found, _ = examined(tamis, tiny, "--memory-limit", "1MB")
    fix = found["memory.limit"]["fix"].split(" (")[0].split()
    assert fix[:2] == ["tamis", "rerank"] and "--batch-tokens" in fix
    tamis(*fix[1:], "q", "p")


def test_a_device_that_is_slow_to_start(tamis, tiny):
    found, _ = examined(tamis, tiny, "--device", "sim:0", "--sim", "launch_us=300",
                        "--batch-tokens", "128")
    assert found["speed.batch_small"]["severity"] == "warning"
    assert "--batch-tokens" in found["speed.batch_small"]["fix"]
    assert "does not shrink" in found["speed.launch_bound"]["what"]


def test_settings_of_the_environment(tamis):
    found, _ = examined(tamis, env={"OMP_NUM_THREADS": "3"})
    assert '"3"' in found["cpu.omp"]["what"]
    assert "cpu.omp" not in examined(tamis)[0]


def test_gpus(tamis, tiny, gpus):  # noqa: F811
    gpus_only = ["--cuda-plugin", "none"]
    found, _ = examined(tamis, *gpus_only, env=gpus)
    assert "driver 550.54.15, CUDA up to 12.4" in found["gpu.driver"]["what"]
    assert "CUDA plug-in cannot be opened" in found["gpu.unusable"]["what"]
    found, _ = examined(tamis, tiny, "--device", "cuda:0", *gpus_only, env=gpus)
    assert found["gpu.unusable"]["severity"] == "problem"
    found, _ = examined(tamis, "--device", "cuda:1", env={**gpus, "CUDA_VISIBLE_DEVICES": "1"})
    assert "GPU-b0000000" in found["device.hidden"]["what"]
    assert "unset CUDA_VISIBLE_DEVICES" in found["device.hidden"]["fix"]


def test_text_for_people(tamis, tiny):
    text = tamis("doctor", "-q", tiny, "--memory-limit", "0").text
    assert text.startswith("problem  The memory limit is too small for cpu\n         ")
    assert "\n         → tamis rerank" in text and "\x1b" not in text
    assert text.splitlines()[-1].startswith("1 problem, ")


@pytest.mark.parametrize("columns", [60, 100])
def test_text_fits_the_terminal(tamis, tiny, columns):
    arguments = ["doctor", tiny, "-q", "--device", "sim:0", "--sim", "memory=2MiB"]
    assert "\x1b[1;31mproblem" in on_terminal(tamis, *arguments)
    text = on_terminal(tamis, *arguments, columns=columns, env={"NO_COLOR": "1"})
    assert "\x1b" not in text
    for line in text.replace("\r", "").splitlines():
        assert width(line) <= columns or len(line.split()) <= 2, line


def test_wrong_command_lines(tamis):
    for arguments, words in [(["a", "-m", "b"], "give one of them"), (["--sim", "x=1"], "no key"),
                             (["--seconds", "x"], "whole number"), (["--dtype", "f8"], "f32 or")]:
        assert words in tamis("doctor", *arguments, status=64).err


def test_a_reader_that_goes_away(tamis):
    with tamis.start("doctor", "-q", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""

"""--device and what goes with it on the commands that run a model, and tamis devices."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

PASSAGES = ["hi", "A sieve lets the fine flour pass.", "", "大熊猫是中国的动物", "word " * 40]


def logits(tamis, model, *more, **options):
    done = tamis("rerank", "-m", model, "--format", "jsonl", "-q", *more, "a sieve", *PASSAGES,
                 **options)
    return {result["index"]: result["logit"] for result in done.json["results"]}


def close(got, want, abs):
    return got.keys() == want.keys() and all(
        got[i] == pytest.approx(want[i], abs=abs) for i in want)


# ---- where a model runs


@pytest.mark.parametrize("device", ["cpu:0", "cpu,cpu", "sim:0", "sim:0,sim:1", "sim:7,cpu", "ref",
                                    "auto"])
def test_scores_are_the_same_everywhere(tamis, tiny, device):
    assert close(logits(tamis, tiny, "--device", device), logits(tamis, tiny), abs=1e-5)


def test_embeddings_are_the_same_on_a_simulated_device(tamis, embedder):
    texts = ["a sieve", "flour"]
    there = tamis("embed", "-m", embedder, "--device", "sim:0", *texts).lines
    here = tamis("embed", "-m", embedder, *texts).lines
    for got, want in zip(there, here, strict=True):
        assert got["embedding"] == pytest.approx(want["embedding"], abs=1e-5)


@pytest.mark.parametrize("dtype, tolerance", [("f16", 5e-3), ("bf16", 5e-2)])
@pytest.mark.parametrize("device", ["cpu", "sim:0"])
def test_16_bit_weights_come_close(tamis, tiny, dtype, tolerance, device):
    got = logits(tamis, tiny, "--dtype", dtype, "--device", device)
    want = logits(tamis, tiny)
    assert close(got, want, abs=tolerance) and got != want


def test_placement_is_said_when_asked(tamis, tiny):
    arguments = ["rerank", "-m", tiny, "--device", "sim:0,cpu", "--dtype", "bf16", "q", "p"]
    assert tamis(*arguments).err == ""
    said = tamis(*arguments, "-v").err
    for words in ("tamis: sim:0 (simulated accelerator", "tamis: cpu (", "in bf16", "workspace",
                  "thread"):
        assert words in said
    assert "NOT" not in said


def test_auto_takes_a_described_device_and_says_why(tamis, tiny):
    arguments = ["rerank", "-m", tiny, "--device", "auto", "--format", "jsonl", "q", "p"]
    sims = ["--sim", "memory=1GiB", "--sim", "memory=2GiB"]
    said = tamis(*arguments, *sims).err
    assert said.startswith("tamis: auto chose sim:1: ") and "sim:0 has 1.07 GB free" in said
    assert said.count("\n") == 1
    assert "auto chose cpu" in tamis(*arguments).err
    assert "auto chose cpu" in tamis(*arguments, "--sim", "memory=1KiB").err
    assert tamis(*arguments, *sims, "-q").err == ""
    assert "auto chose sim:0" in tamis("inspect", tiny, "--device", "auto", *sims[:2]).err


def test_descriptions_in_a_file(tamis, tiny, tmp_path):
    path = tmp_path / "sims"
    path.write_text("# two cards\nmemory=1GiB,name=small\n\n  memory=2GiB,name=large  # the other\n")
    listed = tamis("devices", "--format", "json", "--sim", f"@{path}", "--sim", "memory=3GiB").json
    sims = [device for device in listed["devices"] if device["kind"] == "sim"]
    assert [sim["total_bytes"] for sim in sims] == [1 << 30, 2 << 30, 3 << 30]
    assert sims[1]["name"] == "sim:1" and "large" in sims[1]["description"]
    tamis("devices", "--sim", f"@{tmp_path}/no", status=66)


def test_a_simulated_device_that_fails_leaves_the_work_to_the_others(tamis, tiny):
    done = tamis("rerank", "-m", tiny, "--device", "sim:0,cpu", "--sim", "fail_op=3",
                 "--format", "jsonl", "a sieve", *PASSAGES)
    # Whichever took the batch: it is done, and a failure is told.
    assert {r["index"]: r["logit"] for r in done.json["results"]} == pytest.approx(
        logits(tamis, tiny), abs=1e-5)
    assert done.err == "" or "sim:0 failed and is out of service" in done.err


def test_warm_up(tamis, tiny):
    said = tamis("rerank", "-m", tiny, "--warmup", "--device", "cpu,sim:0", "q", "p").err
    lines = said.splitlines()
    assert len(lines) == 4
    assert all(re.fullmatch(r"tamis: warm-up on (cpu|sim:0), \d+ x \d+ tokens: [\d.]+ ms, then "
                            r"[\d.]+ ms", line) for line in lines)
    assert tamis("rerank", "-m", tiny, "--warmup", "-q", "q", "p").err == ""


def test_a_device_that_hangs_is_given_up(tamis, tiny):
    done = tamis("rerank", "-m", tiny, "--device", "sim:0", "--sim", "hang=1", "--device-timeout",
                 "1", "q", "p", status=75)
    assert done.out == b"" and "sim:0" in done.err


# ---- what is refused


REFUSAL = re.compile(r"^tamis: error: \S+: [\d.]+ [kKMGT]?B needed \(.*\), [\d.]+ [kKMGT]?B "
                     r"available \(.*\); ")


@pytest.mark.parametrize("limit", ["1MB", "0", "0 B", "100KiB"])
@pytest.mark.parametrize("device", ["cpu", "sim:0"])
def test_a_memory_limit_refuses_with_both_numbers(tamis, tiny, embedder, limit, device):
    for command in (["rerank", "-m", tiny, "q", "p"], ["embed", "-m", embedder, "x"]):
        done = tamis(*command, "--memory-limit", limit, "--device", device, status=73)
        assert done.out == b"" and REFUSAL.match(done.err), done.err


def test_a_memory_limit_that_is_large_enough(tamis, tiny):
    for limit in ("16GB", "1.5 GiB", "100mb", "5000000"):
        tamis("rerank", "-m", tiny, "--memory-limit", limit, "q", "p")


def test_smaller_batches_fit_a_smaller_limit(tamis, tiny):
    limited = ["rerank", "-m", tiny, "--memory-limit", "1MB", "q", "p"]
    # How many depends on the instruction set: its scratch is part of the plan.
    fits = re.search(r"what would fit: batches of (\d+) tokens", tamis(*limited, status=73).err)
    tamis(*limited, "--batch-tokens", fits[1])


@pytest.mark.parametrize("size", ["", "MB", "1XB", "-1", "+1MB", "1e9", "1.5", "99999999999GB",
                                  "1 MB GB"])
def test_wrong_sizes(tamis, tiny, size):
    done = tamis("rerank", "-m", tiny, "--memory-limit", size, "q", "p", status=64)
    assert "--memory-limit" in done.err and done.out == b""


@pytest.mark.parametrize("command", [["rerank", "q", "p"], ["embed", "x"], ["inspect"]])
@pytest.mark.parametrize("device", ["tpu", "cpu:x", "cuda:", "sim:-1", ",cpu", "auto,cpu", ""])
def test_unknown_devices(tamis, tiny, embedder, command, device):
    model = embedder if command[0] == "embed" else tiny
    done = tamis(*command, "-m", model, f"--device={device}", status=64)
    assert done.out == b"" and ("expected cpu, cpu:N" in done.err or "auto" in done.err)


def test_devices_that_are_not_here(tamis, tiny):
    assert "NUMA nodes here: cpu:0" in tamis("rerank", "-m", tiny, "--device", "cpu:99", "q", "p",
                                             status=64).err
    for device in ("cuda:0", "cuda", "0", "cpu,cuda:1"):
        done = tamis("rerank", "-m", tiny, "--device", device, "--cuda-plugin", "none", "q", "p",
                     status=69)
        assert "CUDA plug-in cannot be opened: none" in done.err and done.out == b""


@pytest.mark.parametrize("more, words", [
    (["--sim", "speed=9"], "no key \"speed\""), (["--sim", "memory=0"], "memory"),
    (["--dtype", "f8"], "f32 or f16 or bf16"), (["--device-timeout", "0"], "at least 1"),
    (["--device-timeout", "99999999"], "at most"), (["--threads", "-1"], "whole number")])
def test_wrong_options(tamis, tiny, more, words):
    assert words in tamis("rerank", "-m", tiny, *more, "q", "p", status=64).err


# ---- inspect


def test_inspect_plans_for_every_device(tamis, tiny):
    arguments = ["inspect", tiny, "--device", "cpu,sim:0", "--sim", "memory=1GiB", "--dtype", "f16"]
    described = tamis(*arguments, "--format", "json").json
    assert described["dtype"] == "f16" and described["memory"] == described["plans"][0]
    assert [plan["device"] for plan in described["plans"]] == ["cpu", "sim:0"]
    assert described["plans"][1]["total_bytes"] == described["plans"][1]["free_bytes"] == 1 << 30
    assert described["plans"][1]["mapped_bytes"] == 0 < described["plans"][0]["mapped_bytes"]
    text = tamis(*arguments).text
    assert "in all on cpu, where" in text and "in all on sim:0, where 1.07 GB of 1.07 GB" in text
    assert "converted to f16" in text


# ---- tamis devices


def test_devices_as_json(tamis):
    document = tamis("devices", "--format", "json", "--sim", "memory=2GiB").json
    devices = {device["name"]: device for device in document["devices"]}
    assert {"cpu", "cpu:0", "sim:0"} <= devices.keys()
    for device in devices.values():
        assert device["total_bytes"] >= device["free_bytes"] >= 0
        assert device["usable"] == (device["problem"] == "") and device["open"] is False
        assert device["models"] == device["processes"] == []
    cpu = devices["cpu"]
    assert cpu["kind"] == "cpu" and cpu["total_bytes"] > 1 << 28 and cpu["description"]
    assert cpu["utilisation_percent"] is None or 0 <= cpu["utilisation_percent"] <= 100
    assert devices["sim:0"]["free_bytes"] == 2 << 30


def test_devices_as_a_table(tamis):
    text = tamis("devices", "--sim", "memory=2GiB,name=toy", "--sim", "gone=1").text
    assert text.splitlines()[0].split() == ["device", "Tamis", "others", "free", "total", "busy"]
    assert "\x1b" not in text and "[" not in text
    assert re.search(r"^sim:0 +0 B +0 B +2.15 GB +2.15 GB", text, re.M)
    assert "toy" in text and "not usable: sim:1: the device is gone" in text


def test_a_loaded_model_shows(tamis, tiny):
    (line,) = tamis("devices", "-m", tiny, "--device", "sim:0", "--memory-limit", "1GB", "--format",
                    "jsonl").text.splitlines()
    sim = next(d for d in json.loads(line)["devices"] if d["name"] == "sim:0")
    (model,) = sim["models"]
    assert sim["open"] and model["model"] == tiny.name and model["limit_bytes"] == 10**9
    used = model["weight_bytes"] + model["workspace_bytes"]
    assert used == sim["used_bytes"] == sim["total_bytes"] - sim["free_bytes"] > 0
    assert model["reserved_bytes"] == sim["reserved_bytes"] > 0
    assert sim["peak_bytes"] >= used
    assert f"{tiny.name}: weights" in tamis("devices", "-m", tiny, "--device", "sim:0").text


@pytest.mark.parametrize("arguments, words", [
    (["--device", "cpu"], "no model"), (["--interval", "500"], "--watch"),
    (["--watch", "-o", "x"], "does not end"), (["--watch", "--interval", "1"], "at least 10"),
    (["sim:0"], "takes no argument")])
def test_devices_wrong_command_lines(tamis, arguments, words):
    assert words in tamis("devices", *arguments, status=64).err


def test_watch_in_a_pipe_is_a_line_each(tamis):
    with tamis.start("devices", "--watch", "--interval", "20", "--format", "json",
                     stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        seen = [json.loads(process.stdout.readline())["devices"][0] for _ in range(3)]
        assert all(device["name"] == "cpu" for device in seen)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == -signal.SIGPIPE


def test_watch_notices_at_once_that_its_reader_has_gone(tamis):
    started = time.monotonic()
    with tamis.start("devices", "--watch", "--interval", "60000", stdout=subprocess.PIPE,
                     stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == -signal.SIGPIPE and time.monotonic() - started < 40


def read_until(leader, enough, seconds=30):
    text = ""
    deadline = time.monotonic() + seconds
    while not enough(text) and time.monotonic() < deadline:
        if select.select([leader], [], [], 0.2)[0]:
            text += os.read(leader, 1 << 16).decode()
    assert enough(text), text
    return text


def watch_on_terminal(tamis, *more, rows=24, env=None):
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 80, 0, 0))
    process = tamis.start("devices", "--watch", "--interval", "20", *more,
                          stdin=subprocess.DEVNULL, stdout=follower, stderr=follower,
                          env={"TERM": "xterm", **(env or {})})
    os.close(follower)
    return leader, process


def test_watch_redraws_in_place_and_ctrl_c_leaves_a_clean_terminal(tamis):
    leader, process = watch_on_terminal(tamis, "--sim", "memory=2GiB")
    text = read_until(leader, lambda text: text.count("\x1b[J") >= 3)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == -signal.SIGINT
    os.close(leader)
    first, second = text.split("\x1b[J")[:2]
    lines = first.count("\n")
    assert f"\x1b[{lines}A" in second and "\x1b[" + f"{lines}A" not in first
    assert "[\x1b[32m" in first and "others" in first
    # Nothing is left behind: no other screen, no hidden cursor, every colour ends.
    assert "\x1b[?" not in text
    assert first.count("\x1b[0m") >= first.count("\x1b[32m")
    for line in re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", first).replace("\r", "").splitlines():
        assert len(line) <= 80


def test_watch_fits_a_small_window(tamis):
    sims = [word for i in range(12) for word in ("--sim", f"name=n{i}")]
    leader, process = watch_on_terminal(tamis, *sims, rows=10)
    text = read_until(leader, lambda text: text.count("\x1b[J") >= 2)
    process.send_signal(signal.SIGINT)
    process.wait(30)
    os.close(leader)
    assert text.split("\x1b[J")[0].count("\n") == 9 and "more than this window shows" in text


def test_watch_without_colours_scrolls(tamis):
    leader, process = watch_on_terminal(tamis, env={"NO_COLOR": "1"})
    text = read_until(leader, lambda text: text.count("device ") >= 2)
    process.send_signal(signal.SIGINT)
    process.wait(30)
    os.close(leader)
    assert "\x1b" not in text


# ---- GPUs, as an NVML with two cards tells of them


@pytest.fixture(scope="session")
def gpus(tamis):
    folder = tamis.path.parent / "tests" / "fakes" / "two_cards"
    if not (folder / "libnvidia-ml.so.1").exists():
        pytest.skip("the fake NVML with two cards is not built")
    return {"LD_LIBRARY_PATH": str(folder)}


def test_gpus_are_listed_with_the_reason_why_not(tamis, gpus):
    no_plugin = ["--cuda-plugin", "none"]
    listed = tamis("devices", "--format", "json", *no_plugin, env=gpus).json["devices"]
    card = {d["name"]: d for d in listed}["cuda:1"]
    assert card["usable"] is False and "plug-in cannot be opened" in card["problem"]
    assert card["total_bytes"] == 80 * 10**9 and card["free_bytes"] == 50 * 10**9
    assert card["utilisation_percent"] == 97
    assert card["processes"][0]["bytes"] == 29 * 10**9
    text = tamis("devices", *no_plugin, env=gpus).text
    assert "not usable: the CUDA plug-in cannot be opened" in text and "29.0 GB" in text
    assert "cuda:0 is not usable" in tamis("inspect", "--device", "auto", *no_plugin, env=gpus).err


def test_a_driver_that_is_too_old_is_a_reason_too(tamis, gpus):
    fakes = tamis.path.parent / "tests" / "fakes" / "cuda" / "libtamis_cuda.so"
    if not fakes.exists():
        pytest.skip("there is no nvcc: the CUDA plug-in was not built")
    text = tamis("devices", "--cuda-plugin", fakes, env=gpus).text
    assert "the driver knows CUDA 12.4, the CUDA plug-in needs" in text

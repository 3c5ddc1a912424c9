"""tamis train in several processes, as torchrun's variables start them, and on several devices."""
import signal
import socket
import subprocess
import time

import pytest
from conftest import FIXTURES, ROOT

DATA = ROOT / "tests" / "fixtures" / "train" / "data.jsonl"


@pytest.fixture
def common(tmp_path):
    return ["--model_name_or_path", FIXTURES / "xlmr-ce", "--train_data", DATA, "--output_dir", tmp_path / "out",
            "--train_group_size", "3", "--per_device_train_batch_size", "1", "--passage_max_len", "30",
            "--query_max_len", "12", "--learning_rate", "1e-3", "--logging_steps", "1", "--threads", "1"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(tamis, rank, port, *args, size=2):
    env = {"WORLD_SIZE": str(size), "RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return tamis.start("train", "reranker", *args, env=env, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True)


def test_two_processes_train_one_model(tamis, common, tmp_path):
    devices = tmp_path / "devices"
    tamis("train", "reranker", *common[:5], devices, *common[6:], "--max_steps", "4", "--device", "cpu,cpu")
    port = free_port()
    processes = [start(tamis, rank, port, *common, "--max_steps", "4") for rank in (1, 0)]
    (quiet, other_err), (text, err) = [p.communicate(timeout=120) for p in processes]
    assert [p.returncode for p in processes] == [0, 0], other_err + err
    assert len(text.splitlines()) == 4 and quiet == "", "rank 0 tells"
    assert "wrote" in err and "wrote" not in other_err
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (devices / "model.safetensors").read_bytes()


@pytest.mark.parametrize("gone", [0, 1])
def test_a_process_that_is_killed_ends_the_other_with_a_word_and_the_run_goes_on(tamis, common, tmp_path, gone):
    port = free_port()
    steps = ["--max_steps", "3000", "--save_steps", "20"]
    processes = [start(tamis, rank, port, *common, *steps) for rank in (0, 1)]
    until = time.monotonic() + 60
    while not list((tmp_path / "out").glob("checkpoint-*")):
        assert time.monotonic() < until and processes[0].poll() is None
        time.sleep(0.01)
    processes[gone].send_signal(signal.SIGKILL)
    _, err = processes[1 - gone].communicate(timeout=60)
    processes[gone].communicate()
    assert processes[1 - gone].returncode not in (0, -signal.SIGKILL)
    assert f"rank {gone}" in err and "resume_from_checkpoint" in err, err
    newest = max(int(p.name.split("-")[1]) for p in (tmp_path / "out").glob("checkpoint-*"))
    result = tamis("train", "reranker", *common, "--max_steps", "3000", "--resume_from_checkpoint", status=None)
    assert result.status != 0 and "was another one" in result.err, "half the batch is another run"
    common[9] = "2"
    process = tamis.start("train", "reranker", *common, *steps, "--resume_from_checkpoint", stdout=subprocess.PIPE,
                          text=True)
    assert f"step   {newest + 1:>4}/3000" in process.stdout.readline()
    process.kill()
    process.communicate()


@pytest.mark.parametrize("env, message", [
    ({"WORLD_SIZE": "two"}, 'environment variable WORLD_SIZE: expected a whole number, got "two"'),
    ({"WORLD_SIZE": "2"}, "environment variable WORLD_SIZE is 2; expected RANK as well"),
    ({"WORLD_SIZE": "2", "RANK": "1"}, "expected MASTER_ADDR as well"),
    ({"WORLD_SIZE": "2", "RANK": "5", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}, "rank 5 of 2"),
    ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}, "port 0"),
])
def test_variables_that_make_no_sense_are_named(tamis, common, env, message, tmp_path):
    process = tamis.start("train", "reranker", *common, env=env, stderr=subprocess.PIPE, text=True)
    _, err = process.communicate(timeout=60)
    assert process.returncode not in (0, -signal.SIGSEGV) and message in err, err
    assert not (tmp_path / "out").exists()

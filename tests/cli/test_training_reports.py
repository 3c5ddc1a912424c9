"""What tamis train leaves beside the model: TensorBoard's files, read by a reader that knows nothing of the writer,
and the page of a run."""
import math
import json
import signal
import struct
import subprocess
import time

import pytest
from conftest import FIXTURES, ROOT

DATA = ROOT / "tests" / "fixtures" / "train" / "data.jsonl"
TAGS = ["train/loss", "train/grad_norm", "train/learning_rate", "train/epoch", "train/tokens_per_second"]


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def records(data: bytes):
    """The records of a TFRecord file; every byte belongs to one."""
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        assert struct.unpack_from("<I", data, at + 8)[0] == masked(data[at:at + 8])
        body = data[at + 12:at + 12 + size]
        assert len(body) == size
        assert struct.unpack_from("<I", data, at + 12 + size)[0] == masked(body)
        yield body
        at += 16 + size


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data: bytes) -> list[tuple[int, object]]:
    """(number, value) of a protobuf message, as the wire has them."""
    out, at = [], 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 1:
            value, at = struct.unpack_from("<d", data, at)[0], at + 8
        elif kind == 5:
            value, at = struct.unpack_from("<f", data, at)[0], at + 4
        else:
            assert kind == 2
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
            assert len(value) == size
        out.append((key >> 3, value))
    return out


def read_events(path):
    """(version, steps where a session starts, {step: {tag: value}}) of an event file."""
    version, starts, steps = None, [], {}
    for body in records(path.read_bytes()):
        event = dict(fields(body))
        assert abs(event[1] - time.time()) < 3600
        if 3 in event:
            assert version is None and not steps
            version = event[3].decode()
        elif 7 in event:
            assert fields(event[7]) == [(1, 1)]  # SessionLog.START
            starts.append(event[2])
        else:
            assert event[2] not in steps
            values = steps[event[2]] = {}
            for number, value in fields(event[5]):
                assert number == 1
                scalar = dict(fields(value))
                values[scalar[1].decode()] = scalar[2]
    return version, starts, steps


@pytest.fixture
def common(tmp_path):
    """Arguments of a small run."""
    return ["--model_name_or_path", FIXTURES / "xlmr-ce", "--train_data", DATA, "--output_dir", tmp_path / "out",
            "--train_group_size", "3", "--per_device_train_batch_size", "2", "--passage_max_len", "30",
            "--query_max_len", "12", "--learning_rate", "1e-3", "--logging_steps", "1"]


def metrics(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_event_files_have_the_numbers_of_the_metrics(tamis, common, tmp_path):
    tamis("train", "reranker", *common, "--max_steps", "5", "--report_to", "tensorboard")
    [path] = (tmp_path / "out" / "runs").iterdir()
    prefix, stamp = path.name[:20], path.name[20:].split(".")[0]
    assert prefix == "events.out.tfevents." and abs(int(stamp) - time.time()) < 3600 and path.suffix == ".tamis"
    version, starts, steps = read_events(path)
    assert version == "brain.Event:2" and starts == [1]
    assert list(steps) == [1, 2, 3, 4, 5]
    for row in metrics(tmp_path / "out"):
        values = steps[row["step"]]
        assert list(values) == TAGS
        for tag, value in values.items():
            assert math.isclose(value, row[tag.removeprefix("train/")], rel_tol=1e-6)


def test_nothing_is_reported_unless_it_is_asked_for(tamis, common, tmp_path):
    result = tamis("train", "reranker", *common, "--max_steps", "2", "--report_to", "none", "--logging_dir",
                   tmp_path / "logs")
    assert not (tmp_path / "out" / "runs").exists() and not (tmp_path / "logs").exists()
    assert "--logging_dir is where --report_to tensorboard writes" in result.err


def test_other_places_are_told_and_the_directory_is_the_users(tamis, common, tmp_path):
    result = tamis("train", "reranker", *common, "--max_steps", "2", "--report_to", "wandb", "tensorboard",
                   "--logging-dir", tmp_path / "logs" / "mine")
    assert "goes on without: report_to wandb" in result.err
    [path] = (tmp_path / "logs" / "mine").iterdir()
    assert list(read_events(path)[2]) == [1, 2]
    assert not (tmp_path / "out" / "runs").exists()


def test_a_killed_run_leaves_whole_records_and_the_next_has_no_step_twice(tamis, common, tmp_path):
    out, logs = tmp_path / "out", tmp_path / "logs"
    arguments = [*common, "--max_steps", "600", "--save_steps", "25", "--report_to", "tensorboard", "--logging_dir",
                 logs]
    tamis("train", "reranker", *common[:5], tmp_path / "other", *common[6:], "--max_steps", "3", "--report_to",
          "tensorboard", "--logging_dir", logs)
    [other] = logs.iterdir()
    kept = other.read_bytes()
    process = tamis.start("train", "reranker", *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not list(out.glob("checkpoint-[2-9]*")) and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    [first] = set(logs.iterdir()) - {other}
    before = read_events(first)[2]
    assert list(before) == list(range(1, len(before) + 1))
    tamis("train", "reranker", *arguments, "--resume_from_checkpoint")
    [second] = set(logs.iterdir()) - {other, first}
    assert second.name > first.name
    old, (_, [start], new) = read_events(first)[2], read_events(second)
    assert start == len(old) + 1 and start <= len(before) + 1
    assert [*old, *new] == list(range(1, 601))
    assert all(old[step] == before[step] for step in old)
    assert other.read_bytes() == kept, "another run's file in the same directory"


def test_a_model_that_was_trained_passes_its_reports_on_to_none(tamis, common, tmp_path):
    tamis("train", "reranker", *common, "--max_steps", "1", "--report_to", "tensorboard")
    common[1], common[5] = tmp_path / "out", tmp_path / "second"
    tamis("train", "reranker", *common, "--max_steps", "1")
    assert not (tmp_path / "second" / "runs").exists()

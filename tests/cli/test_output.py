"""Where results go, and what happens when they cannot."""
import os
import signal
import stat
import subprocess
import time

import pytest

from conftest import request

MANY = request("q", *["passage"] * 20) * 400


def test_output_file_appears_complete(tamis, tiny, tmp_path):
    target = tmp_path / "results.jsonl"
    expected = tamis("rerank", "-m", tiny, "--input", "-", stdin=MANY).out
    done = tamis("rerank", "-m", tiny, "--input", "-", "--output", target, stdin=MANY)
    assert done.out == b"" and target.read_bytes() == expected
    assert os.listdir(tmp_path) == ["results.jsonl"]


def test_an_error_leaves_the_old_file(tamis, tiny, tmp_path):
    target = tmp_path / "results.jsonl"
    target.write_text("old")
    tamis("rerank", "-m", tiny, "--input", "-", "-o", target, stdin=MANY + "oops", status=65)
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["results.jsonl"]


def test_the_old_files_mode_and_links_stay(tamis, tiny, tmp_path):
    target, link = tmp_path / "results.txt", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to("results.txt")
    tamis("rerank", "-m", tiny, "-o", link, "q", "a")
    assert link.is_symlink() and "passage" in target.read_text()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_devices_are_written_directly(tamis, tiny):
    tamis("rerank", "-m", tiny, "-o", "/dev/null", "q", "a")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_unwritable_output_is_an_error_before_any_work(tamis, tmp_path):
    nowhere = tmp_path / "no" / "results"
    done = tamis("rerank", "-m", tmp_path / "no-model", "-o", nowhere, "q", "a", status=66)
    assert str(nowhere) in done.err and "no-model" not in done.err
    tamis("rerank", "-m", tmp_path / "no-model", "-o", tmp_path, "q", "a", status=75)


@pytest.mark.parametrize("command", [
    ["rerank", "q", "a"], ["rerank", "--input", "-"], ["--help"], ["--version"],
    ["completion", "bash"]])
def test_full_disk(tamis, tiny, command):
    if command[0] == "rerank":
        command = [*command, "--model", tiny]
    with open("/dev/full", "wb") as full:
        done = subprocess.run([tamis.path, *command], input=MANY.encode(), stdout=full,
                              stderr=subprocess.PIPE, check=False)
    assert done.returncode == 73
    assert done.stderr == (b"tamis: error: cannot write standard output: "
                           b"No space left on device\n")


def test_full_disk_under_output(tamis, tiny):
    done = tamis("rerank", "-m", tiny, "-o", "/dev/full", "q", "a", status=73)
    assert "No space left on device" in done.err


def test_reader_that_goes_away(tamis, tiny):
    with tamis.start("rerank", "-m", tiny, "--input", "-", stdin=subprocess.PIPE,
                     stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        try:
            process.stdin.write(MANY.encode())
            process.stdin.close()
        except BrokenPipeError:
            pass
        assert process.stderr.read() == b""
    assert process.returncode == -signal.SIGPIPE


def test_closed_descriptors(tamis, tiny):
    def run(redirection):
        return subprocess.run(["sh", "-c", f'"$0" "$@" {redirection}', tamis.path, "rerank", "-m",
                               tiny, "q", "a"], capture_output=True, check=False)
    done = run(">&-")
    assert done.returncode == 75 and b"cannot write standard output" in done.stderr
    assert run("2>&-").returncode == 0
    assert run("<&-").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_removes_the_temporary_file(tamis, tiny, tmp_path, number):
    target = tmp_path / "results.jsonl"
    target.write_text("old")
    with tamis.start("rerank", "-m", tiny, "--input", "-", "-o", target,
                     stdin=subprocess.PIPE) as process:
        process.stdin.write(request("q", "a").encode())
        process.stdin.flush()
        deadline = time.monotonic() + 30
        while len(os.listdir(tmp_path)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(os.listdir(tmp_path)) == 2
        process.send_signal(number)
        process.wait(30)
    assert process.returncode == -number  # 130 in a shell, for Ctrl-C
    assert os.listdir(tmp_path) == ["results.jsonl"] and target.read_text() == "old"

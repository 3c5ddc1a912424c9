"""On a terminal: tables that fit, a progress bar that shows itself only there."""
import fcntl
import os
import pty
import struct
import subprocess
import termios
import time
import unicodedata

import pytest

from conftest import request

LONG = ["大熊猫是中国特有的一种熊科动物" * 20, "word " * 100, "e\u0301" * 200, "👩🏽\u200d🚀🇩🇪" * 50]


def on_terminal(tamis, *arguments, columns=80, stdin=None, env=None):
    """What a terminal of that width is sent on standard output and standard error."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = tamis.start(*arguments, stdin=stdin or subprocess.DEVNULL, stdout=follower,
                          stderr=follower, env={"TERM": "xterm", **(env or {})})
    os.close(follower)
    chunks = []
    while True:
        try:
            chunk = os.read(leader, 1 << 16)
        except OSError:  # the last writer has gone
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.close(leader)
    assert process.wait(60) == 0, b"".join(chunks)
    return b"".join(chunks).decode()


def width(text: str) -> int:
    """Columns, counted the generous way: what combines with a base takes none."""
    return sum(0 if unicodedata.category(c) in ("Mn", "Me", "Cf")
               else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


@pytest.mark.parametrize("columns", [60, 80, 133])
def test_rows_fit_the_terminal(tamis, tiny, columns):
    text = on_terminal(tamis, "rerank", "-m", tiny, "q", *LONG, "short", columns=columns,
                       env={"NO_COLOR": "1"})
    rows = text.replace("\r\n", "\n").splitlines()
    assert len(rows) == 6 + rows[-1].startswith("*")
    cut = [row for row in rows if "…" in row]
    assert len(cut) == 4
    for row in cut:
        assert columns - 5 <= width(row) <= columns and row.endswith("…")


def test_rows_are_whole_without_a_terminal(tamis, tiny):
    assert "…" not in tamis("rerank", "-m", tiny, "q", *LONG).text


def test_heading_is_bold_only_where_it_may_be(tamis, tiny):
    arguments = ["rerank", "-m", tiny, "q", "a"]
    assert "\x1b[1m" in on_terminal(tamis, *arguments)
    assert "\x1b" not in on_terminal(tamis, *arguments, env={"NO_COLOR": "1"})
    assert "\x1b" not in on_terminal(tamis, *arguments, env={"TERM": "dumb"})


def slow_stream(tamis, tiny, *more, env=None):
    """A run that is fed one line, and another one more than half a second later."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        for pause in (0.8, 0):
            os.write(writing, request("q", *["word"] * 8).encode())
            time.sleep(pause)
        os._exit(0)
    os.close(writing)
    try:
        return on_terminal(tamis, "rerank", "-m", tiny, "--input", "-", "-o", "/dev/null",
                           "--batch-tokens", "8", *more, stdin=reading, env=env)
    finally:
        os.close(reading)
        os.waitpid(child, 0)


def test_progress_is_shown_and_wiped(tamis, tiny):
    text = slow_stream(tamis, tiny)
    assert " pairs, " in text and text.endswith("\r\x1b[K")


@pytest.mark.parametrize("more, env", [(["--no-progress"], {}), (["--quiet"], {}),
                                       ([], {"NO_COLOR": "1"}), ([], {"TERM": "dumb"})])
def test_no_progress_where_it_is_not_wanted(tamis, tiny, more, env):
    assert slow_stream(tamis, tiny, *more, env=env) == ""


def test_progress_bar_of_a_file(tamis, real, tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_text(request("q", *["word " * 400] * 8) * 3)  # a second or more on one thread
    text = on_terminal(tamis, "rerank", "-m", real, "--input", path, "-o", "/dev/null",
                       "--batch-tokens", "512", "--threads", "1")
    assert "[#" in text and " %" in text


def test_short_work_shows_no_bar(tamis, tiny):
    assert "pairs" not in on_terminal(tamis, "rerank", "-m", tiny, "q", "a")

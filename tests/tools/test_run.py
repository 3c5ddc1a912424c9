"""tests/run.py counts what happened, whatever a test program does."""
import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = Path(__file__).resolve().parents[1] / "run.py"

# A stand-in for a GoogleTest program: writes the report that it was given, then does `end`.
PROGRAM = """#!{python}
import os, sys, time
path = sys.argv[-1].removeprefix("--gtest_output=xml:")
cases = {cases!r}
print("some output", flush=True)
if cases is not None:
    open(path, "w").write("<testsuites><testsuite>" + cases + "</testsuite></testsuites>")
{end}
"""
PASS = '<testcase name="ok" classname="A" status="run"/>'
FAIL = ('<testcase name="bad" classname="A" status="run"><failure message="m">1 is not 2</failure>'
        "</testcase>")
SKIP = ('<testcase name="away" classname="A" status="run"><skipped message="a.cc:3&#x0A;no data '
        'there"/></testcase>')
DISABLED = '<testcase name="DISABLED_x" classname="A" status="notrun"/>'


@pytest.fixture
def run(tmp_path):
    """Function that makes programs, runs the runner, returns (status, output lines)."""
    def make_and_run(programs: dict[str, str], *options: str) -> tuple[int, list[str]]:
        for name, text in programs.items():
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o755)
        (tmp_path / "test_programs.txt").write_text("".join(f"{name}\n" for name in programs))
        done = subprocess.run([sys.executable, RUNNER, "--build", tmp_path, "--no-pytest",
                               *options], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.splitlines()
    return make_and_run


def program(cases: str | None, end: str = "") -> str:
    return PROGRAM.format(python=sys.executable, cases=cases, end=end)


def test_counts_and_groups_skips_by_reason(run):
    status, lines = run({"a_test": program(PASS + SKIP + DISABLED), "b_test": program(PASS + SKIP)})
    assert (status, lines[-1]) == (0, "2 passed, 0 failed, 3 skipped")
    start = lines.index("skipped, no data there:")
    assert lines[start + 1:start + 3] == ["  a_test: A.away", "  b_test: A.away"]


def test_a_failure_is_shown_and_counted(run):
    status, lines = run({"a_test": program(PASS + FAIL, "sys.exit(1)")})
    assert (status, lines[-1]) == (1, "1 passed, 1 failed, 0 skipped")
    assert "1 is not 2" in lines


@pytest.mark.parametrize("cases, end, words", [
    (None, "os.abort()", "died of signal 6"),
    (None, "sys.exit(3)", "ended with status 3 and left no report"),
    (PASS, "sys.exit(1)", "ended with status 1 although no test failed"),
    ("", "", "has no tests"),
])
def test_a_program_that_goes_wrong_is_a_failure(run, cases, end, words):
    status, lines = run({"a_test": program(cases, end)})
    assert status == 1
    assert ", 1 failed, " in lines[-1]
    assert any(words in line for line in lines)
    assert "some output" in lines


def test_a_program_that_hangs_is_a_failure(run):
    status, lines = run({"a_test": program(None, "time.sleep(60)")}, "--timeout", "1")
    assert (status, lines[-1]) == (1, "0 passed, 1 failed, 0 skipped")
    assert any("did not end within 1 s" in line for line in lines)


def test_a_replay_counts_as_one(run):
    status, lines = run({"x_replay": "#!/bin/sh\nexit 0\n", "y_replay": "#!/bin/sh\nexit 1\n"})
    assert (status, lines[-1]) == (1, "1 passed, 1 failed, 0 skipped")


def test_nothing_to_run_is_no_success(run):
    assert run({})[0] == 1


def test_a_missing_build_is_a_failure(tmp_path):
    done = subprocess.run([sys.executable, RUNNER, "--build", tmp_path, "--no-pytest"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "0 passed, 1 failed, 0 skipped"

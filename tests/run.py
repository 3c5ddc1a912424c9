#!/usr/bin/env python3
"""Runs the test programs of one build and then pytest; the last line is the total.

    python3 tests/run.py [--preset release] [--only SUBSTRING] [--no-pytest] [--timeout SECONDS] [--jobs N]

The programs stand in build/<preset>/test_programs.txt, one a line: path TAB argument TAB argument.
A GoogleTest program counts with each of its tests; one whose name ends in _replay is a plain
program and counts as one test, by its exit status. A program that dies, hangs or writes no report
is a failure. The last line is `N passed, N failed, N skipped`; the exit status is 0 only if
something passed and nothing failed.
"""
from __future__ import annotations

import argparse
import concurrent.futures
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TAIL_BYTES = 8000  # of a failed program's output


@dataclass
class Totals:
    """What was counted so far."""
    passed: int = 0
    failures: list[str] = field(default_factory=list)
    skipped: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # by reason

    def fail(self, name: str, details: str) -> None:
        self.failures.append(name)
        print(f"\nFAILED {name}\n{details.rstrip()}\n", flush=True)

    def add(self, other: "Totals") -> None:
        self.passed += other.passed
        self.failures += other.failures
        for reason, names in other.skipped.items():
            self.skipped[reason] += names

    def last_line(self) -> str:
        skipped = sum(map(len, self.skipped.values()))
        return f"{self.passed} passed, {len(self.failures)} failed, {skipped} skipped"


def execute(command: list[str], environment: dict[str, str],
            timeout: float) -> tuple[int | None, str]:
    """Exit status (None: it was killed after `timeout`) and the output, both streams together."""
    with tempfile.TemporaryFile() as output:
        try:
            status = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                                    stdout=output, stderr=subprocess.STDOUT, timeout=timeout,
                                    check=False).returncode
        except subprocess.TimeoutExpired:
            status = None
        except OSError as error:
            return 127, str(error)
        output.seek(0)
        return status, output.read().decode("utf-8", "replace")


def outcome(status: int | None, timeout: float) -> str:
    if status is None:
        return f"did not end within {timeout:g} s"
    return f"died of signal {-status}" if status < 0 else f"ended with status {status}"


def tail(text: str) -> str:
    return text if len(text) <= TAIL_BYTES else "...\n" + text[-TAIL_BYTES:]


def count_report(report: Path, suite: str, totals: Totals) -> tuple[int, int]:
    """Adds the cases of a JUnit file (GoogleTest's or pytest's); returns (all, failed)."""
    count = failed = 0
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        if case.get("status") == "notrun":  # DISABLED_ in its name
            totals.skipped["disabled in the source"].append(f"{suite}: {case.get('name')}")
            count += 1
            continue
        name = f"{suite}: {case.get('classname')}.{case.get('name')}"
        problems = [*case.iter("failure"), *case.iter("error")]
        skips = list(case.iter("skipped"))
        count += 1
        if problems:
            failed += 1
            totals.fail(name, "\n".join(tail(p.text or p.get("message", "")) for p in problems))
        elif skips:
            totals.skipped[skip_reason(skips[0])].append(name)
        else:
            totals.passed += 1
    return count, failed


def skip_reason(element: ElementTree.Element) -> str:
    """GoogleTest writes `file:line` and then the reason, pytest the reason alone."""
    lines = (element.get("message") or "").strip().splitlines()
    if lines and ".cc:" in lines[0]:
        lines = lines[1:]
    return " ".join(line.strip() for line in lines) or "no reason given"


def run_program(command: list[str], environment: dict[str, str], timeout: float) -> Totals:
    totals = Totals()
    name = Path(command[0]).name
    started = time.monotonic()
    if name.endswith("_replay"):
        status, output = execute(command, environment, timeout)
        if status == 0:
            totals.passed += 1
        else:
            totals.fail(name, f"{tail(output)}\n{name} {outcome(status, timeout)}")
        summary = "replayed"
    else:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            status, output = execute([*command, f"--gtest_output=xml:{report}"], environment,
                                     timeout)
            count = failed = 0
            try:
                count, failed = count_report(report, name, totals)
            except (OSError, ElementTree.ParseError):
                totals.fail(name, f"{tail(output)}\n{name} {outcome(status, timeout)} and left no "
                                  "report")
            else:
                if status != 0 and failed == 0:  # e.g. a sanitizer's report at exit
                    totals.fail(name, f"{tail(output)}\n{name} {outcome(status, timeout)} although "
                                      "no test failed")
                elif count == 0:
                    totals.fail(name, f"{tail(output)}\n{name} has no tests")
            summary = f"{count} tests"
    print(f"{name:40} {summary:>12} {time.monotonic() - started:8.1f} s", flush=True)
    return totals


def run_pytest(environment: dict[str, str], only: str, timeout: float, totals: Totals) -> None:
    """Each folder by itself: their conftest.py would stand in each other's way."""
    folders: dict[Path, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        name = path.relative_to(ROOT)
        if only in str(name):
            folders[name.parent].append(str(name))
    for folder, files in folders.items():
        run_pytest_folder(str(folder), files, environment, timeout, totals)


def run_pytest_folder(name: str, files: list[str], environment: dict[str, str], timeout: float,
                      totals: Totals) -> None:
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        status, output = execute(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
             f"--junit-xml={report}", *files], environment, timeout)
        count = failed = 0
        try:
            count, failed = count_report(report, "pytest", totals)
        except (OSError, ElementTree.ParseError):
            totals.fail(name, f"{tail(output)}\npytest {outcome(status, timeout)} and left no "
                              "report")
        else:
            if status != 0 and failed == 0:
                totals.fail(name, f"{tail(output)}\npytest {outcome(status, timeout)}")
    print(f"{name:40} {f'{count} tests':>12} {time.monotonic() - started:8.1f} s", flush=True)


def environment_for(build: Path) -> dict[str, str]:
    """The caller's environment, and where tests find the build."""
    environment = dict(os.environ, TAMIS_BUILD=str(build), TAMIS_CLI=str(build / "tamis"),
                       PYTHONDONTWRITEBYTECODE="1")
    environment.setdefault("CMAKE_GENERATOR", "Ninja")  # make need not be there
    environment.setdefault("ASAN_OPTIONS", "detect_stack_use_after_return=1:strict_string_checks=1")
    environment.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    suppressions = ROOT / "tests" / "tsan.supp"
    if suppressions.exists():
        environment.setdefault("TSAN_OPTIONS", f"suppressions={suppressions}")
    return environment


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="release", help="which build/<preset> (release)")
    parser.add_argument("--build", type=Path, help="build folder, instead of --preset")
    parser.add_argument("--only", default="", metavar="SUBSTRING",
                        help="only programs and pytest files with this in their path")
    parser.add_argument("--no-pytest", action="store_true")
    parser.add_argument("--timeout", type=float, default=900, help="seconds a program may run")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1),
                        help="programs at once; pytest comes after them, alone (2)")
    args = parser.parse_args()

    build = (args.build or ROOT / "build" / args.preset).resolve()
    totals = Totals()
    environment = environment_for(build)
    try:
        lines = (build / "test_programs.txt").read_text().splitlines()
    except OSError as error:
        totals.fail("test programs", f"{error}; is {build} built?")
        lines = []
    commands = [[str(build / program), *arguments] for program, *arguments in
                (line.split("\t") for line in lines if line)]
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for outcome_of_one in pool.map(
                lambda command: run_program(command, environment, args.timeout),
                [c for c in commands if args.only in Path(c[0]).name]):
            totals.add(outcome_of_one)
    if not args.no_pytest:
        run_pytest(environment, args.only, args.timeout, totals)

    for reason, names in sorted(totals.skipped.items()):
        print(f"\nskipped, {reason}:")
        for name in names:
            print(f"  {name}")
    if totals.failures:
        print("\nfailed:")
        for name in totals.failures:
            print(f"  {name}")
    elif totals.passed == 0:
        print("\nno test passed")
    print(totals.last_line(), flush=True)
    return 0 if totals.passed and not totals.failures else 1


if __name__ == "__main__":
    sys.exit(main())

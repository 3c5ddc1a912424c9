"""What ptxas said when it compiled the kernels: no register may spill, shared memory stays within what
every card has without asking, and two blocks of attention fit on a multiprocessor."""
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("TAMIS_BUILD", ROOT / "build" / "release"))
LOGS = [BUILD / "src" / "backend" / "cuda" / f"{name}.ptxas.txt"
        for name in ("rows", "attention", "train_rows", "train_attention")]
ARCHITECTURES = {"sm_75", "sm_80", "sm_86", "sm_89", "sm_90"}
KERNELS = 28
REGISTERS_OF_A_MULTIPROCESSOR = 65536

pytestmark = pytest.mark.skipif(not LOGS[0].exists(),
                                reason="there is no nvcc: the CUDA plug-in was not built")

ENTRY = re.compile(
    r"Compiling entry function '(?P<kernel>\w+)' for '(?P<sm>sm_\d+)'.*?"
    r"(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers(?:[^\n]*?(?P<shared>\d+) bytes smem)?", re.DOTALL)


def entries():
    return [m.groupdict() for log in LOGS for m in ENTRY.finditer(log.read_text())]


def test_every_kernel_was_compiled_for_every_architecture():
    found = entries()
    assert {e["sm"] for e in found} == ARCHITECTURES
    assert len({e["kernel"] for e in found}) == KERNELS
    assert len(found) == KERNELS * len(ARCHITECTURES)


def test_no_register_spills():
    assert not [e for e in entries() if e["stores"] != "0" or e["loads"] != "0"]


def test_shared_memory_is_what_every_card_has():
    assert all(int(e["shared"] or 0) <= 48 * 1024 for e in entries())


def test_two_blocks_of_128_threads_fit_on_a_multiprocessor():
    assert all(2 * 128 * int(e["registers"]) <= REGISTERS_OF_A_MULTIPROCESSOR for e in entries())

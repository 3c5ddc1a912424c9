"""What the emulation of the kernels is worth: kernels with a mistake in them, each of which the op
tests must catch. (A softmax may be taken around any number near the largest score: mistakes in that
maximum alone change nothing, and are not here.)
"""
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "src" / "backend" / "cuda"
BUILD = Path(os.environ.get("TAMIS_BUILD", ROOT / "build" / "release"))
OPS_TEST = BUILD / "tests" / "cuda" / "cuda_ops_test"
TRAIN_TEST = BUILD / "tests" / "cuda" / "cuda_train_ops_test"
SOURCES = ("rows.cu", "attention.cu", "train_rows.cu", "train_attention.cu")
BARRIER = "__syncthreads();"

# Tests of cuda_train_ops_test begin so.
TRAINING = "Warps/"

# (file, text, which of its occurrences, what stands there instead, tests that must notice)
MUTANTS = {
    "sum without its first barrier": ("warp.cuh", BARRIER, 0, "", "*LayerNorm*"),
    "sum without its second barrier": ("warp.cuh", BARRIER, 1, "", "*LayerNorm*"),
    "maximum without its first barrier": ("warp.cuh", BARRIER, 2, "", "*Attention*"),
    "maximum without its second barrier": ("warp.cuh", BARRIER, 3, "", "*Attention*"),
    "sum over half a warp": ("warp.cuh", "step = 16", 0, "step = 8", "*LayerNorm*:*Linear*"),
    "tile overwritten while others read it": ("attention.cu", BARRIER, 0, "", "*Attention*"),
    "tile read before it is there": ("attention.cu", BARRIER, 1, "", "*Attention*"),
    "one key too many is loaded and counts": (
        "attention.cu", "+ i < keys ?", 0, "+ i <= keys ?", "*Attention*"),
    "one row too many is stored": ("attention.cu", "if (r >= end)", 0, "if (r > end)", "*Attention*"),
    "sum is not brought to the new maximum": (
        "attention.cu", "sum[half] * shrink + part", 0, "sum[half] + part", "*Attention*"),
    "operands of the second product swapped": (
        "attention.cu", "pair(v), pair(v + 8)", 0, "pair(v + 8), pair(v)", "*Attention*"),
    "norm without its last column": (
        "rows.cu", "c < n; c += kThreads) sum", 0, "c < n - 1; c += kThreads) sum", "*LayerNorm*"),
    "norm writes one column too many": (
        "rows.cu", "c < n; c += kThreads) {\n    y[c]", 0, "c <= n; c += kThreads) {\n    y[c]",
        "*LayerNorm*"),
    "gather writes one column too many": (
        "rows.cu", "if (c >= a.y.cols) return;", 0, "if (c > a.y.cols) return;", "*Gather*"),
    "mean writes one column too many": (
        "rows.cu", "if (c >= a.y.cols) return;", 1, "if (c > a.y.cols) return;", "*Pooling*"),
    "maximum without the row before": ("rows.cu", "a.more ? 0 : 1", 0, "1", "*LargestOf*"),
    "softmax sums without its last column": (
        "rows.cu", "c < a.x.cols; c += kThreads) {", 0, "c < a.x.cols - 1; c += kThreads) {",
        "*Attention*"),
    "product without its tail": (
        "rows.cu", "c < a.x.cols; c += 32", 0, "c + 32 < a.x.cols; c += 32", "*Linear*"),
    "bias of the wrong column": ("rows.cu", "*y + a.bias[c]", 0, "*y + a.bias[0]", "*Linear*"),
    "norm without its statistics": ("rows.cu", "stats[1] = scale", 0, "stats[1] = mean", TRAINING + "*LayerNorm*"),
    "plain product without its last row": (
        "train_rows.cu", "k < a.inner && k < piece", 0, "k < a.inner - 1 && k < piece", TRAINING + "*Product*"),
    "plain product that forgets what was there": (
        "train_rows.cu", "*y + sum", 0, "sum", TRAINING + "*Product*"),
    "sum of columns with a row of the next piece": (
        "train_rows.cu", "r < begin + kSumRows", 0, "r <= begin + kSumRows", TRAINING + "*SumsOfColumns*"),
    "gradient of gamma without the mean": (
        "train_rows.cu", " - a.stats[2 * r]) * a", 0, ") * a", TRAINING + "*LayerNorm*"),
    "gradient of a norm without its second mean": (
        "train_rows.cu", " - hat * hat_mean", 0, "", TRAINING + "*LayerNorm*"),
    "derivative of gelu without its density": (
        "train_rows.cu", "expf(-0.5f * x * x)", 0, "0.0f", TRAINING + "*Activations*"),
    "embedding's gradient overwrites": (
        "train_rows.cu", "] += a.x.data[r", 0, "] = a.x.data[r", TRAINING + "*Embeddings*"),
    "dropout by another row": (
        "dropout.cuh", "d.noise_rows[r % d.tokens]", 0, "d.noise_rows[0]", TRAINING + "*Dropout*"),
    "dropout of all heads alike": (
        "dropout.cuh", "static_cast<uint32_t>(r / d.tokens)", 0, "0", TRAINING + "*DropsTheSame*"),
    "dropout writes beyond a row": ("dropout.cuh", "if (c < n) f(", 0, "f(", TRAINING + "*Dropout*"),
    "sum of squares read before it is there": (
        "train_rows.cu", BARRIER, 0, "", TRAINING + "*Optimiser*"),
    "optimiser without decay": ("train_rows.cu", " * a.kept_weight", 0, "", TRAINING + "*Optimiser*"),
    "optimiser on the wrong rows": (
        "train_rows.cu", "rows.ids != nullptr ? rows.ids[r] : r", 0, "r", TRAINING + "*Optimiser*"),
    "softmax's gradient of what was dropped": (
        "train_attention.cu", "kept * d_p[c]", 0, "plain * d_p[c]", TRAINING + "*AttentionAndIts*"),
    "softmax's gradient of another head": (
        "train_attention.cu", "* a.head_dim;", 0, "* 0;", TRAINING + "*AttentionAndIts*"),
}

pytestmark = pytest.mark.skipif(not OPS_TEST.exists(),
                                reason="there is no nvcc: the CUDA plug-in was not built")


def build_twins(folder: Path, file: str = "", old: str = "", which: int = 0, new: str = "") -> None:
    """folder/libcuda_twins.so of the kernels with one change, and with the rest as the build has it."""
    kernels = folder / "src" / "backend" / "cuda"
    shutil.copytree(KERNELS, kernels)
    if file:
        parts = (kernels / file).read_text().split(old)
        assert len(parts) > which + 1, f"{file} has no {old!r} number {which}: mend this test"
        (kernels / file).write_text(old.join(parts[:which + 1]) + new + old.join(parts[which + 1:]))
    rest = list((BUILD / "tests/fakes/cuda/CMakeFiles/cuda_twins.dir").rglob("*.cc.o"))
    for module in ("numeric", "base"):
        rest += (BUILD / "src" / module).rglob("*.o")
    includes = [f"-I{p}" for p in (folder / "src", ROOT / "tests/cuda/emulation", ROOT / "src",
                                   ROOT / "include")]
    subprocess.run(["g++", "-std=c++20", "-O1", "-fPIC", "-shared", "-Wno-unknown-pragmas", *includes,
                    "-x", "c++", *(kernels / name for name in SOURCES), "-x", "none", *rest,
                    f"-L{BUILD / 'tests/fakes/cuda'}", "-lfake_cudart", "-o",
                    folder / "libcuda_twins.so"], check=True)


def run_ops(folder: Path, tests: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
    both_orders = ":".join(f"{name}/sm80*:{name}/plain" for name in tests.split(":"))
    program = OPS_TEST
    if tests.startswith(TRAINING):
        program, both_orders = TRAIN_TEST, tests
    return subprocess.run([program, f"--gtest_filter={both_orders}"], env=environment,
                          capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize("tests", ["*", TRAINING + "*"])
def test_the_kernels_as_they_are_pass(tmp_path, tests):
    build_twins(tmp_path)
    result = run_ops(tmp_path, tests)
    assert result.returncode == 0, result.stdout[-2000:]


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mistake_is_caught(tmp_path, name):
    file, old, which, new, tests = MUTANTS[name]
    build_twins(tmp_path, file, old, which, new)
    result = run_ops(tmp_path, tests)
    assert "Running main" in result.stdout, result.stderr
    assert result.returncode != 0, f"{name}: nobody noticed"

"""What needs a process of its own: Ctrl-C, exit, files that go away, memory."""
import os
import shutil
import subprocess
import sys
import textwrap

import pytest


@pytest.fixture
def run(package):
    """Function: runs a script; returns its output."""
    def run_script(script, *arguments, status=0, timeout=120):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)], timeout=timeout,
            env={**os.environ, "PYTHONPATH": str(package)}, capture_output=True, text=True,
            check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout
    return run_script


# A batch of the simulated device takes some seconds.
SLOW = """
    import signal, sys, time, tamis
    signal.signal(signal.SIGINT, signal.default_int_handler)
    devices = tamis.Devices(["memory=1GiB,gflops=0.06"])
    model = tamis.Reranker(sys.argv[1], device="sim:0", devices=devices)
    work = [("where is the cat", f"it sat on mat number {i} for the whole day") for i in range(400)]
"""


def test_ctrl_c_ends_a_call_in_the_middle_of_a_batch(run, models):
    out = run(SLOW + """
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    start = time.monotonic()
    try:
        model.score(work)
    except KeyboardInterrupt:
        left = time.monotonic() - start
    devices.describe_sim("sim:0", "gflops=1000")
    assert model.score(work[:2]).shape == (2,)
    print("left after", left)
    """, models / "xlmr-ce")
    # Not a matter of speed: without the check the call would end with its batch, after 3 s.
    assert 0.5 <= float(out.split()[-1]) < 2.0


def test_exit_while_a_call_was_left_is_clean(run, models):
    run(SLOW + """
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        model.score(work)
    except KeyboardInterrupt:
        pass
    """, models / "xlmr-ce")


def test_exit_with_models_loaded_and_threads_inside_is_clean(run, models):
    run("""
    import sys, threading, tamis
    model = tamis.FlagReranker(sys.argv[1])
    def work():
        while True:
            model.compute_score([("a", "b")] * 50)
    for _ in range(3):
        threading.Thread(target=work, daemon=True).start()
    import time; time.sleep(0.3)
    """, models / "xlmr-ce")


def test_the_gil_is_free_while_a_model_works(run, models):
    out = run(SLOW + """
    import threading
    thread = threading.Thread(target=lambda: model.score(work[:60]))
    thread.start()
    count = 0
    while thread.is_alive():
        count += 1
        time.sleep(0.001)
    print(count)
    """, models / "xlmr-ce")
    assert int(out) > 50


def test_a_directory_that_is_deleted_under_the_process_changes_nothing(run, models, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(models / "xlmr-m3", copy)
    run("""
    import shutil, sys, numpy, tamis
    model = tamis.BGEM3FlagModel(sys.argv[1])
    before = model.encode(["the cat sat"])["dense_vecs"]
    shutil.rmtree(sys.argv[1])
    after = model.encode(["the cat sat", "a word that was not used before"])["dense_vecs"]
    assert numpy.allclose(before[0], after[0], atol=1e-6) and numpy.isfinite(after).all()
    model.to("cpu", threads=1)  # packed again from files that have no name any more
    assert numpy.allclose(model.encode(["the cat sat"])["dense_vecs"], before, atol=1e-6)
    """, copy)


def test_a_file_that_is_cut_under_the_process_is_an_error_and_no_signal(run, models, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(models / "xlmr-ce", copy)
    run("""
    import os, sys, tamis
    model = tamis.Reranker(sys.argv[1])
    model.score([("the cat", "sat")])
    os.truncate(sys.argv[1] + "/model.safetensors", 100)
    try:
        model.score([("a word", "that was not used before: zebra")])
        raise SystemExit("expected an error")
    except tamis.TamisError as error:
        assert "model.safetensors" in str(error), error
    """, copy)


def test_memory_stays_flat(run, models):
    out = run("""
    import resource, sys, tamis
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096
    m3 = tamis.BGEM3FlagModel(sys.argv[1])
    reranker = tamis.FlagReranker(sys.argv[2])
    def some(n):
        for i in range(n):
            m3.encode(["a text of some words", "another"], return_sparse=True, return_colbert_vecs=True)
            reranker.compute_score([("a query", f"text {i % 7}")] * 3)
            try:
                reranker.compute_score([("a", None)])
            except TypeError:
                pass
    some(500)
    before = resident()
    some(1500)
    print(resident() - before)
    """, models / "xlmr-m3", models / "xlmr-ce")
    assert int(out) < 2 << 20


def test_torch_is_not_needed(run, models):
    run("""
    import sys
    for name in ("torch", "transformers", "tokenizers", "FlagEmbedding", "tqdm", "huggingface_hub"):
        sys.modules[name] = None  # an import of it fails
    import tamis
    tamis.FlagReranker(sys.argv[1]).compute_score(("a", "b"))
    model = tamis.Embedder(sys.argv[1].replace("xlmr-ce", "xlmr-m3"))
    model.encode(["a"], progress=True)  # without tqdm there is no bar
    """, models / "xlmr-ce")

"""FlagEmbedding's own scripts with the import line changed and nothing else: that of its README, as the
package on PyPI carries it; and, where $FLAGEMBEDDING_PAGES is examples/inference of its repository
(no registry has them), those of each class. They ask for cuda:1, so the latter run on faked cards."""
import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from conftest import MODELS, PACKAGE

PAGES = os.environ.get("FLAGEMBEDDING_PAGES")
FAKES = PACKAGE.parent / "tests" / "fakes" / "cuda" / "libtamis_cuda.so"
IN_THE_HUB = {"bge-base-en-v1.5": "bert-bi-cls", "bge-large-zh-v1.5": "bert-bi-cls",
              "bge-m3": "xlmr-m3", "bge-reranker-large": "xlmr-ce", "bge-reranker-v2-m3": "xlmr-ce"}


@pytest.fixture
def script():
    try:
        readme = metadata.metadata("FlagEmbedding").get_payload()
    except metadata.PackageNotFoundError:
        pytest.skip("FlagEmbedding is not in .cache/adapters")
    part = readme[readme.index("## Quick Start"):]
    blocks = re.findall(r"```[a-z]*\n(.*?)```", part, re.DOTALL)
    first = next(i for i, block in enumerate(blocks) if "from FlagEmbedding import" in block)
    return "\n".join(blocks[first:first + 3])


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache of the hub in which the scripts' models are tiny ones of ours."""
    for name, ours in IN_THE_HUB.items():
        folder = tmp_path / "hub" / f"models--BAAI--{name}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("abc")
        (folder / "snapshots").mkdir()
        (folder / "snapshots" / "abc").symlink_to(MODELS / ours)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_runs_when_its_import_line_is_changed(script, hub):
    assert script.count("from FlagEmbedding import") == 1
    names, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(script.replace("from FlagEmbedding import", "from tamis import"), names)
    similarity = names["similarity"]
    assert similarity.shape == (2, 2) and np.isfinite(similarity).all()
    assert (np.abs(similarity) <= 1.001).all(), "vectors of length 1"
    assert printed.getvalue().startswith("[[")


@pytest.mark.skipif(not PAGES, reason="FLAGEMBEDDING_PAGES is not set")
@pytest.mark.skipif(not FAKES.exists(), reason="there is no nvcc: the CUDA plug-in was not built")
@pytest.mark.parametrize("page, name", [
    ("embedder", "FlagAutoModel"), ("embedder", "FlagModel"), ("embedder", "BGEM3FlagModel"),
    ("reranker", "FlagAutoReranker"), ("reranker", "FlagReranker")])
def test_the_script_of_each_class_runs(page, name, hub, tmp_path):
    text = (Path(PAGES) / page / "README.md").read_text(encoding="utf-8")
    line = f"from FlagEmbedding import {name}\n"
    script = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
                  if line in block)
    shutil.copytree(PACKAGE / "tamis", tmp_path / "tamis")
    shutil.copy(FAKES, tmp_path / "tamis")  # the plug-in that is beside the module is taken
    result = subprocess.run(
        [sys.executable, "-c", script.replace("from FlagEmbedding import", "from tamis import")],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "TAMIS_FAKE_CUDA": "devices=2"},
        capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    numbers = [float(n) for n in re.findall(r"-?\d+\.\d+", result.stdout)]
    assert len(numbers) >= 4 and np.isfinite(numbers).all(), result.stdout

"""The script of FlagEmbedding's README, as its package on PyPI carries it, with the import line changed
and nothing else. (The README's other scripts name GPUs; tests/python calls the same classes alike.)"""
import contextlib
import io
import re
from importlib import metadata

import numpy as np
import pytest

from conftest import MODELS


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
    """A cache of the hub in which the script's model is a tiny one of ours."""
    folder = tmp_path / "models--BAAI--bge-base-en-v1.5"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots").mkdir()
    (folder / "snapshots" / "abc").symlink_to(MODELS / "bert-bi-cls")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
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

"""Tests of the Python package as the build made it (build/PRESET/python)."""
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(os.environ.get("TAMIS_BUILD", ROOT / "build" / "release")) / "python"
MODELS = ROOT / "tests" / "fixtures" / "models"

if not PACKAGE.is_dir():
    collect_ignore_glob = ["*"]
else:
    sys.path.insert(0, str(PACKAGE))


@pytest.fixture(scope="session")
def package():
    """Where the package is, for PYTHONPATH of other processes."""
    return PACKAGE


@pytest.fixture(scope="session")
def models():
    """The folder of the tiny models."""
    return MODELS

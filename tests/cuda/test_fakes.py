"""The fakes of NVIDIA's libraries are held to what the documentation says of the real ones: a program of
their own misuses them in every way that it knows of and looks at what they answer."""
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECK = Path(os.environ.get("TAMIS_BUILD", ROOT / "build" / "release")) / \
    "tests" / "fakes" / "cuda" / "fake_cuda_self_check"


@pytest.mark.skipif(not CHECK.exists(), reason="there is no nvcc: the CUDA plug-in was not built")
def test_the_fakes_answer_as_documented():
    result = subprocess.run([CHECK], capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "the fakes are well" in result.stdout

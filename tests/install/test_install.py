"""find_package(Tamis) from an installed tree, and the README's C++ example compiled and run."""
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_readme_example_builds_and_runs_against_an_installed_tree():
    build = Path(os.environ.get("TAMIS_BUILD", ROOT / "build" / "release"))
    result = subprocess.run(["sh", ROOT / "tests/install/install_test.sh", build, ROOT],
                            capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "installed, found, compiled and run" in result.stdout

"""find_package(Tamis) from an installed tree: the README's C++ example and examples/, compiled and
run; and `pip install .`, which works when the source is gone."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("TAMIS_BUILD", ROOT / "build" / "release"))


def test_examples_build_and_run_against_an_installed_tree():
    result = subprocess.run(["sh", ROOT / "tests/install/install_test.sh", BUILD, ROOT],
                            capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    for name in ("consumer", "embed_cc", "score_c", "embed_c"):
        assert f"{name}: installed, found, compiled and run" in result.stdout


def test_pip_installs_package_and_command_and_the_source_may_go(tmp_path):
    if not (BUILD / "python").is_dir():
        pytest.skip("the package was not built: nanobind is not in .venv")
    source = tmp_path / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True,
                             check=True).stdout.split("\0")
    for name in tracked:
        if name.startswith(("src/", "include/", "apps/", "bindings/", "cmake/")) or name in (
                "CMakeLists.txt", "pyproject.toml", "VERSION", "README.md", "LICENSE"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    prefix = tmp_path / "site"
    # The build's tools are those of .venv, so that nothing is fetched; ccache, where there is one,
    # knows the objects.
    environment = {**os.environ, "CCACHE_BASEDIR": str(source), "CCACHE_NOHASHDIR": "1",
                   "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if shutil.which("ccache"):
        environment["TAMIS_COMPILER_LAUNCHER"] = "ccache"
        environment.setdefault("CXX", "c++")  # by the name that CMake found for the build
    result = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--no-build-isolation", "--no-deps", "--no-index", "--target", prefix, source],
        env=environment, capture_output=True, text=True, timeout=550, check=False)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    shutil.rmtree(source)

    model = ROOT / "tests" / "fixtures" / "models" / "xlmr-ce"
    environment = {**os.environ, "PYTHONPATH": str(prefix)}
    script = ("import sys, tamis; print(tamis.__file__); "
              "print(tamis.FlagReranker(sys.argv[1]).compute_score(('a', 'b')))")
    result = subprocess.run([sys.executable, "-c", script, model], env=environment,
                            capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 0 and str(prefix) in result.stdout, result.stdout + result.stderr
    for name in ("py.typed", "_native.pyi"):
        assert (prefix / "tamis" / name).is_file()
    result = subprocess.run([prefix / "bin" / "tamis", "rerank", "-m", model, "a", "b"],
                            capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 0, result.stderr

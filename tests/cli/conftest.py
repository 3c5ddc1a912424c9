"""What the tests of the command line share. The program: $TAMIS_BIN or $TAMIS_CLI, else
build/release/tamis. Models: the tiny ones of tests/fixtures/models; the default model where a test
needs real weights."""
import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures" / "models"
DEFAULT_MODEL = ROOT / ".cache" / "models" / "tamis-reranker-small"


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes seconds")


def binary() -> Path:
    for name in ("TAMIS_BIN", "TAMIS_CLI"):
        if os.environ.get(name):
            return Path(os.environ[name])
    return ROOT / "build" / "release" / "tamis"


@dataclass
class Result:
    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode("utf-8")

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def lines(self) -> list:
        return [json.loads(line) for line in self.text.splitlines()]


class Tamis:
    """Runs the program. What it must not inherit from the caller is taken out."""

    def __init__(self, path: Path):
        self.path = path
        self.sanitized = b"__asan_init" in path.read_bytes()
        self.environment = {name: value for name, value in os.environ.items()
                            if name not in ("TAMIS_MODEL", "TAMIS_CACHE", "NO_COLOR", "COLUMNS", "XDG_CACHE_HOME")}

    def __call__(self, *arguments, stdin: bytes | str = b"", status: int | None = 0, env=None,
                 **more) -> Result:
        if isinstance(stdin, str):
            stdin = stdin.encode()
        done = subprocess.run([self.path, *map(os.fspath, arguments)], input=stdin, timeout=120,
                              capture_output=True, check=False,
                              env={**self.environment, **(env or {})}, **more)
        result = Result(done.returncode, done.stdout, done.stderr.decode("utf-8"))
        assert "terminate called" not in result.err
        if status is not None:
            assert result.status == status, f"{result.err}\n{result.out[:2000]!r}"
        return result

    def start(self, *arguments, **more) -> subprocess.Popen:
        # A job in the background of a script starts with SIGINT ignored, and tamis leaves it so.
        return subprocess.Popen([self.path, *map(os.fspath, arguments)],
                                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                                env={**self.environment, **more.pop("env", {})}, **more)


@pytest.fixture(scope="session")
def tamis() -> Tamis:
    path = binary()
    if not path.exists():
        pytest.skip(f"{path} is not built")
    return Tamis(path)


def fixture_model(name: str) -> Path:
    path = FIXTURES / name
    if not path.is_dir():
        pytest.skip(f"tests/fixtures/models/{name} is not there")
    return path


@pytest.fixture(scope="session")
def tiny() -> Path:
    """A cross-encoder with one label."""
    return fixture_model("xlmr-ce")


@pytest.fixture(scope="session")
def labels() -> Path:
    """A cross-encoder with two labels."""
    return fixture_model("bert-ce-labels2")


@pytest.fixture(scope="session")
def embedder() -> Path:
    return fixture_model("bert-bi-mean-norm")


@pytest.fixture(scope="session")
def real() -> Path:
    if not (DEFAULT_MODEL / "model.safetensors").exists():
        pytest.skip("the default model is not there (./run model)")
    return DEFAULT_MODEL


def request(query, *passages) -> str:
    return json.dumps({"query": query, "passages": list(passages)}, ensure_ascii=False) + "\n"

"""What the tests of `tamis serve` share: a running server, and a plain HTTP client on a socket.

The program: $TAMIS_CLI, else build/release/tamis. Models: the tiny ones of tests/fixtures/models; the
default model where a test needs real weights."""
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures" / "models"
DEFAULT_MODEL = ROOT / ".cache" / "models" / "tamis-reranker-small"
PATIENCE = 60  # seconds that no wait of a test should ever come near to


def binary() -> Path:
    return Path(os.environ.get("TAMIS_CLI") or ROOT / "build" / "release" / "tamis")


def pytest_collection_modifyitems(config, items):
    help_text = subprocess.run([binary(), "serve", "--help"], capture_output=True, text=True).stdout
    if "--port" in help_text:
        return
    for item in items:
        item.add_marker(pytest.mark.skip(reason="this build has no server"))


@dataclass
class Answer:
    status: int
    headers: dict  # lower-case names
    body: bytes
    raw_headers: list = field(default_factory=list)

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class Connection:
    """One connection, so that a test decides what goes over it, and when."""

    def __init__(self, address, timeout=PATIENCE):
        if isinstance(address, (str, Path)):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(str(address))
        else:
            self.socket = socket.create_connection(address, timeout=timeout)
        self.kept = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data: bytes | str):
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def _more(self) -> bool:
        data = self.socket.recv(65536)
        self.kept += data
        return bool(data)

    def read(self, head=False) -> Answer | None:
        """The next answer; None if the server closes instead."""
        while b"\r\n\r\n" not in self.kept:
            try:
                if not self._more():
                    return None
            except ConnectionResetError:
                return None
        header, self.kept = self.kept.split(b"\r\n\r\n", 1)
        lines = header.decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        raw = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]
        headers = {name.lower(): value for name, value in raw}
        if status == 100:
            return Answer(100, headers, b"")
        length = 0 if head or status == 204 else int(headers.get("content-length", "0"))
        while len(self.kept) < length:
            if not self._more():
                return None
        body, self.kept = self.kept[:length], self.kept[length:]
        return Answer(status, headers, body, raw)

    def closed(self) -> bool:
        """Waits until the server has closed."""
        try:
            while self._more():
                pass
        except ConnectionResetError:
            pass
        return True


def request_bytes(method, path, body=b"", headers=()) -> bytes:
    if not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    if body or method in ("POST", "PUT"):
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in dict(headers).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


class Server:
    """`tamis serve`, ready when this is there."""

    def __init__(self, *arguments, wait=True, env=None, stderr=None):
        command = [binary(), "serve", "--port", "0", *map(str, arguments)]
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith("TAMIS_SERVE_") and name != "TAMIS_MODEL"}
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, errors="replace",
                                        env={**environment, **(env or {})})
        self.lines: list[str] = []
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.address = None
        if wait:
            self.wait_ready()

    def _read(self):
        for line in self.process.stderr:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    @property
    def log(self) -> str:
        with self.changed:
            return "\n".join(self.lines)

    def wait_for(self, pattern: str, count=1) -> re.Match:
        """Until that many lines of the log match; returns the last one."""
        deadline = time.monotonic() + PATIENCE
        with self.changed:
            while True:
                found = [m for m in map(re.compile(pattern).search, self.lines) if m]
                if len(found) >= count:
                    return found[-1]
                if self.process.poll() is not None and not self.reader.is_alive():
                    raise AssertionError(f"the server ended with {self.process.returncode}:\n"
                                         + "\n".join(self.lines))
                if time.monotonic() > deadline:
                    raise AssertionError(f"no '{pattern}' in:\n" + "\n".join(self.lines))
                self.changed.wait(0.1)

    def wait_ready(self):
        match = self.wait_for(r"ready: (?:https?://([^ ,]+):(\d+)|unix:([^ ,]+))")
        self.address = match[3] or (match[1].strip("[]"), int(match[2]))

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    def connect(self, **more) -> Connection:
        return Connection(self.address, **more)

    def request(self, method, path, body=b"", headers=()) -> Answer:
        with self.connect() as connection:
            connection.send(request_bytes(method, path, body, headers))
            answer = connection.read(head=method == "HEAD")
            assert answer is not None, f"{method} {path}: closed without an answer\n{self.log}"
            return answer

    def get(self, path, **more) -> Answer:
        return self.request("GET", path, **more)

    def post(self, path, body, **more) -> Answer:
        return self.request("POST", path, body, **more)

    def memory(self) -> int:
        """Resident bytes."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) * 1024

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self, signal_number=signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("the server did not end:\n" + self.log) from None

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if kind is not None:
            print(self.log)


@pytest.fixture(scope="module")
def reranker():
    """A small cross-encoder behind a server."""
    with Server("--model", FIXTURES / "xlmr-ce") as server:
        yield server


RERANK = {"query": "what is a tamis", "documents": ["a drum sieve", "the sky", "fine horsehair"]}

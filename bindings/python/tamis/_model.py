"""What Reranker and Embedder share: loading, place, memory, life."""
from __future__ import annotations

import os
import threading
from typing import Any, Callable, TypeVar, Union

from . import _native
from ._arguments import DeviceSpec, device_names
from ._hub import find_model
from .errors import CancelledError

Path = Union[str, "os.PathLike[str]"]
Progress = Union[bool, Callable[[int, int], object]]
T = TypeVar("T")


class Devices:
    """The devices of this machine. Models loaded with the same Devices share what they open.

    sims: simulated accelerators, for tests and dry runs: the i-th describes "sim:i", e.g.
    "memory=2GiB,gflops=50".
    """

    def __init__(self, sims: list[str] | None = None) -> None:
        self._native = _native.Devices(sims or [])

    def status(self) -> list[dict[str, Any]]:
        """Every device with its memory in bytes; opens none."""
        return self._native.status()

    def names(self) -> list[str]:
        """Those that a model can be placed on."""
        return [device["name"] for device in self.status() if device["usable"]]

    def describe_sim(self, name: str, description: str) -> None:
        """Describes or changes a simulated accelerator, also while it runs."""
        self._native.describe_sim(name, description)


class Bar:
    """A progress bar of tqdm if that is installed, else nothing. Also a caller's own function."""

    def __init__(self, progress: Progress, unit: str) -> None:
        self._bar: Any = None
        self.callback: Callable[[int, int], object] | None = None
        if callable(progress):
            self.callback = progress
        elif progress:
            try:
                from tqdm.auto import tqdm
            except ImportError:
                return
            self._bar = tqdm(unit=unit, leave=False)
            self.callback = self._update

    def _update(self, done: int, total: int) -> None:
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def __enter__(self) -> Callable[[int, int], object] | None:
        return self.callback

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.close()


class Cancel:
    """Lets another thread stop a call: its progress raises."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def __call__(self, done: int, total: int) -> None:
        if self._event.is_set():
            raise CancelledError("the task was cancelled")


async def in_thread(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Runs a call of the library in a thread; a cancelled task stops it after its batch."""
    import asyncio  # here, for it takes 40 ms that most users have no use for

    cancel = Cancel()
    task = asyncio.ensure_future(asyncio.to_thread(call, *args, progress=cancel, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        cancel.set()
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        raise


class PlacedModel:
    """A loaded model. It stays in host memory, mapped from its files; replicas of it are made on
    the devices that are named. All methods may be called from many threads at once.
    """

    _native: Any

    @staticmethod
    def _load(kind: Any, model: Path, *, device: DeviceSpec, dtype: str | None, threads: int,
              isa: str | None, memory_limit: int | None, batch_tokens: int,
              cache_directory: Path | None, devices: Devices | None, pooling: str | None,
              cache_dir: Path | None) -> Any:
        options = _native.LoadOptions()
        options.device = ",".join(device_names(device))
        options.dtype = dtype or ""
        options.threads = threads
        options.isa = isa or ""
        options.memory_limit_bytes = memory_limit
        options.batch_tokens = batch_tokens
        if cache_directory is not None:
            options.cache_directory = os.fspath(cache_directory)
        if devices is not None:
            options.set_devices(devices._native)
        if pooling is not None:
            options.set_pooling(pooling)
        return kind.load(find_model(model, cache_dir), options)

    def to(self, device: DeviceSpec, *, dtype: str | None = None, threads: int | None = None,
           memory_limit: int | None = None, batch_tokens: int | None = None) -> dict[str, Any]:
        """Moves the model, while calls go on: "cuda", "cuda:1", "cpu", ["sim:0", "sim:1"], "auto".

        Returns what was done: from, to, reason, load_ms, pause_ms, weight_bytes. If it fails, the
        model stays where it is and remains usable.
        Errors: InvalidArgumentError (no such device; lists those that exist),
        ResourceExhaustedError (does not fit), UnavailableError.
        """
        options = _native.MoveOptions()
        options.dtype = dtype or ""
        options.threads = threads
        options.memory_limit_bytes = memory_limit
        options.batch_tokens = batch_tokens
        return self._native.to(",".join(device_names(device)), options)

    @property
    def device(self) -> str:
        """Where the model is: "cpu", "sim:0,sim:1"."""
        return self._native.device()

    def placement(self) -> list[dict[str, Any]]:
        """Each replica: device, dtype, bytes, threads, batches done."""
        return self._native.placement()

    def memory_plan(self) -> dict[str, Any]:
        """Bytes of weights, workspace and mapped word table that the placement takes."""
        return self._native.memory_plan()

    def warmup(self, shapes: list[tuple[int, int]] | None = None, *,
               limit_ms: int = 10000) -> list[dict[str, Any]]:
        """Runs made-up batches of (sequences, tokens), so that the first request finds memory and
        caches ready."""
        options = _native.WarmupOptions()
        options.limit_ms = limit_ms
        for sequences, tokens in shapes or []:
            options.add(sequences, tokens)
        return self._native.warmup(options)

    def trim(self) -> int:
        """Gives the memory of batches back until the next one; returns the bytes."""
        return self._native.trim()

    @property
    def info(self) -> dict[str, Any]:
        """What the model is: architecture, hidden_size, max_length, labels, pooling, ..."""
        return self._native.info()

    def close(self) -> None:
        """Frees the model; later calls raise InvalidArgumentError. May be called twice."""
        self._native.close()

    @property
    def closed(self) -> bool:
        return self._native.closed

    def __enter__(self):  # type: ignore[no-untyped-def]
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        name = type(self).__name__
        if self.closed:
            return f"<tamis.{name}, closed>"
        return f"<tamis.{name} {self.info['directory']!r} on {self.device}>"

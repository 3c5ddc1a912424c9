"""Where a model is: a directory, or a name of the Hugging Face hub in the cache of this machine."""
from __future__ import annotations

import os
from pathlib import Path

from .errors import NotFoundError

_WANTED = ["*.json", "*.txt", "*.model", "*.safetensors", "*.bin", "*.pt"]
_UNWANTED = ["onnx/*", "openvino/*", "flax_model*", "rust_model*", "tf_model*", "imgs/*"]


def _cache(cache_dir: str | os.PathLike[str] | None) -> Path:
    if cache_dir is not None:
        return Path(cache_dir)
    if "HF_HUB_CACHE" in os.environ:
        return Path(os.environ["HF_HUB_CACHE"])
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    return Path(home) / "hub"


def _cached_snapshot(name: str, cache: Path) -> Path | None:
    folder = cache / f"models--{name.replace('/', '--')}"
    try:
        revision = (folder / "refs" / "main").read_text(encoding="ascii").strip()
    except OSError:
        return None
    snapshot = folder / "snapshots" / revision
    return snapshot if (snapshot / "config.json").exists() else None


def find_model(model: str | os.PathLike[str],
               cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """The directory of a model. A name such as "BAAI/bge-m3" is looked for in the hub's cache and,
    if the package huggingface_hub is installed and HF_HUB_OFFLINE is not set, downloaded.
    Errors: NotFoundError."""
    path = Path(os.path.expanduser(os.fspath(model)))
    if path.is_dir():
        return path
    name = os.fspath(model)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise NotFoundError(f"{name}: no such model directory")
    cache = _cache(cache_dir)
    if snapshot := _cached_snapshot(name, cache):
        return snapshot
    if os.environ.get("HF_HUB_OFFLINE", "0") in ("", "0"):
        try:
            import huggingface_hub
        except ImportError:
            pass
        else:
            return Path(huggingface_hub.snapshot_download(
                name, cache_dir=str(cache), allow_patterns=_WANTED, ignore_patterns=_UNWANTED))
    raise NotFoundError(
        f"{name}: no such directory, and not in the hub's cache {cache}; download it with "
        f"'hf download {name}' (package huggingface_hub), or give the model's directory")

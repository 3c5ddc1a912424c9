"""What the adapters share: a model by its name or as it is, and texts with their prefixes."""
from __future__ import annotations

import os
from typing import Any, Sequence, TypeVar

from ..models import Embedder, Reranker

M = TypeVar("M", Reranker, Embedder)


def loaded(kind: type[M], model: Any, options: dict[str, Any] | None) -> M:
    """`model` itself if it is loaded, else loaded with the options. Errors: TypeError."""
    if isinstance(model, kind):
        if options:
            raise TypeError("options are for a model that is not loaded yet: "
                            f"{', '.join(sorted(options))}")
        return model
    if not isinstance(model, (str, os.PathLike)):
        raise TypeError(f"model: expected a path, a name or a tamis.{kind.__name__}, got "
                        f"{type(model).__name__}")
    return kind(model, **(options or {}))


def vectors(embedder: Embedder, texts: Sequence[str], prefix: str,
            normalize: bool | None) -> list[list[float]]:
    """Lists of floats, as these libraries want them."""
    if not texts:
        return []
    with_prefix = [prefix + text for text in texts] if prefix else list(texts)
    dense = embedder.embed(with_prefix, normalize=normalize).dense
    assert dense is not None
    return dense.tolist()

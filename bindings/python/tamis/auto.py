"""FlagEmbedding's FlagAutoModel and FlagAutoReranker: the class and its settings by the model's
name."""
from __future__ import annotations

import os
from enum import Enum
from typing import Any

from . import _native
from ._arguments import DeviceSpec
from ._model import Path
from .errors import UnimplementedError
from .flag import BGEM3FlagModel, FlagModel, FlagReranker


class EmbedderModelClass(str, Enum):
    """Names of embedder classes."""

    ENCODER_ONLY_BASE = "encoder-only-base"
    ENCODER_ONLY_M3 = "encoder-only-m3"
    DECODER_ONLY_BASE = "decoder-only-base"
    DECODER_ONLY_ICL = "decoder-only-icl"
    DECODER_ONLY_PSEUDO_MOE = "decoder-only-pseudo_moe"


class RerankerModelClass(str, Enum):
    """Names of reranker classes."""

    ENCODER_ONLY_BASE = "encoder-only-base"
    DECODER_ONLY_BASE = "decoder-only-base"
    DECODER_ONLY_LAYERWISE = "decoder-only-layerwise"
    DECODER_ONLY_LIGHTWEIGHT = "decoder-only-lightweight"


_EMBEDDERS = {EmbedderModelClass.ENCODER_ONLY_BASE: FlagModel,
              EmbedderModelClass.ENCODER_ONLY_M3: BGEM3FlagModel}
_RERANKERS = {RerankerModelClass.ENCODER_ONLY_BASE: FlagReranker}


def _known(model: Path, kind: str) -> dict[str, Any]:
    known = _native.known_model(os.fspath(model))
    if known is None or known["kind"] != kind:
        raise ValueError(
            f"Model name '{os.path.basename(os.fspath(model))}' is not among the {kind}s that are "
            "known by name; say which class it is with model_class, for instance "
            f"model_class='encoder-only-base'")
    return known


def _pick(classes: dict[Any, Any], model_class: Any, model: Path) -> Any:
    if model_class not in classes:
        raise UnimplementedError(
            f"{os.fspath(model)}: models of class '{model_class.value}' are not supported; "
            f"supported are {', '.join(c.value for c in classes)}")
    return classes[model_class]


class FlagAutoModel:
    """Chooses the class of an embedder; made by from_finetuned only."""

    def __init__(self) -> None:
        raise EnvironmentError("FlagAutoModel is made by "
                               "FlagAutoModel.from_finetuned(model_name_or_path)")

    @classmethod
    def from_finetuned(cls, model_name_or_path: Path,
                       model_class: str | EmbedderModelClass | None = None,
                       normalize_embeddings: bool = True, use_fp16: bool = True,
                       use_bf16: bool = False, query_instruction_for_retrieval: str | None = None,
                       devices: DeviceSpec = None, pooling_method: str | None = None,
                       trust_remote_code: bool | None = None,
                       query_instruction_format: str | None = None,
                       truncate_dim: int | None = None, **kwargs: Any) -> Any:
        """A FlagModel or BGEM3FlagModel. Errors: ValueError (a name that is not known, without
        model_class), UnimplementedError (a class of decoders)."""
        known = {"pooling": "cls", "query_format": "{}{}"}
        if model_class is None:
            known = _known(model_name_or_path, "embedder")
            model_class = known["model_class"]
        chosen = _pick(_EMBEDDERS, EmbedderModelClass(model_class), model_name_or_path)
        return chosen(
            model_name_or_path, normalize_embeddings=normalize_embeddings, use_fp16=use_fp16,
            use_bf16=use_bf16, query_instruction_for_retrieval=query_instruction_for_retrieval,
            query_instruction_format=query_instruction_format or known["query_format"],
            devices=devices, pooling_method=pooling_method or known["pooling"],
            truncate_dim=truncate_dim, **kwargs)


class FlagAutoReranker:
    """Chooses the class of a reranker; made by from_finetuned only."""

    def __init__(self) -> None:
        raise EnvironmentError("FlagAutoReranker is made by "
                               "FlagAutoReranker.from_finetuned(model_name_or_path)")

    @classmethod
    def from_finetuned(cls, model_name_or_path: Path,
                       model_class: str | RerankerModelClass | None = None,
                       use_fp16: bool = False, trust_remote_code: bool | None = None,
                       **kwargs: Any) -> Any:
        """A FlagReranker. Errors: as FlagAutoModel.from_finetuned."""
        if model_class is None:
            model_class = _known(model_name_or_path, "reranker")["model_class"]
        chosen = _pick(_RERANKERS, RerankerModelClass(model_class), model_name_or_path)
        return chosen(model_name_or_path, use_fp16=use_fp16, **kwargs)

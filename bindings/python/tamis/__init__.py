"""Tamis: rerankers and embedders of the FlagEmbedding family, without torch.

    from tamis import FlagReranker
    print(FlagReranker("BAAI/bge-reranker-v2-m3").compute_score(["query", "passage"]))

FlagEmbedding's classes are here under their names (tamis.flag says what differs). Tamis's own are
Reranker, Embedder and Tokenizer.
"""
from __future__ import annotations

from typing import Any

from ._model import Devices
from ._native import supported_isas
from ._native import version as _version
from .auto import EmbedderModelClass, FlagAutoModel, FlagAutoReranker, RerankerModelClass
from .errors import (CancelledError, DataLossError, InternalError, InvalidArgumentError,
                     NotFoundError, ResourceExhaustedError, TamisError, UnavailableError,
                     UnimplementedError)
from .flag import BGEM3FlagModel, FlagModel, FlagReranker
from .models import Embedder, Embeddings, Encoding, RankedPassage, Reranker, Tokenizer

__version__ = _version()

__all__ = [
    "BGEM3FlagModel", "CancelledError", "DataLossError", "Devices", "Embedder",
    "EmbedderModelClass", "Embeddings", "Encoding", "FlagAutoModel", "FlagAutoReranker",
    "FlagModel", "FlagReranker", "InternalError", "InvalidArgumentError", "NotFoundError",
    "RankedPassage", "Reranker", "RerankerModelClass", "ResourceExhaustedError", "TamisError",
    "Tokenizer", "UnavailableError", "UnimplementedError", "__version__", "supported_isas",
]

_DECODERS = ("FlagICLModel", "FlagLLMModel", "FlagPseudoMoEModel", "FlagLLMReranker",
             "LayerWiseFlagLLMReranker", "LightWeightFlagLLMReranker")


def __getattr__(name: str) -> Any:
    if name not in _DECODERS:
        raise AttributeError(f"module 'tamis' has no attribute '{name}'")

    def refuse(*args: object, **kwargs: object) -> None:
        raise UnimplementedError(f"{name}: decoder models are not supported by Tamis "
                                 f"{__version__}; encoders are: FlagModel, BGEM3FlagModel, "
                                 "FlagReranker")
    return type(name, (), {"__init__": refuse})

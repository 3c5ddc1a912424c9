"""FlagEmbedding's classes, names, defaults and shapes, on Tamis: change the import, keep the code.

    from tamis import BGEM3FlagModel, FlagModel, FlagReranker

What differs, and why: `devices=None` is the CPU and never a device that nobody named; results have
one type (a list of scores, float32 vectors); a keyword that does not exist is a TypeError instead
of being ignored; use_fp16=True on a CPU stores weights in f16 and computes in f32; a head of BGE-M3
that is missing is an error instead of random numbers; batches are cut by tokens, so batch_size is
accepted and changes nothing; there are no processes to start or stop.
"""
from __future__ import annotations

import logging
from collections import defaultdict
from functools import cached_property
from typing import Any, Mapping, Sequence, Union

import numpy as np

from . import _native
from ._arguments import DeviceSpec, device_names, positive, refuse_unknown, text_list
from ._hub import find_model
from ._model import Path, PlacedModel
from .errors import UnimplementedError
from .models import Embedder, Reranker, Tokenizer

_log = logging.getLogger("tamis")
Pairs = Union[Sequence[Sequence[str]], Sequence[str]]

# What Tamis's own constructors take beyond FlagEmbedding's.
_NATIVE = ("dtype", "threads", "isa", "memory_limit", "batch_tokens", "cache_directory")
# Of transformers' tokenizers; without padding they have no meaning.
_TOKENIZER = ("pad_to_multiple_of", "padding")


class ModelHandle:
    """What FlagEmbedding calls `.model`: here the place of the weights.

    `model.model.to("cuda:1")` moves them; `device` says where they are. There is nothing of torch.
    """

    def __init__(self, placed: PlacedModel) -> None:
        self._placed = placed

    def to(self, device: DeviceSpec) -> ModelHandle:
        """Moves the weights. Errors: InvalidArgumentError, which lists the devices that there are;
        the model then stays where it is."""
        self._placed.to(device)
        return self

    def half(self) -> ModelHandle:
        """Weights in f16."""
        self._placed.to(self._placed.device.split(","), dtype="f16")
        return self

    def float(self) -> ModelHandle:
        """Weights in f32."""
        self._placed.to(self._placed.device.split(","), dtype="f32")
        return self

    def eval(self) -> ModelHandle:
        """Nothing to do: Tamis only infers."""
        return self

    @property
    def device(self) -> str:
        return self._placed.device


class _FlagBase:
    """What the three classes share."""

    def _settle(self, model_name_or_path: Path, devices: DeviceSpec, kwargs: dict[str, Any],
                known: Sequence[str], cache_dir: Path | None) -> dict[str, Any]:
        """Refuses what is not known; returns the arguments of the native class."""
        refuse_unknown(type(self).__name__, set(kwargs) - set(known) - set(_NATIVE),
                       [*known, *_NATIVE, *self._documented()])
        self.model_name_or_path = model_name_or_path
        self._directory = find_model(model_name_or_path, cache_dir)
        native = {key: kwargs[key] for key in _NATIVE if key in kwargs}
        return {**native, "device": device_names(devices)}

    @classmethod
    def _documented(cls) -> list[str]:
        code = cls.__init__.__code__
        return list(code.co_varnames[1:code.co_argcount + code.co_kwonlyargcount])

    _native_model: PlacedModel

    @cached_property
    def model(self) -> ModelHandle:
        return ModelHandle(self._native_model)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer(self._directory)

    @property
    def target_devices(self) -> list[str]:
        """Where the model is now."""
        return self._native_model.device.split(",")

    def to(self, device: DeviceSpec, **options: Any) -> dict[str, Any]:
        """Moves the model; see PlacedModel.to."""
        return self._native_model.to(device, **options)

    def placement(self) -> list[dict[str, Any]]:
        """Each replica: where it is and what it takes."""
        return self._native_model.placement()

    def memory_plan(self) -> dict[str, Any]:
        """Bytes of weights, workspace and mapped word table that the placement takes."""
        return self._native_model.memory_plan()

    def warmup(self, shapes: list[tuple[int, int]] | None = None,
               **options: Any) -> list[dict[str, Any]]:
        """Runs made-up batches, so that the first request is as fast as the next."""
        return self._native_model.warmup(shapes, **options)

    def stop_self_pool(self) -> None:
        """There is no pool of processes; gives the memory of batches back."""
        if not self._native_model.closed:
            self._native_model.trim()

    def close(self) -> None:
        """Frees the model."""
        self._native_model.close()

    @staticmethod
    def get_target_devices(devices: DeviceSpec) -> list[str]:
        """As FlagEmbedding's, but None is the CPU."""
        return device_names(devices)

    @staticmethod
    def get_detailed_instruct(instruction_format: str, instruction: str, sentence: str) -> str:
        r"""Instruction and sentence in their format; a literal \n in it becomes a line break."""
        return instruction_format.replace("\\n", "\n").format(instruction, sentence)


def _storage(use_fp16: bool, use_bf16: bool, native: dict[str, Any]) -> dict[str, Any]:
    """The dtype that FlagEmbedding's two switches mean, unless dtype is given."""
    if native.get("dtype") is None:
        native["dtype"] = "bf16" if use_bf16 else "f16" if use_fp16 else "f32"
    return native


class FlagReranker(_FlagBase):
    """A cross-encoder such as bge-reranker-v2-m3 [FlagEmbedding FlagReranker].

    Arguments as FlagEmbedding's; see the module for what differs. Further ones are those of
    tamis.Reranker: dtype, threads, isa, memory_limit, batch_tokens, cache_directory.
    """

    def __init__(self, model_name_or_path: Path, use_fp16: bool = False,
                 query_instruction_for_rerank: str | None = None,
                 query_instruction_format: str = "{}{}",
                 passage_instruction_for_rerank: str | None = None,
                 passage_instruction_format: str = "{}{}", trust_remote_code: bool = False,
                 cache_dir: Path | None = None, devices: DeviceSpec = None, batch_size: int = 128,
                 query_max_length: int | None = None, max_length: int = 512,
                 normalize: bool = False, **kwargs: Any) -> None:
        native = self._settle(model_name_or_path, devices, kwargs,
                              ["use_bf16", "passage_max_length"], cache_dir)
        if "passage_max_length" in kwargs:
            # FlagEmbedding's own examples give it to rerankers, where it changes nothing.
            _log.info("FlagReranker: passage_max_length has no effect, as in FlagEmbedding; passages "
                      "are cut to what max_length leaves")
        native = _storage(use_fp16, kwargs.get("use_bf16", False), native)
        self.use_fp16 = use_fp16
        self.query_instruction_for_rerank = query_instruction_for_rerank
        self.query_instruction_format = query_instruction_format
        self.passage_instruction_for_rerank = passage_instruction_for_rerank
        self.passage_instruction_format = passage_instruction_format
        self.batch_size = positive("batch_size", batch_size, 128)
        self.query_max_length = query_max_length
        self.max_length = positive("max_length", max_length, 512)
        self.normalize = normalize
        self._native_model: Reranker = Reranker(self._directory, **native)

    def _with_instructions(self, pairs: list[Sequence[str]]) -> list[tuple[str, str]]:
        def with_one(instruction: str | None, form: str, text: str) -> str:
            return text if instruction is None else self.get_detailed_instruct(
                form, instruction, text)
        query, passage = self.query_instruction_for_rerank, self.passage_instruction_for_rerank
        if query is None and passage is None:
            return pairs  # type: ignore[return-value]
        return [(with_one(query, self.query_instruction_format, q),
                 with_one(passage, self.passage_instruction_format, p)) for q, p in pairs]

    def compute_score(self, sentence_pairs: Pairs, batch_size: int | None = None,
                      query_max_length: int | None = None, max_length: int | None = None,
                      normalize: bool | None = None, device: DeviceSpec = None,
                      **kwargs: Any) -> list[float]:
        """Scores of one (query, passage) or a list of them: always a list of float.

        normalize: sigmoid of the logits. device: moves the model there first.
        Errors: TypeError (no pairs of str; an unknown keyword).
        """
        refuse_unknown("compute_score", set(kwargs) - set(_TOKENIZER),
                       ["batch_size", "query_max_length", "max_length", "normalize", "device"])
        pairs = _pair_list(sentence_pairs)[0]
        if device is not None:
            self._native_model.to(device)
        logits = self._native_model.score(
            self._with_instructions(pairs),
            max_length=positive("max_length", max_length, self.max_length),
            query_max_length=query_max_length or self.query_max_length)
        if logits.ndim != 1:
            raise ValueError(f"{self.model_name_or_path}: a model with {logits.shape[1]} labels "
                             "has no single score; use tamis.Reranker.score")
        scores = logits.astype(np.float64)
        if self.normalize if normalize is None else normalize:
            scores = 1.0 / (1.0 + np.exp(-scores))
        return scores.tolist()

    __call__ = compute_score


def _pair_list(sentence_pairs: Any) -> tuple[list[Sequence[str]], bool]:
    """A pair or a list of pairs as a list, and whether it was one."""
    if isinstance(sentence_pairs, str) or not isinstance(sentence_pairs, (list, tuple)):
        try:
            sentence_pairs = sentence_pairs.tolist()
        except AttributeError:
            raise TypeError("sentence_pairs: expected (query, passage) or a list of such pairs, "
                            f"got {type(sentence_pairs).__name__}") from None
    if len(sentence_pairs) == 2 and all(isinstance(text, str) for text in sentence_pairs):
        return [sentence_pairs], True
    pairs = list(sentence_pairs)
    for i, pair in enumerate(pairs):
        if not (isinstance(pair, (list, tuple)) and len(pair) == 2
                and all(isinstance(text, str) for text in pair)):
            raise TypeError(f"sentence_pairs[{i}]: expected two str, a query and a passage, "
                            f"got {pair!r:.80}")
    return pairs, False


class _FlagEmbedder(_FlagBase):
    """Instructions and lengths of FlagModel and BGEM3FlagModel."""

    _native_model: Embedder

    def _open(self, model_name_or_path: Path, normalize_embeddings: bool, use_fp16: bool,
              use_bf16: bool, query_instruction_for_retrieval: str | None,
              query_instruction_format: str, devices: DeviceSpec, pooling_method: str,
              cache_dir: Path | None, batch_size: int, query_max_length: int,
              passage_max_length: int, truncate_dim: int | None, kwargs: dict[str, Any]) -> None:
        native = self._settle(
            model_name_or_path, devices, kwargs,
            ["passage_instruction_for_retrieval", "passage_instruction_format"], cache_dir)
        native = _storage(use_fp16, use_bf16, native)
        self.normalize_embeddings = normalize_embeddings
        self.use_fp16, self.use_bf16 = use_fp16, use_bf16
        self.query_instruction_for_retrieval = query_instruction_for_retrieval
        self.query_instruction_format = query_instruction_format
        self.passage_instruction_for_retrieval = kwargs.get("passage_instruction_for_retrieval")
        self.passage_instruction_format = kwargs.get("passage_instruction_format", "{}{}")
        self.pooling_method = pooling_method
        self.batch_size = positive("batch_size", batch_size, 256)
        self.query_max_length = positive("query_max_length", query_max_length, 512)
        self.passage_max_length = positive("passage_max_length", passage_max_length, 512)
        self.truncate_dim = (None if truncate_dim is None
                             else positive("truncate_dim", truncate_dim, 1))
        self._native_model = Embedder(self._directory, pooling=pooling_method, **native)

    def _texts(self, where: str, texts: Any, instruction: str | None,
               form: str | None) -> tuple[list[str], bool]:
        listed, single = text_list(where, texts)
        if instruction is not None:
            listed = [self.get_detailed_instruct(form or "{}{}", instruction, text)
                      for text in listed]
        return listed, single


class FlagModel(_FlagEmbedder):
    """An embedder of one vector a text: bge-*-v1.5, e5, gte and others [FlagEmbedding FlagModel].

    Arguments as FlagEmbedding's; see the module for what differs.
    """

    DEFAULT_POOLING_METHOD = "cls"

    def __init__(self, model_name_or_path: Path, normalize_embeddings: bool = True,
                 use_fp16: bool = True, use_bf16: bool = False,
                 query_instruction_for_retrieval: str | None = None,
                 query_instruction_format: str = "{}{}", devices: DeviceSpec = None,
                 pooling_method: str = "cls", trust_remote_code: bool = False,
                 cache_dir: Path | None = None, batch_size: int = 256,
                 query_max_length: int = 512, passage_max_length: int = 512,
                 convert_to_numpy: bool = True, truncate_dim: int | None = None,
                 **kwargs: Any) -> None:
        self._open(model_name_or_path, normalize_embeddings, use_fp16, use_bf16,
                   query_instruction_for_retrieval, query_instruction_format, devices,
                   pooling_method, cache_dir, batch_size, query_max_length, passage_max_length,
                   truncate_dim, kwargs)
        self.convert_to_numpy = convert_to_numpy

    def encode_queries(self, queries: str | Sequence[str], batch_size: int | None = None,
                       max_length: int | None = None, convert_to_numpy: bool | None = None,
                       **kwargs: Any) -> np.ndarray:
        """Vectors of queries, with the query instruction: [n, D], or [D] of a str."""
        return self._encode("queries", queries, positive("max_length", max_length,
                                                         self.query_max_length),
                            convert_to_numpy, self.query_instruction_for_retrieval,
                            self.query_instruction_format, kwargs)

    def encode_corpus(self, corpus: str | Sequence[str], batch_size: int | None = None,
                      max_length: int | None = None, convert_to_numpy: bool | None = None,
                      **kwargs: Any) -> np.ndarray:
        """Vectors of passages, with the passage instruction if there is one."""
        return self._encode("corpus", corpus, positive("max_length", max_length,
                                                       self.passage_max_length),
                            convert_to_numpy, self.passage_instruction_for_retrieval,
                            self.passage_instruction_format, kwargs)

    def encode(self, sentences: str | Sequence[str], batch_size: int | None = None,
               max_length: int | None = None, convert_to_numpy: bool | None = None,
               instruction: str | None = None, instruction_format: str | None = None,
               **kwargs: Any) -> np.ndarray:
        """Vectors of texts as they are."""
        return self._encode("sentences", sentences, positive("max_length", max_length,
                                                             self.passage_max_length),
                            convert_to_numpy, instruction, instruction_format, kwargs)

    def _encode(self, where: str, texts: Any, max_length: int, convert_to_numpy: bool | None,
                instruction: str | None, form: str | None, kwargs: dict[str, Any]) -> Any:
        refuse_unknown("encode", set(kwargs) - set(_TOKENIZER),
                       ["batch_size", "max_length", "convert_to_numpy"])
        listed, single = self._texts(where, texts, instruction, form)
        dense = self._native_model.embed(
            listed, max_length=max_length, dimension=self.truncate_dim,
            normalize=self.normalize_embeddings).dense
        result = dense[0] if single else dense
        if self.convert_to_numpy if convert_to_numpy is None else convert_to_numpy:
            return result
        try:
            import torch
        except ImportError:
            raise UnimplementedError(
                "convert_to_numpy=False gives a torch tensor, and torch is not installed") from None
        return torch.from_numpy(result)


class BGEM3FlagModel(_FlagEmbedder):
    """BGE-M3: dense, lexical and ColBERT outputs from one pass [FlagEmbedding BGEM3FlagModel].

    Arguments as FlagEmbedding's; see the module for what differs.
    """

    DEFAULT_POOLING_METHOD = "cls"

    def __init__(self, model_name_or_path: Path, normalize_embeddings: bool = True,
                 use_fp16: bool = True, use_bf16: bool = False,
                 query_instruction_for_retrieval: str | None = None,
                 query_instruction_format: str = "{}{}", devices: DeviceSpec = None,
                 pooling_method: str = "cls", trust_remote_code: bool = False,
                 cache_dir: Path | None = None, colbert_dim: int = -1, batch_size: int = 256,
                 query_max_length: int = 512, passage_max_length: int = 512,
                 return_dense: bool = True, return_sparse: bool = False,
                 return_colbert_vecs: bool = False, truncate_dim: int | None = None,
                 **kwargs: Any) -> None:
        self._open(model_name_or_path, normalize_embeddings, use_fp16, use_bf16,
                   query_instruction_for_retrieval, query_instruction_format, devices,
                   pooling_method, cache_dir, batch_size, query_max_length, passage_max_length,
                   truncate_dim, kwargs)
        there = self._native_model.info["colbert_dimension"]
        if colbert_dim > 0 and colbert_dim != there:
            raise ValueError(f"colbert_dim is {colbert_dim}, but colbert_linear has {there}")
        self.return_dense = return_dense
        self.return_sparse = return_sparse
        self.return_colbert_vecs = return_colbert_vecs

    def encode_queries(self, queries: str | Sequence[str], batch_size: int | None = None,
                       max_length: int | None = None, return_dense: bool | None = None,
                       return_sparse: bool | None = None, return_colbert_vecs: bool | None = None,
                       **kwargs: Any) -> dict[str, Any]:
        """As encode, with the query instruction and length."""
        return self._encode("queries", queries, positive("max_length", max_length,
                                                         self.query_max_length),
                            return_dense, return_sparse, return_colbert_vecs,
                            self.query_instruction_for_retrieval, self.query_instruction_format,
                            kwargs)

    def encode_corpus(self, corpus: str | Sequence[str], batch_size: int | None = None,
                      max_length: int | None = None, return_dense: bool | None = None,
                      return_sparse: bool | None = None, return_colbert_vecs: bool | None = None,
                      **kwargs: Any) -> dict[str, Any]:
        """As encode, with the passage instruction and length."""
        return self._encode("corpus", corpus, positive("max_length", max_length,
                                                       self.passage_max_length),
                            return_dense, return_sparse, return_colbert_vecs,
                            self.passage_instruction_for_retrieval,
                            self.passage_instruction_format, kwargs)

    def encode(self, sentences: str | Sequence[str], batch_size: int | None = None,
               max_length: int | None = None, return_dense: bool | None = None,
               return_sparse: bool | None = None, return_colbert_vecs: bool | None = None,
               instruction: str | None = None, instruction_format: str | None = None,
               **kwargs: Any) -> dict[str, Any]:
        """{"dense_vecs": float32 [n, D], "lexical_weights": a dict of each text, token id as str ->
        weight, "colbert_vecs": float32 [tokens - 1, D] of each text}; None for what was not asked
        for. Of a str: its element instead of the list.
        """
        return self._encode("sentences", sentences, positive("max_length", max_length,
                                                             self.passage_max_length),
                            return_dense, return_sparse, return_colbert_vecs, instruction,
                            instruction_format, kwargs)

    def _encode(self, where: str, texts: Any, max_length: int, dense: bool | None,
                sparse: bool | None, colbert: bool | None, instruction: str | None,
                form: str | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        refuse_unknown("encode", set(kwargs) - set(_TOKENIZER) - {"convert_to_numpy"},
                       ["batch_size", "max_length", "return_dense", "return_sparse",
                        "return_colbert_vecs"])
        listed, single = self._texts(where, texts, instruction, form)
        options = _native.EmbedOptions()
        options.max_length = max_length
        options.dense = self.return_dense if dense is None else dense
        options.sparse = self.return_sparse if sparse is None else sparse
        options.colbert = self.return_colbert_vecs if colbert is None else colbert
        options.dimension = self.truncate_dim or 0
        options.normalize = self.normalize_embeddings
        out = self._native_model._native.embed(listed, options, None)
        weights = out["sparse"]
        if weights is not None:
            weights = [defaultdict(int, zip(map(str, ids.tolist()), values))
                       for ids, values in weights]
        result = {"dense_vecs": out["dense"], "lexical_weights": weights,
                  "colbert_vecs": out["colbert"]}
        if single:
            return {key: None if value is None else value[0] for key, value in result.items()}
        return result

    def convert_id_to_token(self, lexical_weights: Mapping[str, float] | list[Mapping[str, float]]
                            ) -> dict[str, float] | list[dict[str, float]]:
        """Token ids to their text; the last of those with the same text counts. Of one dict, or a
        list of one: a dict."""
        single = isinstance(lexical_weights, Mapping)
        items = [lexical_weights] if single else lexical_weights
        out = [{self.tokenizer.decode([int(key)]): weight for key, weight in item.items()}
               for item in items]  # type: ignore[union-attr]
        return out[0] if len(out) == 1 else out

    def compute_lexical_matching_score(self, lexical_weights_1: Any,
                                       lexical_weights_2: Any) -> Any:
        """Sum over shared tokens of the product of their weights, in f64: a float of two dicts,
        float64 [n, m] of two lists. Errors: ValueError."""
        def one(a: Mapping[str, float], b: Mapping[str, float]) -> float:
            return sum(float(weight) * float(b[key]) for key, weight in a.items() if key in b)
        if isinstance(lexical_weights_1, Mapping) and isinstance(lexical_weights_2, Mapping):
            return one(lexical_weights_1, lexical_weights_2)
        if isinstance(lexical_weights_1, list) and isinstance(lexical_weights_2, list):
            return np.array([[one(a, b) for b in lexical_weights_2] for a in lexical_weights_1])
        raise ValueError("The input format of lexical_weights is not correct: expected two dicts "
                         f"or two lists of dicts, got {type(lexical_weights_1).__name__} and "
                         f"{type(lexical_weights_2).__name__}")

    def colbert_score(self, q_reps: np.ndarray, p_reps: np.ndarray) -> np.float32:
        """MaxSim: the mean over the query's vectors of the largest product with a passage's."""
        return np.float32(_native.colbert_score(np.ascontiguousarray(q_reps, np.float32),
                                                np.ascontiguousarray(p_reps, np.float32)))

    def compute_score(self, sentence_pairs: Pairs, batch_size: int | None = None,
                      max_query_length: int | None = None, max_passage_length: int | None = None,
                      weights_for_different_modes: Sequence[float] | None = None,
                      **kwargs: Any) -> Any:
        """Five lists of scores: "colbert", "sparse", "dense", "sparse+dense" and
        "colbert+sparse+dense"; of one pair, five numbers; of an empty list, [].

        weights_for_different_modes: of dense, sparse, colbert. Only the pairs are computed.
        """
        refuse_unknown("compute_score", kwargs, ["batch_size", "max_query_length",
                                                 "max_passage_length",
                                                 "weights_for_different_modes"])
        pairs, single = _pair_list(sentence_pairs)
        if not pairs:
            return []
        weights = (1.0, 1.0, 1.0) if weights_for_different_modes is None \
            else tuple(weights_for_different_modes)
        if len(weights) != 3:
            raise ValueError("weights_for_different_modes: expected three numbers, of dense, "
                             f"sparse and colbert, got {len(weights)}")
        scores = self._native_model.score(
            pairs, weights=weights, normalize=self.normalize_embeddings,  # type: ignore[arg-type]
            max_query_length=positive("max_query_length", max_query_length,
                                      self.query_max_length),
            max_passage_length=positive("max_passage_length", max_passage_length,
                                        self.passage_max_length))
        names = ("colbert", "sparse", "dense", "sparse+dense", "colbert+sparse+dense")
        return {name: scores[name][0].item() if single else scores[name].tolist()
                for name in names}

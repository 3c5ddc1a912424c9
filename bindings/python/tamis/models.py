"""The native interface: Reranker, Embedder, Tokenizer."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterable, NamedTuple, Sequence

import numpy as np

from . import _native
from ._arguments import DeviceSpec, text_list
from ._hub import find_model
from ._model import Bar, Devices, Path, PlacedModel, Progress, in_thread

Array = np.ndarray


class RankedPassage(NamedTuple):
    """One passage as it was ranked."""

    index: int  #: of the passage in the request
    logit: float  #: raw; of an embedder the cosine
    score: float  #: sigmoid of the logit, for display; of an embedder the cosine
    text: str
    tokens: int  #: of the pair as scored, special tokens included
    truncated: bool  #: the query or the passage was cut


class Reranker(PlacedModel):
    """Scores how well passages answer a query: a cross-encoder such as bge-reranker-v2-m3, or an
    embedder (cosine).

    model: a directory, or a name of the Hugging Face hub (see the README).
    device: "cpu", "cuda:0", 0, ["cpu", "cpu"], "auto"; nothing else than what is named is used.
    dtype: storage of the weights, "f32", "f16", "bf16" or "int8"; None is f32, or int8 of a
        directory that `tamis quantize` made.
    threads: of all cpu replicas together; 0 is every core that this process may use.
    isa: instruction set of the cpu; None is the best (see supported_isas()).
    memory_limit: bytes that the model may take on each device.
    batch_tokens: tokens of one batch; 0 is what suits the device.
    cache_directory: where packed weights are kept for the next start; None is nowhere.
    devices: to share with other models.
    cache_dir: the hub's cache, if it is not in its usual place.

    Errors: NotFoundError, DataLossError, UnimplementedError, InvalidArgumentError,
    ResourceExhaustedError.
    """

    def __init__(self, model: Path, *, device: DeviceSpec = "cpu", dtype: str | None = None,
                 threads: int = 0, isa: str | None = None, memory_limit: int | None = None,
                 batch_tokens: int = 0, cache_directory: Path | None = None,
                 devices: Devices | None = None, cache_dir: Path | None = None) -> None:
        self._native = self._load(
            _native.Reranker, model, device=device, dtype=dtype, threads=threads, isa=isa,
            memory_limit=memory_limit, batch_tokens=batch_tokens, cache_directory=cache_directory,
            devices=devices, pooling=None, cache_dir=cache_dir)

    def score(self, pairs: Sequence[tuple[str, str]], *, max_length: int = 512,
              query_max_length: int | None = None, batch_tokens: int = 0,
              progress: Progress = False) -> Array:
        """Logits of (query, passage) pairs in their order: float32 [n], or [n, labels] of a model
        with several labels. A query that comes several times is tokenised once.

        max_length: tokens of a pair; query_max_length: of the query alone, None is 3/4 of it.
        Errors: TypeError (no pairs of str).
        """
        return self._score(pairs, max_length, query_max_length, batch_tokens, progress)["logits"]

    def _score(self, pairs: Sequence[Any], max_length: int, query_max_length: int | None,
               batch_tokens: int, progress: Progress) -> dict[str, Any]:
        with Bar(progress, "pairs") as callback:
            out = self._native.score(pairs, max_length, query_max_length or 0, batch_tokens,
                                     callback)
        if out["logits"].shape[1] == 1:
            out["logits"] = out["logits"].reshape(-1)
        return out

    def rerank(self, query: str, passages: Sequence[str], *, top_n: int | None = None,
               max_length: int = 512, query_max_length: int | None = None,
               progress: Progress = False) -> list[RankedPassage]:
        """Passages, best first; ties keep their order. Models with several labels: use score."""
        texts, _ = text_list("passages", passages)
        out = self._score([(query, text) for text in texts], max_length, query_max_length, 0,
                          progress)
        logits = out["logits"]
        if logits.ndim != 1:
            raise ValueError(f"a model with {logits.shape[1]} labels has no ranking; use score()")
        cosine = self.info["kind"] == "embedder"
        order = np.argsort(-logits, kind="stable")[:top_n]
        scores = logits if cosine else 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
        return [RankedPassage(int(i), float(logits[i]), float(scores[i]), texts[i],
                              int(out["tokens"][i]), bool(out["truncated"][i])) for i in order]

    async def score_async(self, pairs: Sequence[tuple[str, str]], **options: Any) -> Array:
        """As score, in a thread; cancelling the task stops the work."""
        return await in_thread(self.score, pairs, **options)

    async def rerank_async(self, query: str, passages: Sequence[str],
                           **options: Any) -> list[RankedPassage]:
        """As rerank, in a thread."""
        return await in_thread(self.rerank, query, passages, **options)


@dataclass
class Embeddings:
    """What became of n texts; what was not asked for is None."""

    dense: Array | None  #: float32 [n, dimension]
    sparse: list[dict[int, float]] | None  #: token id -> weight, ids as they come in the text
    colbert: list[Array] | None  #: float32 [tokens - 1, dimension] of each text
    tokens: Array  #: int64 [n], special tokens included


class Embedder(PlacedModel):
    """Turns texts into vectors: BERT and XLM-RoBERTa encoders, with BGE-M3's lexical weights and
    ColBERT vectors where the model has the heads. Arguments and errors: as Reranker.

    pooling: "cls", "mean", "last_token", or "splade" (a masked language model's head, which gives
        lexical weights: embed(..., dense=False, sparse=True)); None is what the model's directory says, else what is
        known of its name, else cls.
    """

    def __init__(self, model: Path, *, device: DeviceSpec = "cpu", dtype: str | None = None,
                 pooling: str | None = None, threads: int = 0, isa: str | None = None,
                 memory_limit: int | None = None, batch_tokens: int = 0,
                 cache_directory: Path | None = None, devices: Devices | None = None,
                 cache_dir: Path | None = None) -> None:
        self._native = self._load(
            _native.Embedder, model, device=device, dtype=dtype, threads=threads, isa=isa,
            memory_limit=memory_limit, batch_tokens=batch_tokens, cache_directory=cache_directory,
            devices=devices, pooling=pooling, cache_dir=cache_dir)

    def embed(self, texts: str | Sequence[str], *, max_length: int = 0, batch_tokens: int = 0,
              dense: bool = True, sparse: bool = False, colbert: bool = False,
              dimension: int | None = None, normalize: bool | None = None,
              progress: Progress = False) -> Embeddings:
        """All that is asked for, from one pass.

        max_length: tokens of a text; 0 is the model's own limit. dimension: numbers that vectors
        are cut to, before they are normalised. normalize: to length 1; None is as the model says.
        Errors: InvalidArgumentError (a head that the model does not have), TypeError.
        """
        listed, _ = text_list("texts", texts)
        options = _native.EmbedOptions()
        options.max_length = max_length
        options.batch_tokens = batch_tokens
        options.dense, options.sparse, options.colbert = dense, sparse, colbert
        options.dimension = dimension or 0
        options.normalize = normalize
        with Bar(progress, "texts") as callback:
            out = self._native.embed(listed, options, callback)
        weights = out["sparse"]
        return Embeddings(
            out["dense"],
            None if weights is None else [dict(zip(ids.tolist(), values.tolist()))
                                          for ids, values in weights],
            out["colbert"], out["tokens"])

    def encode(self, texts: str | Sequence[str], **options: Any) -> Array:
        """Vectors alone: float32 [n, dimension], or [dimension] of one str. Options: as embed."""
        dense = self.embed(texts, **options).dense
        assert dense is not None
        return dense[0] if isinstance(texts, str) else dense

    def encode_stream(self, texts: Iterable[str], *, window: int = 256,
                      **options: Any) -> Iterable[Array]:
        """The vector of each text, in order, in memory for `window` texts at a time."""
        waiting: list[str] = []
        for text in texts:
            waiting.append(text)
            if len(waiting) == window:
                yield from self.encode(waiting, **options)
                waiting = []
        if waiting:
            yield from self.encode(waiting, **options)

    def score(self, pairs: Sequence[tuple[str, str]], *, max_query_length: int = 0,
              max_passage_length: int = 0, weights: Sequence[float] = (1.0, 1.0, 1.0),
              normalize: bool | None = None, batch_tokens: int = 0,
              progress: Progress = False) -> dict[str, Array]:
        """BGE-M3's scores of (query, passage) pairs: float64 [n] for "dense", "sparse", "colbert",
        "sparse+dense" and "colbert+sparse+dense". weights: of dense, sparse, colbert.
        """
        options = _native.HybridOptions()
        options.max_query_length = max_query_length
        options.max_passage_length = max_passage_length
        options.dense_weight, options.sparse_weight, options.colbert_weight = map(float, weights)
        embed = _native.EmbedOptions()
        embed.batch_tokens = batch_tokens
        embed.normalize = normalize
        options.embed = embed
        with Bar(progress, "pairs") as callback:
            out = self._native.score(pairs, options, callback)
        names = ("dense", "sparse", "colbert", "sparse+dense", "colbert+sparse+dense")
        return {name: out[:, i] for i, name in enumerate(names)}

    async def embed_async(self, texts: str | Sequence[str], **options: Any) -> Embeddings:
        """As embed, in a thread; cancelling the task stops the work."""
        return await in_thread(self.embed, texts, **options)

    async def encode_async(self, texts: str | Sequence[str], **options: Any) -> Array:
        """As encode, in a thread."""
        return await in_thread(self.encode, texts, **options)


class Encoding(NamedTuple):
    """A tokenised text or pair."""

    ids: list[int]
    type_ids: list[int]
    truncated: bool
    utf8_replacements: int


class Tokenizer:
    """A model's tokenizer by itself; ids are those of Hugging Face `tokenizers`."""

    def __init__(self, model: Path, *, cache_dir: Path | None = None) -> None:
        self._native = _native.Tokenizer.load(find_model(model, cache_dir))

    def encode(self, text: str, *, max_length: int = 0) -> Encoding:
        """Ids with special tokens; max_length 0 is no limit."""
        return Encoding(*self._native.encode(text, max_length))

    def encode_pair(self, query: str, passage: str, *, max_length: int = 0) -> Encoding:
        """A pair as the reranker sees it, cut by FlagEmbedding's rule."""
        return Encoding(*self._native.encode_pair(query, passage, max_length))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens included."""
        return self._native.decode([int(i) for i in ids])

    def id_to_token(self, token_id: int) -> str:
        """The token's string; empty if there is no such id."""
        return self._native.id_to_token(token_id)

    def token_to_id(self, token: str) -> int:
        """-1 if there is no such token."""
        return self._native.token_to_id(token)

    @property
    def vocab_size(self) -> int:
        return self._native.vocab_size

    @property
    def model_type(self) -> str:
        """"Unigram" or "WordPiece"."""
        return self._native.model_type

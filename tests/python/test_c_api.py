"""libtamis_c through ctypes: what it gives is what the package gives, and misuse is an error."""
import ctypes
import os
from pathlib import Path

import numpy
import pytest

import tamis

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = Path(os.environ.get("TAMIS_BUILD", ROOT / "build/release")) / "bindings/c/libtamis_c.so"
pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason="libtamis_c was not built")
PAIRS = [("a cat", "the cat sat"), ("a cat", "a drum sieve"), ("flour", "nul \0 inside"), ("", "")]


class Text(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("size", ctypes.c_size_t)]


class LoadOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("device", ctypes.c_char_p),
                ("dtype", ctypes.c_char_p), ("isa", ctypes.c_char_p), ("pooling", ctypes.c_char_p),
                ("cache_directory", ctypes.c_char_p), ("memory_limit_bytes", ctypes.c_uint64),
                ("batch_tokens", ctypes.c_uint64), ("threads", ctypes.c_int32)]


class EmbedOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("max_length", ctypes.c_size_t),
                ("dimension", ctypes.c_size_t), ("normalize", ctypes.c_int32),
                ("dense", ctypes.c_int32), ("sparse", ctypes.c_int32), ("colbert", ctypes.c_int32)]


@pytest.fixture(scope="module")
def lib():
    library = ctypes.CDLL(str(LIBRARY))
    library.tamis_version.restype = ctypes.c_char_p
    library.tamis_error_message.restype = ctypes.c_char_p
    library.tamis_error_message.argtypes = library.tamis_error_free.argtypes = [ctypes.c_void_p]
    library.tamis_error_code.argtypes = [ctypes.c_void_p]
    library.tamis_reranker_labels.restype = ctypes.c_size_t
    for name in ("tamis_reranker_labels", "tamis_reranker_free", "tamis_embedder_free",
                 "tamis_embeddings_free", "tamis_embeddings_dense", "tamis_embeddings_count",
                 "tamis_embeddings_dimension"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    library.tamis_embeddings_count.restype = library.tamis_embeddings_dimension.restype = \
        ctypes.c_size_t
    for name in ("tamis_embeddings_dense", "tamis_embeddings_colbert"):
        getattr(library, name).restype = ctypes.POINTER(ctypes.c_float)
    return library


def texts(values):
    encoded = [value.encode() for value in values]
    return (Text * len(values))(*[Text(e, len(e)) for e in encoded])


def message(lib, code, error):
    """Of a call that must have failed with this code."""
    assert code != 0 and lib.tamis_error_code(error) == code
    text = lib.tamis_error_message(error).decode()
    lib.tamis_error_free(error)
    return text


def load(lib, kind, model, options=None):
    handle, error = ctypes.c_void_p(), ctypes.c_void_p()
    code = getattr(lib, f"tamis_{kind}_load")(
        str(model).encode(), None if options is None else ctypes.byref(options),
        ctypes.byref(handle), ctypes.byref(error))
    assert code == 0, lib.tamis_error_message(error)
    return handle


def score(lib, handle, pairs, error=None):
    logits = (ctypes.c_float * max(1, len(pairs) * lib.tamis_reranker_labels(handle)))()
    code = lib.tamis_reranker_score(
        handle, texts([q for q, _ in pairs]), texts([p for _, p in pairs]),
        ctypes.c_size_t(len(pairs)), None, logits, error)
    return code, numpy.ctypeslib.as_array(logits)


def test_scores_are_the_packages(lib, models):
    assert lib.tamis_version().decode() == tamis.__version__
    for name in ("xlmr-ce", "xlmr-ce-bf16-labels3"):
        handle = load(lib, "reranker", models / name)
        want = tamis.Reranker(models / name).score(PAIRS)
        code, got = score(lib, handle, PAIRS)
        assert code == 0 and lib.tamis_reranker_labels(handle) == want.size // len(PAIRS)
        numpy.testing.assert_allclose(got, want.ravel(), atol=1e-5)
        assert score(lib, handle, [])[0] == 0
        lib.tamis_reranker_free(handle)


def test_embeddings_are_the_packages(lib, models):
    options = LoadOptions()
    lib.tamis_load_options_init(ctypes.byref(options))
    options.threads, options.device = 1, b"cpu"
    handle = load(lib, "embedder", models / "xlmr-m3", options)
    asked = EmbedOptions()
    lib.tamis_embed_options_init(ctypes.byref(asked))
    assert (asked.normalize, asked.dense, asked.sparse, asked.colbert) == (-1, 1, 0, 0)
    asked.sparse = asked.colbert = 1
    out, error = ctypes.c_void_p(), ctypes.c_void_p()
    values = ["the cat sat", "a drum"]
    assert lib.tamis_embedder_embed(handle, texts(values), ctypes.c_size_t(2), ctypes.byref(asked),
                                    ctypes.byref(out), ctypes.byref(error)) == 0
    want = tamis.Embedder(models / "xlmr-m3").embed(values, sparse=True, colbert=True)
    assert lib.tamis_embeddings_count(out) == 2 and lib.tamis_embeddings_dimension(out) == 32
    dense = numpy.ctypeslib.as_array(lib.tamis_embeddings_dense(out), (2, 32))
    numpy.testing.assert_allclose(dense, want.dense, atol=1e-6)
    for i in range(2):
        ids, weights = ctypes.POINTER(ctypes.c_int32)(), ctypes.POINTER(ctypes.c_float)()
        size = ctypes.c_size_t()
        lib.tamis_embeddings_sparse(out, ctypes.c_size_t(i), ctypes.byref(ids),
                                    ctypes.byref(weights), ctypes.byref(size))
        got = {ids[j]: weights[j] for j in range(size.value)}
        assert got == pytest.approx(want.sparse[i], abs=1e-5)
        rows, width = ctypes.c_size_t(), ctypes.c_size_t()
        vectors = lib.tamis_embeddings_colbert(out, ctypes.c_size_t(i), ctypes.byref(rows),
                                               ctypes.byref(width))
        got = numpy.ctypeslib.as_array(vectors, (rows.value, width.value))
        numpy.testing.assert_allclose(got, want.colbert[i], atol=1e-5)
    rows = ctypes.c_size_t(9)
    assert not lib.tamis_embeddings_colbert(out, ctypes.c_size_t(2), ctypes.byref(rows),
                                            ctypes.byref(rows))
    assert rows.value == 0
    lib.tamis_embeddings_free(out)
    lib.tamis_embedder_free(handle)


def test_errors_have_code_and_text(lib, models, tmp_path):
    handle, error = ctypes.c_void_p(), ctypes.c_void_p()

    def failed_load(path, options=None, out=ctypes.byref(handle)):
        code = lib.tamis_reranker_load(path, options, out, ctypes.byref(error))
        return message(lib, code, error)
    assert str(tmp_path) in failed_load(str(tmp_path / "away").encode())
    assert "directory is NULL" in failed_load(None)
    model = str(models / "xlmr-ce").encode()
    assert "reranker is NULL" in failed_load(model, None, None)
    options = LoadOptions()
    assert "_init" in failed_load(model, ctypes.byref(options))  # struct_size 0
    lib.tamis_load_options_init(ctypes.byref(options))
    options.pooling = b"max"
    assert "cls, mean, last or splade" in failed_load(model, ctypes.byref(options))
    assert lib.tamis_reranker_load(None, None, None, None) == 1  # nobody wants the text
    good = load(lib, "reranker", models / "xlmr-ce")
    code = lib.tamis_reranker_to(good, b"cuda:7", ctypes.byref(error))
    assert "cuda:7" in message(lib, code, error) and score(lib, good, PAIRS)[0] == 0
    code = lib.tamis_reranker_score(good, None, None, ctypes.c_size_t(2), None, None,
                                    ctypes.byref(error))
    assert "queries is NULL" in message(lib, code, error)
    lib.tamis_reranker_free(good)
    for free in (lib.tamis_reranker_free, lib.tamis_embedder_free, lib.tamis_embeddings_free,
                 lib.tamis_error_free):
        free(None)


def test_an_older_caller_has_shorter_options(lib, models):
    options = LoadOptions()
    lib.tamis_load_options_init(ctypes.byref(options))
    options.struct_size = LoadOptions.isa.offset  # knows device and dtype alone
    options.dtype, options.isa = b"f16", b"no such set"
    handle = load(lib, "reranker", models / "xlmr-ce", options)
    assert score(lib, handle, PAIRS)[0] == 0
    lib.tamis_reranker_free(handle)

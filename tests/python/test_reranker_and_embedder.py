"""The native interface: types, errors, threads, life."""
import asyncio
import gc
import logging
import threading

import numpy
import pytest

import tamis

TEXTS = ["the cat sat on the mat", "a drum sieve of fine horsehair", "the sky", "what is a cat"]


@pytest.fixture
def reranker(models):
    with tamis.Reranker(models / "xlmr-ce") as model:
        yield model


@pytest.fixture
def embedder(models):
    with tamis.Embedder(models / "xlmr-m3") as model:
        yield model


def test_ranking_is_that_of_the_logits(reranker):
    logits = reranker.score([("where is the cat", t) for t in TEXTS])
    assert logits.dtype == numpy.float32 and logits.shape == (4,)
    ranked = reranker.rerank("where is the cat", TEXTS)
    assert [r.index for r in ranked] == sorted(range(4), key=lambda i: -logits[i])
    for r in ranked:
        assert r.logit == logits[r.index] and r.text == TEXTS[r.index] and not r.truncated
        assert r.score == pytest.approx(1 / (1 + numpy.exp(-float(r.logit))))
    assert len(reranker.rerank("q", TEXTS, top_n=2)) == 2
    assert reranker.rerank("q", TEXTS, max_length=8)[0].truncated


def test_a_model_with_several_labels_has_a_column_each(models):
    model = tamis.Reranker(models / "xlmr-ce-bf16-labels3")
    assert model.info["labels"] == ["contradiction", "entailment", "neutral"]
    assert model.score([("a", "b"), ("c", "d")]).shape == (2, 3)
    with pytest.raises(ValueError, match="3 labels"):
        model.rerank("a", ["b"])
    with pytest.raises(ValueError, match="3 labels"):
        tamis.FlagReranker(models / "xlmr-ce-bf16-labels3", max_length=32).compute_score([("a", "b")])


def test_an_embedder_reranks_by_cosine(models):
    cosine = tamis.Reranker(models / "xlmr-bi-mean").rerank(TEXTS[3], TEXTS)
    assert cosine[0].index == 3 and cosine[0].score == pytest.approx(1, abs=1e-5)


def test_nothing_in_gives_nothing_out(reranker, embedder, models):
    assert reranker.score([]).shape == (0,)
    assert reranker.rerank("q", []) == []
    out = embedder.embed([], sparse=True, colbert=True)
    assert out.dense.shape == (0, 32) and out.sparse == [] and out.colbert == []
    assert tamis.FlagReranker(models / "xlmr-ce").compute_score([]) == []
    assert tamis.FlagModel(models / "xlmr-bi-mean").encode([]).shape == (0, 32)
    assert tamis.BGEM3FlagModel(models / "xlmr-m3").encode([])["dense_vecs"].shape == (0, 32)


BAD_TEXTS = [None, 7, 1.5, b"bytes", [["a"]], ["a", None], ["a", 7], [["a", "b"]], {"a": "b"}]
BAD_PAIRS = [None, 7, "text", ["text"], [("a",)], [("a", "b", "c")], [("a", None)], [["a", ["b"]]],
             [7], {"query": "a"}, [("a", "b"), "cd"]]


@pytest.mark.parametrize("bad", BAD_TEXTS, ids=repr)
def test_what_is_no_text_is_a_type_error(models, embedder, bad):
    for call in (embedder.embed, embedder.encode,
                 tamis.FlagModel(models / "xlmr-bi-mean").encode,
                 tamis.BGEM3FlagModel(models / "xlmr-m3").encode_queries):
        with pytest.raises(TypeError, match="expected"):
            call(bad)
    assert embedder.encode("still usable").shape == (32,)


@pytest.mark.parametrize("bad", BAD_PAIRS, ids=repr)
def test_what_is_no_pair_is_a_type_error(models, reranker, bad):
    for call in (reranker.score, tamis.FlagReranker(models / "xlmr-ce").compute_score,
                 tamis.BGEM3FlagModel(models / "xlmr-m3").compute_score):
        with pytest.raises(TypeError, match="expected"):
            call(bad)


def test_lone_surrogates_and_nul_are_text_like_any_other(reranker, embedder):
    odd = ["\ud800 lone", "nul \0 inside", "\ufffd", "", " " * 1000, "x" * 200_000]
    assert numpy.isfinite(reranker.score([(a, b) for a in odd for b in odd])).all()
    # What names no character is one U+FFFD for each ill-formed part.
    with_mark = embedder.encode("\ufffd\ufffd\ufffd lone")
    numpy.testing.assert_allclose(embedder.encode("\ud800 lone"), with_mark, atol=1e-6)


def test_a_missing_model_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(tamis.NotFoundError, match="no such model directory"):
        tamis.Reranker(tmp_path / "away")
    with pytest.raises(FileNotFoundError, match="hf download BAAI/bge-m3"):
        tamis.BGEM3FlagModel("BAAI/bge-m3")
    (tmp_path / "empty").mkdir()
    with pytest.raises(tamis.NotFoundError, match="config.json"):
        tamis.Embedder(tmp_path / "empty")


def test_the_wrong_kind_of_model_is_refused(models):
    with pytest.raises(tamis.InvalidArgumentError, match="cross-encoder"):
        tamis.Embedder(models / "xlmr-ce")
    with pytest.raises(tamis.InvalidArgumentError, match="sparse_linear.pt"):
        tamis.BGEM3FlagModel(models / "xlmr-bi-mean").encode(["a"], return_sparse=True)


def test_errors_have_a_code_and_pythons_own_kind(models):
    with pytest.raises(tamis.TamisError) as caught:
        tamis.Reranker(models / "xlmr-ce", dtype="f8")
    assert caught.value.code == "invalid_argument" and isinstance(caught.value, ValueError)
    with pytest.raises(MemoryError):
        tamis.Reranker(models / "xlmr-ce", memory_limit=1000)


def test_devices_are_listed_when_one_does_not_exist(models, reranker):
    for name in ("gpu7", "cuda:9"):
        with pytest.raises(tamis.TamisError, match="cpu"):
            reranker.to(name)
    assert reranker.device == "cpu" and reranker.score([("a", "b")]).shape == (1,)
    flag = tamis.FlagReranker(models / "xlmr-ce")
    with pytest.raises(tamis.TamisError, match="cuda:1"):
        flag.model.to("cuda:1")
    with pytest.raises(tamis.TamisError, match="cuda:0"):
        flag.model.to("cuda")
    assert flag.model.to("cpu") is flag.model
    assert flag.model.device == "cpu" and flag.target_devices == ["cpu"]
    assert flag.compute_score(("a", "b"))


def test_a_model_moves_and_says_where_it_is(models):
    devices = tamis.Devices(["memory=1GiB,gflops=100", "memory=1GiB,gflops=100"])
    model = tamis.Embedder(models / "xlmr-m3", devices=devices)
    before = model.encode(TEXTS)
    report = model.to(["sim:0", "sim:1"], dtype="f16")
    assert (report["from"], report["to"]) == ("cpu", "sim:0,sim:1")
    assert model.device == "sim:0,sim:1"
    assert [p["device"] for p in model.placement()] == ["sim:0", "sim:1"]
    assert all(p["on_device"] and p["dtype"] == "f16" for p in model.placement())
    numpy.testing.assert_allclose(model.encode(TEXTS), before, atol=2e-3)
    assert model.warmup([(1, 16)])[0]["error"] == ""
    assert model.trim() > 0 and model.memory_plan()["weight_bytes"] > 0
    used = {d["name"]: d["used_bytes"] for d in devices.status()}
    assert used["sim:0"] > 0
    model.close()
    assert {d["name"]: d["used_bytes"] for d in devices.status()}["sim:0"] == 0


def test_a_closed_model_says_so(models):
    with tamis.Reranker(models / "xlmr-ce") as model:
        assert not model.closed and "on cpu" in repr(model)
    assert model.closed and "closed" in repr(model)
    with pytest.raises(tamis.InvalidArgumentError, match="closed"):
        model.score([("a", "b")])
    model.close()


def test_results_outlive_the_model(models):
    model = tamis.Embedder(models / "xlmr-m3")
    out = model.embed(TEXTS, colbert=True)
    again = tamis.Embedder(models / "xlmr-m3").embed(TEXTS, colbert=True)
    kept = out.colbert[2]
    model.close()
    del model, out
    gc.collect()
    numpy.testing.assert_allclose(kept, again.colbert[2], atol=1e-6)
    assert kept.base is not None and kept.flags.writeable  # a view of the engine's own buffer


def test_many_threads_get_the_same_answers(reranker):
    pairs = [("where is the cat", t) for t in TEXTS] * 8
    want = reranker.score(pairs)
    failures = []

    def work():
        for _ in range(20):
            if not numpy.allclose(reranker.score(pairs), want, atol=1e-5):
                failures.append("differs")
    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_async_calls_run_beside_each_other_and_can_be_cancelled(models):
    async def several():
        model = tamis.Embedder(models / "xlmr-m3")
        got = await asyncio.gather(*[model.encode_async(TEXTS) for _ in range(4)])
        numpy.testing.assert_allclose(got[3], model.encode(TEXTS), atol=1e-6)
        ranked = await tamis.Reranker(models / "xlmr-ce").rerank_async("a cat", TEXTS, top_n=1)
        assert len(ranked) == 1
        # 0.2 s a batch, some hundred batches: cancelled long before the end.
        devices = tamis.Devices(["memory=1GiB,gflops=0.01"])
        slow = tamis.Embedder(models / "xlmr-m3", device="sim:0", devices=devices, batch_tokens=64)
        task = asyncio.ensure_future(slow.embed_async(TEXTS * 200))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    asyncio.run(several())


def test_progress_is_told_and_may_stop_the_call(models):
    model = tamis.Embedder(models / "xlmr-m3", batch_tokens=32)
    seen = []
    model.encode(TEXTS * 10, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (40, 40) and [d for d, _ in seen] == sorted(d for d, _ in seen)

    def stop(done, total):
        raise KeyError("enough")
    with pytest.raises(KeyError, match="enough"):
        model.encode(TEXTS * 10, progress=stop)
    assert model.encode("still usable").shape == (32,)


def test_a_stream_gives_a_vector_for_each_text(embedder):
    texts = [f"{t} {i}" for i in range(30) for t in TEXTS]
    got = numpy.stack(list(embedder.encode_stream(iter(texts), window=7)))
    numpy.testing.assert_allclose(got, embedder.encode(texts), atol=1e-5)


def test_notices_go_to_logging(models, caplog, tmp_path):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.DEBUG, logger="tamis"):
        tamis.Reranker(models / "xlmr-ce", cache_directory=tmp_path / "file" / "below")
    assert any("file" in record.message for record in caplog.records)


def test_the_tokenizer_by_itself(models):
    tokenizer = tamis.Tokenizer(models / "xlmr-m3")
    encoding = tokenizer.encode("the cat sat")
    assert encoding.ids[0] == tokenizer.token_to_id("<s>")
    assert tokenizer.decode(encoding.ids[1:-1]) == "the cat sat"
    assert tokenizer.id_to_token(encoding.ids[1]).startswith("\u2581")
    assert tokenizer.encode("the cat sat", max_length=4).truncated
    assert tokenizer.encode_pair("a", "b").ids.count(tokenizer.token_to_id("</s>")) == 3
    assert tokenizer.token_to_id("no such token") == -1 and tokenizer.id_to_token(10**6) == ""
    bert = tamis.Tokenizer(models / "bert-ce")
    assert bert.model_type == "WordPiece"
    assert bert.decode(bert.encode("the cat sat, no?").ids[1:-1]) == "the cat sat, no?"

"""What FlagEmbedding's users write: keywords, devices, names, scripts."""
import inspect

import numpy
import pytest

import tamis


def test_an_unknown_keyword_names_the_nearest(models):
    for make, wrong, right in (
            (tamis.FlagReranker, "use_fp61", "use_fp16"), (tamis.FlagModel, "device", "devices"),
            (tamis.BGEM3FlagModel, "pooling_methd", "pooling_method"),
            (tamis.FlagModel, "query_instruction_for_retreival",
             "query_instruction_for_retrieval")):
        with pytest.raises(TypeError, match=f"'{wrong}'.*'{right}'"):
            make(str(models / "xlmr-bi-mean"), **{wrong: 1})
    model = tamis.FlagModel(models / "xlmr-bi-mean")
    with pytest.raises(TypeError, match="'max_len'.*'max_length'"):
        model.encode(["a"], max_len=3)
    assert model.encode(["a"], pad_to_multiple_of=8).shape == (1, 32)  # FlagEmbedding documents it


def test_a_reranker_takes_passage_max_length_as_flagembeddings_examples_give_it(models, caplog):
    with caplog.at_level("INFO", logger="tamis"):
        model = tamis.FlagReranker(models / "xlmr-ce", query_max_length=20, passage_max_length=8,
                                   max_length=60)
    assert "no effect" in caplog.text
    plain = tamis.FlagReranker(models / "xlmr-ce", query_max_length=20, max_length=60)
    pair = ("a cat", "a passage of more than eight tokens, for it goes on and on and on")
    assert model.compute_score(pair) == plain.compute_score(pair)


def test_lengths_must_be_numbers_of_at_least_one(models):
    model = tamis.FlagModel(models / "xlmr-bi-mean")
    for bad, error in ((0, ValueError), (-5, ValueError), ("9", TypeError), (True, TypeError)):
        with pytest.raises(error, match="max_length"):
            model.encode(["a"], max_length=bad)
    with pytest.raises(ValueError, match="truncate_dim"):
        tamis.FlagModel(models / "xlmr-bi-mean", truncate_dim=0)
    with pytest.raises(ValueError, match="colbert_dim"):
        tamis.BGEM3FlagModel(models / "xlmr-m3", colbert_dim=7)
    with pytest.raises(ValueError, match="three numbers"):
        tamis.BGEM3FlagModel(models / "xlmr-m3").compute_score(
            ("a", "b"), weights_for_different_modes=[1, 2])


@pytest.mark.parametrize("devices, names", [
    (None, ["cpu"]), ("cpu", ["cpu"]), (1, ["cuda:1"]), ([0, 1], ["cuda:0", "cuda:1"]),
    (["cuda:0", "cpu"], ["cuda:0", "cpu"]), ("cuda", ["cuda"]), (["cpu", "cpu"], ["cpu", "cpu"])])
def test_devices_are_named_as_flagembedding_does(devices, names):
    assert tamis.FlagReranker.get_target_devices(devices) == names


@pytest.mark.parametrize("bad, error", [([], ValueError), (1.5, TypeError), ([None], TypeError),
                                        ({"cpu"}, TypeError), (True, TypeError)])
def test_what_is_no_device_is_refused(bad, error):
    with pytest.raises(error, match="devices"):
        tamis.FlagModel.get_target_devices(bad)


def test_two_cpu_replicas_give_the_same(models):
    one = tamis.FlagReranker(models / "xlmr-ce", devices="cpu")
    two = tamis.FlagReranker(models / "xlmr-ce", devices=["cpu", "cpu"])
    pairs = [("a cat", f"text number {i}") for i in range(50)]
    assert two.target_devices == ["cpu", "cpu"]
    assert two.compute_score(pairs) == pytest.approx(one.compute_score(pairs), abs=1e-5)


def test_use_fp16_stores_in_16_bits_and_computes_in_f32(models):
    half = tamis.FlagModel(models / "xlmr-bi-mean", pooling_method="mean")
    assert half.placement()[0]["dtype"] == "f16"
    vector = half.encode("the cat")
    assert vector.dtype == numpy.float32
    full = tamis.FlagModel(models / "xlmr-bi-mean", pooling_method="mean", use_fp16=False)
    assert full.placement()[0]["dtype"] == "f32"
    numpy.testing.assert_allclose(vector, full.encode("the cat"), atol=2e-3)
    full.model.half()
    numpy.testing.assert_allclose(full.encode("the cat"), vector, atol=1e-6)
    assert tamis.FlagModel(models / "xlmr-bi-mean", use_bf16=True).placement()[0]["dtype"] == "bf16"
    assert tamis.FlagReranker(models / "xlmr-ce", dtype="int8").placement()[0]["dtype"] == "int8"


def test_memory_placement_and_warmup_are_methods(models):
    for make, name in ((tamis.FlagReranker, "xlmr-ce"), (tamis.FlagModel, "xlmr-bi-mean"),
                       (tamis.BGEM3FlagModel, "xlmr-m3")):
        model = make(models / name)
        assert model.memory_plan()["weight_bytes"] == model.placement()[0]["weight_bytes"] > 0
        assert [r["error"] for r in model.warmup([(2, 16)])] == [""]
        assert model.to("cpu", dtype="f16")["to"] == "cpu"
        assert model.placement()[0]["dtype"] == "f16"
        model.stop_self_pool()
        assert model.placement()[0]["workspace_bytes"] == 0
        model.close()
        model.stop_self_pool()


def test_scores_are_always_a_list(models):
    model = tamis.FlagReranker(models / "xlmr-ce")
    for pairs in (("a", "b"), ["a", "b"], [("a", "b")], [["a", "b"], ["c", "d"]], [("a", "b")] * 300):
        scores = model.compute_score(pairs)
        assert isinstance(scores, list) and all(isinstance(s, float) for s in scores)
    assert len(model.compute_score(numpy.array([["a", "b"], ["c", "d"]]))) == 2


def test_torch_tensors_need_torch(models):
    model = tamis.FlagModel(models / "xlmr-bi-mean")
    try:
        import torch  # noqa: F401
    except ImportError:
        with pytest.raises(tamis.UnimplementedError, match="torch is not installed"):
            model.encode(["a"], convert_to_numpy=False)
    else:
        assert model.encode(["a"], convert_to_numpy=False).shape == (1, 32)


def test_lexical_scores_need_two_dicts_or_two_lists(models):
    model = tamis.BGEM3FlagModel(models / "xlmr-m3")
    assert model.compute_lexical_matching_score({"5": 2.0}, {"5": 0.5, "7": 1.0}) == 1.0
    for pair in (({}, []), ([], {}), (None, {}), ("a", "b")):
        with pytest.raises(ValueError, match="lexical_weights"):
            model.compute_lexical_matching_score(*pair)
    with pytest.raises(ValueError, match="invalid literal"):
        model.convert_id_to_token({"not an id": 1.0})


def test_auto_classes_know_the_published_names(models, tmp_path):
    def named(name, fixture):
        (tmp_path / name).symlink_to(models / fixture)
        return tmp_path / name
    m3 = tamis.FlagAutoModel.from_finetuned(named("bge-m3", "xlmr-m3"))
    assert isinstance(m3, tamis.BGEM3FlagModel)
    e5 = tamis.FlagAutoModel.from_finetuned(str(named("multilingual-e5-small", "xlmr-bi-mean")))
    assert isinstance(e5, tamis.FlagModel) and e5.pooling_method == "mean"
    instruct = tamis.FlagAutoModel.from_finetuned(
        named("multilingual-e5-large-instruct", "xlmr-bi-mean"))
    assert instruct.query_instruction_format == "Instruct: {}\nQuery: {}"
    checkpoint = tmp_path / "bge-base-en-v1.5"
    checkpoint.mkdir()
    (checkpoint / "checkpoint-200").symlink_to(models / "bert-bi-cls")
    assert tamis.FlagAutoModel.from_finetuned(checkpoint / "checkpoint-200").pooling_method == "cls"
    reranker = tamis.FlagAutoReranker.from_finetuned(named("bge-reranker-v2-m3", "xlmr-ce"))
    assert isinstance(reranker, tamis.FlagReranker)


def test_auto_classes_refuse_what_they_do_not_know(models, tmp_path):
    with pytest.raises(ValueError, match="model_class"):
        tamis.FlagAutoModel.from_finetuned(models / "xlmr-m3")
    with pytest.raises(ValueError, match="model_class"):
        tamis.FlagAutoReranker.from_finetuned(tmp_path / "bge-m3")  # an embedder
    with pytest.raises(NotImplementedError, match="decoder-only-base"):
        tamis.FlagAutoReranker.from_finetuned(tmp_path / "bge-reranker-v2-gemma")
    for cls in (tamis.FlagAutoModel, tamis.FlagAutoReranker):
        with pytest.raises(EnvironmentError, match="from_finetuned"):
            cls()
    with pytest.raises(NotImplementedError, match="decoder"):
        tamis.FlagLLMReranker("BAAI/bge-reranker-v2-gemma", use_fp16=True)
    assert not hasattr(tamis, "FlagNothing")


# FlagEmbedding 1.4.2's signatures: name -> default.
NO = inspect.Parameter.empty
SIGNATURES = {
    "FlagReranker": {
        "model_name_or_path": NO, "use_fp16": False, "query_instruction_for_rerank": None,
        "query_instruction_format": "{}{}", "passage_instruction_for_rerank": None,
        "passage_instruction_format": "{}{}", "trust_remote_code": False, "cache_dir": None,
        "devices": None, "batch_size": 128, "query_max_length": None, "max_length": 512,
        "normalize": False},
    "FlagModel": {
        "model_name_or_path": NO, "normalize_embeddings": True, "use_fp16": True,
        "use_bf16": False, "query_instruction_for_retrieval": None,
        "query_instruction_format": "{}{}", "devices": None, "pooling_method": "cls",
        "trust_remote_code": False, "cache_dir": None, "batch_size": 256,
        "query_max_length": 512, "passage_max_length": 512, "convert_to_numpy": True,
        "truncate_dim": None},
    "BGEM3FlagModel": {
        "model_name_or_path": NO, "normalize_embeddings": True, "use_fp16": True,
        "use_bf16": False, "query_instruction_for_retrieval": None,
        "query_instruction_format": "{}{}", "devices": None, "pooling_method": "cls",
        "trust_remote_code": False, "cache_dir": None, "colbert_dim": -1, "batch_size": 256,
        "query_max_length": 512, "passage_max_length": 512, "return_dense": True,
        "return_sparse": False, "return_colbert_vecs": False, "truncate_dim": None}}


@pytest.mark.parametrize("name", SIGNATURES)
def test_names_order_and_defaults_are_flagembeddings(name):
    parameters = list(inspect.signature(getattr(tamis, name)).parameters.values())
    assert parameters[-1].kind is inspect.Parameter.VAR_KEYWORD
    assert {p.name: p.default for p in parameters[:-1]} == SIGNATURES[name]
    assert [p.name for p in parameters[:-1]] == list(SIGNATURES[name])


@pytest.fixture
def hub(models, tmp_path, monkeypatch):
    """A hub's cache in which published names are the tiny models."""
    for name, fixture in (("BAAI/bge-reranker-v2-m3", "xlmr-ce"), ("BAAI/bge-m3", "xlmr-m3"),
                          ("BAAI/bge-base-en-v1.5", "bert-bi-cls")):
        folder = tmp_path / f"models--{name.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("0123abcd")
        (folder / "snapshots").mkdir()
        (folder / "snapshots" / "0123abcd").symlink_to(models / fixture)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


# As FlagEmbedding's users write it; only the import differs.
RERANKER_SCRIPT = """
from FlagEmbedding import FlagReranker
reranker = FlagReranker('BAAI/bge-reranker-v2-m3', query_max_length=30, passage_max_length=60,
                        use_fp16=True, devices=["cpu"])
score = reranker.compute_score(['which sieve is finest?', 'a tamis'])
mapped = reranker.compute_score(['which sieve is finest?', 'a tamis'], normalize=True)
scores = reranker.compute_score([['which sieve is finest?', 'no'],
                                 ['which sieve is finest?', 'A tamis is a drum sieve.']])
print(score, mapped, scores)
assert len(score) == len(mapped) == 1 and len(scores) == 2 and 0 < mapped[0] < 1
reranker.stop_self_pool()
"""
MODEL_SCRIPT = """
from FlagEmbedding import FlagModel
model = FlagModel('BAAI/bge-base-en-v1.5', use_fp16=True, query_max_length=60,
                  query_instruction_for_retrieval="Represent this sentence for search: ",
                  passage_max_length=60)
a, b = model.encode(["one text", "another text"]), model.encode(["a third text"])
similarity = a @ b.T
q = model.encode_queries(['a query', 'a second query'])
p = model.encode_corpus(["one text", "another text"])
scores = q @ p.T
assert similarity.shape == (2, 1) and scores.shape == (2, 2)
"""
M3_SCRIPT = """
from FlagEmbedding import BGEM3FlagModel
model = BGEM3FlagModel('BAAI/bge-m3', use_fp16=True, query_max_length=60, passage_max_length=60)
one = ["What is a tamis?", "Definition of sieve"]
two = ["A tamis is a drum sieve of the kitchen.", "A sieve separates fine from coarse."]
embeddings_1 = model.encode(one, batch_size=12, max_length=60)['dense_vecs']
embeddings_2 = model.encode(two)['dense_vecs']
print(embeddings_1 @ embeddings_2.T)
output_1 = model.encode(one, return_dense=True, return_sparse=True, return_colbert_vecs=True)
output_2 = model.encode(two, return_dense=True, return_sparse=True, return_colbert_vecs=True)
print(model.convert_id_to_token(output_1['lexical_weights']))
lexical = model.compute_lexical_matching_score(output_1['lexical_weights'],
                                               output_2['lexical_weights'])
print(lexical[0], lexical[0][1])
print(model.colbert_score(output_1['colbert_vecs'][0], output_2['colbert_vecs'][0]))
pairs = [[i, j] for i in one for j in two]
scores = model.compute_score(pairs, max_passage_length=128, weights_for_different_modes=[0.4, 0.2, 0.4])
assert set(scores) == {'colbert', 'sparse', 'dense', 'sparse+dense', 'colbert+sparse+dense'}
assert all(len(values) == 4 for values in scores.values())
"""
AUTO_SCRIPT = """
from FlagEmbedding import FlagAutoModel, FlagAutoReranker
model = FlagAutoModel.from_finetuned('BAAI/bge-base-en-v1.5', use_fp16=True, devices="cpu",
                                     query_instruction_for_retrieval="Represent: ",
                                     query_max_length=60, passage_max_length=60)
print(model.encode_queries(["a query"]) @ model.encode_corpus(["a text"]).T)
reranker = FlagAutoReranker.from_finetuned('BAAI/bge-reranker-v2-m3', query_max_length=40,
                                           max_length=60, use_fp16=True, devices=['cpu'])
print(reranker.compute_score([['a query', 'a text']]))
"""


@pytest.mark.parametrize("script", [RERANKER_SCRIPT, MODEL_SCRIPT, M3_SCRIPT, AUTO_SCRIPT],
                         ids=["FlagReranker", "FlagModel", "BGEM3FlagModel", "FlagAuto"])
def test_a_script_runs_with_its_import_changed(hub, script):
    assert script.count("from FlagEmbedding import") == 1
    exec(compile(script.replace("from FlagEmbedding import", "from tamis import"), "script", "exec"),
         {"__name__": "script"})

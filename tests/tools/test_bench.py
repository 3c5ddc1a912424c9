"""The benchmark's model writer and its workloads."""
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import compare  # noqa: E402
import make_large_model  # noqa: E402

FIXTURE = ROOT / "tests" / "fixtures" / "models" / "xlmr-ce"


@pytest.mark.parametrize("dtype, kind", [("f32", np.float32), ("f16", np.float16)])
def test_random_model_has_the_tensors_of_a_real_one(tmp_path, dtype, kind, monkeypatch):
    monkeypatch.setattr(make_large_model, "CHUNK", 1000)  # so that tensors take several
    config = json.loads((FIXTURE / "config.json").read_text())
    path = tmp_path / "model.safetensors"
    make_large_model.write_safetensors(path, config, dtype, seed=1)
    made, real = load_file(path), load_file(FIXTURE / "model.safetensors")
    assert {name: value.shape for name, value in made.items()} == {
        name: value.shape for name, value in real.items()}
    assert all(value.dtype == kind for value in made.values())
    words = made["roberta.embeddings.word_embeddings.weight"]
    assert abs(float(words.astype(np.float64).std()) - make_large_model.STD) < 0.001
    again = tmp_path / "again.safetensors"
    make_large_model.write_safetensors(again, config, dtype, seed=1)
    assert again.read_bytes() == path.read_bytes()


def test_workloads_are_what_their_names_say(tmp_path):
    words = [[f"▁{a}{b}cd", -1.0] for a in "abcdef" for b in "abcdef"]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": words}}))
    works = compare.make_workloads(tmp_path, seed=1)
    assert [len(work.pairs) for work in works.values()] == [1, 1, 32, 100, 1]
    assert works["W1"].lengths == [64] and works["W2"].lengths == [512]
    assert min(works["W3"].lengths) >= 32 and max(works["W3"].lengths) <= 512
    assert 85 < np.mean(works["W4"].lengths) < 107
    for work in works.values():
        for (query, passage), length in zip(work.pairs, work.lengths):
            # Each word is one token; four special ones go around a pair.
            assert len(query.split()) + len(passage.split()) + compare.SPECIALS == length
    assert compare.make_workloads(tmp_path, seed=1) == works

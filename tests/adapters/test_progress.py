import pytest

import tamis

pytest.importorskip("tqdm", reason="tqdm is not in .cache/adapters")


def test_a_bar_is_shown_when_it_is_asked_for_and_not_otherwise(embedder_model, capsys):
    model = tamis.Embedder(embedder_model, batch_tokens=64)
    model.encode(["a text"] * 100)
    assert capsys.readouterr().err == ""
    model.encode(["a text"] * 100, progress=True)
    shown = capsys.readouterr()
    assert "100/100" in shown.err or "texts" in shown.err
    assert shown.out == ""

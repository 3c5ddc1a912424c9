#!/usr/bin/env python3
"""Writes the seeds of fuzz/corpus/{safetensors,torch_zip,event_file}: small files, good and nasty.

    python3 fuzz/make_seeds.py       # standard library only; reads tests/fixtures/torch
"""

import json
import pathlib
import struct
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]


def safetensors(header, data=b"", size=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors_seeds():
    good = {
        "__metadata__": {"format": "pt"},
        "a": tensor("F32", [2, 3], 0, 24),
        "b.weight": tensor("F16", [4], 24, 32),
        "scalar": tensor("I64", [], 32, 40),
        "empty": tensor("BF16", [0, 7], 40, 40),
    }
    yield "good", safetensors(good, bytes(40))
    yield "no_tensors", safetensors({})
    yield "padded", safetensors(json.dumps(good).encode() + b" " * 7, bytes(40))
    yield "truncated_data", safetensors(good, bytes(39))
    yield "truncated_header", safetensors(good, b"", 5000)
    yield "huge_header", safetensors({}, b"", 2**63)
    yield "short", b"\x05\0\0"
    yield "not_json", safetensors(b"\x80\x02}q\x00.")
    yield "overlap", safetensors({"a": tensor("U8", [4], 0, 4), "b": tensor("U8", [4], 2, 6)}, bytes(6))
    yield "hole", safetensors({"a": tensor("U8", [4], 0, 4), "b": tensor("U8", [4], 5, 9)}, bytes(9))
    yield "overflow", safetensors({"a": tensor("F32", [2**32, 2**32], 0, 0)})
    yield "negative", safetensors({"a": tensor("F32", [-1], -4, 0)})
    yield "unknown_dtype", safetensors({"a": tensor("F8_E4M3", [1], 0, 1)}, bytes(1))
    twice = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}'
    yield "twice", safetensors(twice, bytes(2))
    yield "deep", safetensors(b"[" * 1000)


def archive(entries, path, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as out:
        for name, data in entries:
            out.writestr(zipfile.ZipInfo(name), data, compress_type=compression)


def masked_crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def record(event, size=None):
    length = struct.pack("<Q", len(event) if size is None else size)
    return length + masked_crc32c(length) + event + masked_crc32c(event)


def event_file_seeds():
    time = b"\x09" + struct.pack("<d", 1.8e9)
    version = record(time + b"\x10\0" + b"\x1a\x0dbrain.Event:2")
    start = record(time + b"\x10\x01" + b"\x3a\x02\x08\x01")
    value = b"\x0a\x0atrain/loss\x15" + struct.pack("<f", 0.5)
    summary = bytes([0x0A, len(value)]) + value
    steps = [record(time + b"\x10" + step + bytes([0x2A, len(summary)]) + summary)
             for step in (b"\x05", b"\x07", b"\x08", b"\x80\x01")]
    whole = version + start + b"".join(steps)
    yield "whole", whole
    yield "empty", b""
    yield "no_steps", version + start
    yield "torn", whole[:-9]
    yield "changed", whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]
    yield "huge_size", version + record(b"x" * 40, 2**64 - 1)
    yield "endless_step", version + record(time + b"\x10" + b"\xff" * 12)
    yield "no_step", version + record(time)
    yield "nothing_in_it", version + record(b"")


def main():
    folder = ROOT / "fuzz/corpus/event_file"
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in event_file_seeds():
        (folder / name).write_bytes(data)

    folder = ROOT / "fuzz/corpus/safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in safetensors_seeds():
        (folder / name).write_bytes(data)

    folder = ROOT / "fuzz/corpus/torch_zip"
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted((ROOT / "tests/fixtures/torch").glob("*.bin")):
        (folder / source.stem).write_bytes(source.read_bytes())
        if zipfile.is_zipfile(source):  # the bare pickle too
            with zipfile.ZipFile(source) as z:
                name = next(n for n in z.namelist() if n.endswith("/data.pkl"))
                (folder / f"{source.stem}_pickle").write_bytes(z.read(name))
    pickle = b"\x80\x02}."
    archive([("m/data.pkl", pickle), ("m/byteorder", b"little")], folder / "tiny")
    archive([("m/data.pkl", pickle * 20)], folder / "compressed", zipfile.ZIP_DEFLATED)
    (folder / "truncated").write_bytes((folder / "tiny").read_bytes()[:-30])
    (folder / "self_dict").write_bytes(b"\x80\x02}q\x01X\x01\0\0\0ah\x01s.")
    (folder / "os_system").write_bytes(b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.")


if __name__ == "__main__":
    main()

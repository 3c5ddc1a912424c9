#!/usr/bin/env python3
"""Writes an .xz file's content to standard output (Debian's python3 has lzma; xz may be absent).

    python3 tools/golden/unpack.py shared/data/golden/tokens.jsonl.xz | head -1
"""
import lzma
import shutil
import sys

with lzma.open(sys.argv[1]) as file:
    shutil.copyfileobj(file, sys.stdout.buffer)

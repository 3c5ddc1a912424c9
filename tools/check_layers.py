#!/usr/bin/env python3
"""Checks the #include lines against the order of the folders, and the length of files.

    python3 tools/check_layers.py [ROOT]

A folder of src/ includes only itself and what stands before it in

    base -> numeric -> {io, batch, kernels} -> text -> device -> backend -> model
         -> {engine, train} -> tamis -> {apps/cli, apps/server, bindings/*}

Those between braces do not see each other, nor do the backends. A skin (the last group) uses the
public headers, its own files and the plain tools of SKIN_TOOLS: not the engine's insides. Prints
`file:line: message` for each violation; the exit status is 0 if there is none.
"""
from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

# Folders with the same rank may not include each other.
RANKS = {"base": 0, "numeric": 1, "io": 2, "batch": 2, "kernels": 2, "text": 3, "device": 4,
         "backend": 5, "model": 6, "engine": 7, "train": 7, "tamis": 8}
SKINS = ("apps/cli", "apps/server", "bindings/c", "bindings/python")
# What a skin may use of another: the command `tamis serve` starts the server.
SKIN_DOORS = {"apps/cli": ("apps/server/service.h", "apps/server/config/settings.h")}
# What a skin shares with the engine besides the public headers: raising errors, sizes in bytes, JSON,
# NumPy's header, UTF-8, pages and their plots.
SKIN_TOOLS = ("src/base/fail.h", "src/base/byte_size.h", "src/io/html_page.h", "src/io/json.h",
              "src/io/json_writer.h", "src/io/npy.h", "src/io/svg_plot.h", "src/io/utf8.h")
REGISTRY = "src/backend/registry.cc"
# Third-party headers that only one place of the product may know: pattern -> that place's prefix.
KEPT_IN = {r"simdjson\b": "src/io/json.cc", r"(oneapi/)?dnnl": "src/backend/cpu/",
           r"(boost|openssl)/": "apps/server/transport/", r"(prometheus|spdlog)/": "apps/server/watch/",
           r"toml\+\+/": "apps/server/config/"}

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')
STANDARD = re.compile(r"[a-z_]+|(assert|errno|float|limits|math|signal|std[a-z]+|string|time)\.h")
CODE = (".h", ".cc", ".c", ".inc")
MAX_LINES = {".h": 300, ".cc": 600, ".py": 600}
PLACES = ("include", "src", "apps", "bindings", "examples", "tests", "fuzz", "bench", "tools")


def includes(text: str) -> Iterator[tuple[int, str, bool]]:
    """(line, name, whether in quotes) of each include."""
    for number, line in enumerate(text.splitlines(), 1):
        if match := INCLUDE.match(line):
            yield number, match[1] or match[2], match[1] is not None


def resolve(root: Path, file: Path, name: str) -> str:
    """Path of an included file of ours from the root, or "" if it is none of ours."""
    bases = (file.parent, root / "src", root / "include", root / "apps", root / "apps/server")
    for base in bases:
        path = base / name
        if path.is_file():
            return path.resolve().relative_to(root).as_posix()
    return ""


def parts_of_src(path: str) -> tuple[str, str]:
    """src/backend/cpu/gemm.cc -> (backend, cpu); src/io/json.cc -> (io, "")."""
    pieces = path.split("/")
    return pieces[1], pieces[2] if len(pieces) > 3 else ""


def check_in_src(path: str, target: str) -> str:
    """What is wrong with the file `path` of src/ including `target`; "" if nothing."""
    if target.startswith("include/tamis/"):
        return ""
    if not target.startswith("src/"):
        return f"src/ may not include {target}"
    folder, part = parts_of_src(path)
    target_folder, target_part = parts_of_src(target)
    if target_folder == "backend" and target_part:
        if folder != "backend" or (not part and path != REGISTRY):
            return f"only {REGISTRY} may name the backend {target_part}"
        if part and part != target_part:
            return f"backend {part} may not include backend {target_part}"
    if folder == target_folder:
        return ""
    if target_folder not in RANKS:
        return f"src/{target_folder} has no place in the order of the folders"
    if RANKS[target_folder] == RANKS[folder]:
        return f"{folder} and {target_folder} may not include each other"
    if RANKS[target_folder] > RANKS[folder]:
        return f"{folder} may not include {target_folder}, which stands after it"
    return ""


def check_include(root: Path, file: Path, name: str, quoted: bool) -> str:
    """What is wrong with one include line; "" if nothing."""
    path = file.relative_to(root).as_posix()
    if ".." in name.split("/"):
        return "an include path may not contain .."
    for pattern, place in KEPT_IN.items():
        if re.match(pattern, name) and not path.startswith((place, "bench/")):
            return f"{name} belongs in {place} only"
    target = resolve(root, file, name)
    if quoted and not target:
        return f"{name} is no file of ours (third-party headers go between < and >)"
    if path.startswith("include/"):
        if target:
            seen = target.startswith("include/tamis/")
            return "" if seen else f"public headers cannot see {target}"
        return "" if STANDARD.fullmatch(name) else f"public headers cannot depend on <{name}>"
    if not target:
        return ""
    if path.startswith("src/"):
        return check_in_src(path, target)
    skin = next((skin for skin in SKINS if path.startswith(skin + "/")), "")
    seen = ("include/tamis/", skin + "/", *SKIN_TOOLS, *SKIN_DOORS.get(skin, ()))
    if skin and not target.startswith(seen):
        return f"{skin} may include <tamis/...> and its own files, not {target}"
    return ""


def check_length(file: Path, lines: list[str]) -> str:
    limit = MAX_LINES.get(file.suffix)
    generated = any(re.search(r"\bgenerated (by|from)\b", line.lower()) for line in lines[:5])
    if limit is None or generated or len(lines) <= limit:
        return ""
    return f"{len(lines)} lines; {file.suffix} files have at most {limit}"


def check(root: Path) -> list[str]:
    """All violations under `root`, as `file:line: message`."""
    root = root.resolve()
    found = []
    for file in sorted(path for place in PLACES for path in (root / place).rglob("*")):
        if file.suffix not in (*CODE, ".py") or not file.is_file():
            continue
        path = file.relative_to(root).as_posix()
        text = file.read_text(encoding="utf-8", errors="replace")
        if message := check_length(file, text.splitlines()):
            found.append(f"{path}:1: {message}")
        if file.suffix not in CODE or path.startswith(("tests/", "fuzz/")):
            continue
        if path.startswith("src/") and path.split("/")[1] not in RANKS:
            found.append(f"{path}:1: src/{path.split('/')[1]} has no place in the order")
            continue
        for number, name, quoted in includes(text):
            if message := check_include(root, file, name, quoted):
                found.append(f"{path}:{number}: {message}")
    return found


def main() -> int:
    default = Path(__file__).resolve().parent.parent
    found = check(Path(sys.argv[1]) if len(sys.argv) > 1 else default)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

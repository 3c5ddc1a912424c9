"""Each rule of tools/check_layers.py can fail, and lets pass what it should."""
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from check_layers import check  # noqa: E402

# A small tree in which everything is allowed; each test adds one file to it.
TREE = {
    "include/tamis/error.h": "#include <string>\n#include <stdint.h>\n",
    "include/tamis/reranker.h": '#include "tamis/error.h"\n#include <vector>\n',
    "src/base/fail.h": '#include "tamis/error.h"\n#include <fmt/format.h>\n',
    "src/base/byte_size.h": "#include <string>\n",
    "src/numeric/dtype.h": '#include "base/fail.h"\n',
    "src/io/json.h": '#include "numeric/dtype.h"\n',
    "src/io/json.cc": '#include "io/json.h"\n#include <simdjson.h>\n',
    "src/batch/plan.h": '#include "base/fail.h"\n',
    "src/kernels/gemm.h": '#include "numeric/dtype.h"\n#include <hwy/highway.h>\n',
    "src/text/tokenizer.h": '#include "io/json.h"\n',
    "src/device/ops.h": '#include "kernels/gemm.h"\n#include "batch/plan.h"\n',
    "src/backend/registry.h": '#include "device/ops.h"\n',
    "src/backend/registry.cc": '#include "backend/cpu/ops.h"\n#include "backend/ref/ops.h"\n',
    "src/backend/cpu/ops.h": '#include "backend/registry.h"\n#include <oneapi/dnnl/dnnl.hpp>\n',
    "src/backend/ref/ops.h": '#include "device/ops.h"\n',
    "src/model/encoder.h": '#include "backend/registry.h"\n',
    "src/engine/replica.h": '#include "model/encoder.h"\n',
    "src/train/loss.h": '#include "model/encoder.h"\n',
    "src/tamis/reranker.cc": '#include "tamis/reranker.h"\n#include "engine/replica.h"\n',
    "apps/cli/output.h": "#include <tamis/reranker.h>\n",
    "apps/cli/main.cc": '#include "output.h"\n#include "tamis/error.h"\n#include <CLI/CLI.hpp>\n',
    "apps/cli/dto.cc": '#include "io/json.h"\n#include "base/fail.h"\n#include "base/byte_size.h"\n',
    "bench/gemm_bench.cc": "#include <dnnl.hpp>\n",
    "tests/unit/io_test.cc": '#include "io/json.h"\n#include "backend/cpu/ops.h"\n',
}


@pytest.fixture
def tree(tmp_path):
    """Function that writes the tree, with changes, and returns the violations in it."""
    def write_and_check(**changes: str) -> list[str]:
        for path, text in {**TREE, **changes}.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        return check(tmp_path)
    return write_and_check


def test_the_allowed_tree_passes(tree):
    assert tree() == []


@pytest.mark.parametrize("path, line, message", [
    ("src/base/x.cc", '#include "numeric/dtype.h"', "base may not include numeric"),
    ("src/io/x.h", '#include "text/tokenizer.h"', "io may not include text"),
    ("src/io/x.h", '#include "batch/plan.h"', "io and batch may not include each other"),
    ("src/batch/x.h", '#include "kernels/gemm.h"', "batch and kernels may not include each other"),
    ("src/kernels/x.cc", '#include "io/json.h"', "kernels and io may not include each other"),
    ("src/device/x.cc", '#include "backend/registry.h"', "device may not include backend"),
    ("src/engine/x.cc", '#include "train/loss.h"', "engine and train may not include each other"),
    ("src/model/x.cc", '#include "engine/replica.h"', "model may not include engine"),
    ("src/backend/ref/x.cc", '#include "backend/cpu/ops.h"',
     "backend ref may not include backend cpu"),
    ("src/backend/other.cc", '#include "backend/cpu/ops.h"', "only src/backend/registry.cc"),
    ("src/model/x.cc", '#include "backend/cpu/ops.h"', "only src/backend/registry.cc"),
    ("src/model/x.cc", '# include "backend/ref/ops.h"', "only src/backend/registry.cc"),
    ("src/text/x.cc", "#include <simdjson.h>", "simdjson.h belongs in src/io/json.cc only"),
    ("tools/x.cc", "#include <simdjson.h>", "simdjson.h belongs in src/io/json.cc only"),
    ("src/kernels/x.cc", "#include <dnnl.hpp>", "dnnl.hpp belongs in src/backend/cpu/ only"),
    ("src/kernels/x.cc", "#include <oneapi/dnnl/dnnl.h>", "belongs in src/backend/cpu/ only"),
    ("src/base/x.cc", '#include "../io/json.h"', "may not contain .."),
    ("src/base/x.cc", '#include "fmt/format.h"', "is no file of ours"),
    ("src/strange/x.cc", "", "src/strange has no place"),
    ("include/tamis/x.h", '#include "base/fail.h"', "public headers cannot see src/base/fail.h"),
    ("include/tamis/x.h", "#include <fmt/format.h>", "public headers cannot depend on"),
    ("include/tamis/x.h", "#include <dlfcn.h>", "public headers cannot depend on"),
    ("apps/cli/x.cc", '#include "engine/replica.h"', "apps/cli may include <tamis/...>"),
    ("apps/server/x.cc", "#include <engine/replica.h>", "apps/server may include <tamis/...>"),
    ("bindings/python/x.cc", '#include "text/tokenizer.h"',
     "bindings/python may include <tamis/...>"),
])
def test_a_forbidden_include_is_found(tree, path, line, message):
    found = tree(**{path: f"// first line\n{line}\n"})
    assert len(found) == 1
    assert found[0].startswith(f"{path}:")
    assert message in found[0]
    if line:
        assert found[0].startswith(f"{path}:2:")


@pytest.mark.parametrize("path, limit", [
    ("src/io/long.h", 300), ("src/io/long.cc", 600), ("tests/unit/long_test.cc", 600),
    ("tools/long.py", 600),
])
def test_long_files(tree, path, limit):
    assert tree(**{path: "\n" * limit}) == []
    assert tree(**{path: "\n" * (limit + 1)}) == [
        f"{path}:1: {limit + 1} lines; {Path(path).suffix} files have at most {limit}"]
    assert tree(**{path: "// Generated by tools/x.py\n" + "\n" * limit}) == []


def test_this_repository_keeps_the_order():
    assert check(ROOT) == []

"""The adapters of the Python package with the real libraries, which ./run test puts into
.cache/adapters (tests/adapters/requirements.txt); a library that is not there skips its tests."""
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(os.environ.get("TAMIS_BUILD", ROOT / "build" / "release")) / "python"
MODELS = ROOT / "tests" / "fixtures" / "models"

for path in (PACKAGE, ROOT / ".cache" / "adapters"):
    if str(path) not in sys.path:
        sys.path.append(str(path))
if not PACKAGE.is_dir():
    collect_ignore_glob = ["*"]


@pytest.fixture(scope="session")
def reranker_model():
    return str(MODELS / "xlmr-ce")


@pytest.fixture(scope="session")
def embedder_model():
    return str(MODELS / "xlmr-bi-mean")


@pytest.fixture(scope="session")
def order(reranker_model):
    """Function: indices and scores of texts for a query, by the native interface."""
    import tamis
    reranker = tamis.Reranker(reranker_model)

    def ranked(query, texts):
        return [(r.index, r.score, r.logit) for r in reranker.rerank(query, texts)]
    return ranked

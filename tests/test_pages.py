"""Pages whose blocks run as they are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ssmc.data import load_samples
from tests.pages import RECORDINGS, ROOT, run_page

pytest.importorskip("torch")
TUTORIALS = sorted(f"tutorials/{page.name}" for page in (ROOT / "docs" / "tutorials").glob("*.md"))
PAGES = ["onnx-examples.md", "training.md", *TUTORIALS]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten of the 300 recordings, one of each digit: every page calls the same commands in less time."""
    whole = load_samples(ROOT / RECORDINGS)
    path = tmp_path_factory.mktemp("data") / "test.npz"
    rows = range(0, len(whole), 30)
    starts = whole.offsets
    parts = [whole.flat[starts[row] : starts[row + 1]] for row in rows]
    offsets = np.cumsum([0, *map(len, parts)])
    assert whole.label is not None
    np.savez(path, flat=np.concatenate(parts), offsets=offsets, label=whole.label[list(rows)])
    return path


@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_what_it_shows(name: str, tmp_path: Path, few: Path) -> None:
    run_page(ROOT / "docs" / name, tmp_path, few)

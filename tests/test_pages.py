"""Pages whose blocks run as they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pages import ROOT, run_page

pytest.importorskip("torch")
PAGES = ["training.md", *sorted(f"tutorials/{page.name}" for page in (ROOT / "docs" / "tutorials").glob("*.md"))]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_what_it_shows(name: str, tmp_path: Path) -> None:
    run_page(ROOT / "docs" / name, tmp_path)

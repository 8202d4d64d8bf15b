"""What the sweeps share: a document that grows point by point, and the figure drawn from it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Document = dict[str, Any]


def begun(path: Path, setting: Document, empty: Document) -> Document:
    """The document in ``path`` if it was made with the same ``setting``, else ``setting`` and ``empty``."""
    found = json.loads(path.read_text()) if path.is_file() else {}
    same = all(key in found and found[key] == value for key, value in setting.items())
    return found if same else {**setting, **empty}


def written(path: Path, document: Document) -> None:
    """Replace ``path``, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    os.replace(temporary, path)


@contextmanager
def drawing(path: Path, rows: int, columns: int, **shape: Any) -> Iterator[Any]:
    """Yields the panels of a figure, an array (rows, columns); saves it as SVG, the same bytes for the same points."""
    import matplotlib as mpl  # only to draw

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "ssmc"
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(rows, columns, squeeze=False, **shape)
    yield panels
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)

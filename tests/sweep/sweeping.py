"""A small sweep file and its data for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.graphs import Spec, model

SPEC = Spec(seed=3)
GRID = """
[grid]
"adc.columns_per_adc" = [64, 16, 4]
packing = ["one", "multiplexed"]
"""


def written(folder: Path, body: str = GRID, base: str = 'target = "aimc"\ndata = "data.npz"') -> Path:
    """A sweep file beside its model and labelled data."""
    (folder / "model.onnx").write_bytes(model(SPEC).SerializeToString())
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 9, SPEC.features)).astype(np.float32)
    np.savez(folder / "data.npz", x=x, label=rng.integers(0, SPEC.classes, 12))
    path = folder / "points.toml"
    path.write_text(f'schema = "ssmc.sweep/1"\n[base]\nmodel = "model.onnx"\n{base}\n{body}')
    return path

"""What the importer rewrote computes what the file computes: onnxruntime runs both."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from ssmc.budgets import Budgets
from ssmc.errors import VerificationError
from ssmc.importers.qonnx import QONNX
from ssmc.ir.build import WHOLE_TYPES, graphs
from ssmc.trial import LimitedSession
from ssmc.verify import input_sizes, vocabulary

TOLERANCE = 1e-4
STEPS = (1, 6)


def require_same(
    before: onnx.ModelProto, model: ir.Model, budgets: Budgets, source: str, lengths: tuple[int, ...] = STEPS
) -> None:
    """Compare a rewritten model with its file, on sequences of 1 and 6 steps, or of ``lengths``.

    onnxruntime does not run QONNX, so that files with its quantizers are not compared. Every run is limited: nothing
    says yet how often a loop of the file repeats.

    Raises:
        VerificationError: SSMC-V08 where outputs differ.
        ModelError: SSMC-M05 where onnxruntime does not run one of them.
        UsageError: SSMC-U07 where a run takes more seconds of CPU than the budget.
    """
    if any(node.domain in QONNX for graph in graphs(model.graph) for node in graph):
        return
    rng, value = np.random.default_rng(0), model.graph.inputs[0]
    sessions = [LimitedSession(one, budgets, source) for one in (before, model)]
    for steps in lengths:
        feeds = {str(value.name): _noise(value, steps, rng)}
        old, new = (session.run(feeds)[0] for session in sessions)
        if old.shape != new.shape or not _near(old, new):
            fact = f"its loop as Scan gives another output than the file over {steps} steps"
            raise VerificationError("SSMC-V08", fact, "have the loop take every step of its sequence once", source)


def _noise(value: ir.Value, steps: int, rng: np.random.Generator) -> NDArray[np.generic]:
    """Noise, or ids that the model has rows for."""
    sizes, dtype = input_sizes(value, 2, steps), value.dtype or ir.DataType.FLOAT
    if dtype in WHOLE_TYPES:
        return rng.integers(0, vocabulary(value), sizes).astype(dtype.numpy())
    return rng.standard_normal(sizes).astype(dtype.numpy())


def _near(old: NDArray[np.generic], new: NDArray[np.generic]) -> bool:
    """Equal but for rounding where ``old`` is finite: noise may leave the domain of a logarithm or a root."""
    finite = np.isfinite(old)
    expected = old[finite].astype(np.float64)
    scale = max(float(np.abs(expected).max(initial=0.0)), 1e-30)
    return float(np.abs(expected - new[finite]).max(initial=0.0)) <= TOLERANCE * scale

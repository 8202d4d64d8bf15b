"""Conversions and drives are those of columns and rows that hold a code: counted here from the codes alone."""

from __future__ import annotations

import numpy as np
import pytest

import ssmc
from ssmc.bundle.pruning import Budget
from ssmc.data import Samples
from ssmc.importers.onnx_file import import_model
from ssmc.targets.aimc.target import AimcTarget
from tests.graphs import Spec, model

#: so large that every group of a matrix stands on one array, in one block
LARGE = ("array.rows=512", "array.columns=512", "array.area_um2=1e6", "array.read_latency_ns=100", "cell.levels=4096")
SPEC = Spec(seed=1, form="delta", layout="pair", pool="mean", layers=2)


def budget(points: float) -> Budget:
    """Accuracy that may be lost on 24 sequences, labelled by what the model says of them."""
    whole = ssmc.compile(import_model(model(SPEC)), oracle=False, poles="keep")
    x = np.random.default_rng(3).standard_normal((24, 10, whole.compiled.program.input_size)).astype(np.float32)
    label = whole.run(x).argmax(-1)
    return Budget(points, Samples(x.reshape(240, -1), np.arange(25, dtype=np.int64) * 10, label.astype(np.int64)))


@pytest.mark.parametrize("points", [None, 10.0])
def test_only_live_rows_and_columns_are_counted(points: float | None) -> None:
    target = AimcTarget(set=LARGE, place="analog", packing="one")
    prune = None if points is None else budget(points)
    bundle = ssmc.compile(import_model(model(SPEC)), target, oracle=False, poles="keep", prune=prune)
    live = [matrix.codes != 0 for _, matrix in bundle.compiled.program.matrices()]
    cost = bundle.cost(1)
    assert cost["adc_conversions"]["per_sequence"] == sum(int(one.any(-1).sum()) for one in live)
    assert cost["dac_drives"]["per_sequence"] == sum(int(one.any(-2).sum()) for one in live)
    assert cost["cells_nonzero"] == sum(int(np.count_nonzero(one)) for one in live)
    if prune is not None:
        whole = ssmc.compile(import_model(model(SPEC)), target, oracle=False, poles="keep").cost(1)
        assert cost["adc_conversions"]["per_sequence"] < whole["adc_conversions"]["per_sequence"]

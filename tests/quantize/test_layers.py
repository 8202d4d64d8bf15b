"""Layers are fitted to quantized inputs: E[z'] = E[z] on the calibration data for every matrix, and less error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from ssmc.data import Samples
from ssmc.importers import load_model
from ssmc.quantize import QuantizeConfig, quantize
from ssmc.quantize import layers as fitting
from ssmc.verify import run_onnx
from tests.graph_writer import Graph
from tests.quantize.floats import FEATURES, float_model

LENGTHS = (40, 25, 40, 0, 31)
COARSE = QuantizeConfig(*[5] * 6)


@pytest.fixture
def samples() -> Samples:
    x = np.random.default_rng(5).standard_normal((sum(LENGTHS), FEATURES)).astype(np.float32)
    return Samples(x, np.cumsum([0, *LENGTHS]))


def sums(proto: onnx.ModelProto, samples: Samples) -> list[np.ndarray]:
    """Mean over the sequences of what every matrix of the main graph delivers with its bias."""
    constant = {tensor.name for tensor in proto.graph.initializer if len(tensor.dims) == 1}
    products = {node.output[0] for node in proto.graph.node if node.op_type == "MatMul"}
    names = [
        node.output[0]
        for node in proto.graph.node
        if node.op_type == "Add" and set(node.input) & constant and set(node.input) & products
    ]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    x = [samples.sequence(index)[None] for index in range(len(samples)) if LENGTHS[index]]
    each = [run_onnx(proto, {proto.graph.input[0].name: one}, names) for one in x]
    return [np.mean([v.reshape(-1, v.shape[-1]).mean(0) for v in some], 0) for some in zip(*each, strict=True)]


def saved(folder: Path, **spec: object) -> Path:
    path = folder / "float.onnx"
    onnx.save(float_model(3, **spec), path)  # type: ignore[arg-type]
    return path


def test_means_are_those_of_the_float_model(tmp_path: Path, samples: Samples) -> None:
    path = saved(tmp_path)
    wanted, found = sums(ir.to_proto(load_model(path)), samples), sums(quantize(path, samples, COARSE).model, samples)
    assert len(wanted) == len(found) >= 3
    for old, new in zip(wanted, found, strict=True):
        assert np.abs(new - old).max() <= 1e-5 * max(1, np.abs(old).max())


def test_without_them_the_means_are_off(tmp_path: Path, samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path)
    monkeypatch.setattr("ssmc.quantize.model.fit", lambda *given: None)
    bad = quantize(path, samples, COARSE)
    wanted, found = sums(ir.to_proto(load_model(path)), samples), sums(bad.model, samples)
    assert max(np.abs(new - old).max() for old, new in zip(wanted, found, strict=True)) > 0.01


@pytest.mark.parametrize("bits", [3, 4, 5])
def test_fitted_weights_leave_less_error(
    bits: int, tmp_path: Path, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the first layer, whose input is the same, fitted or not."""
    path, left = saved(tmp_path), []
    config = QuantizeConfig(*[bits] * 6)
    for enough in (fitting.ENOUGH, 10**9):
        monkeypatch.setattr(fitting, "ENOUGH", enough)
        made = quantize(path, samples, config).model
        name = next(node.output[0] for node in made.graph.node if node.op_type == "Add")
        errors = []
        for index in (0, 1, 2, 4):
            x = samples.sequence(index)[None]
            protos = ir.to_proto(load_model(path)), made
            old, new = (exposed(proto, name, x) for proto in protos)
            errors.append(((new - old) ** 2).sum())
        left.append(sum(errors))
    assert left[0] < left[1]


def exposed(proto: onnx.ModelProto, name: str, x: np.ndarray) -> np.ndarray:
    shown = onnx.ModelProto()
    shown.CopyFrom(proto)
    shown.graph.output.append(onnx.ValueInfoProto(name=name))
    return run_onnx(shown, {shown.graph.input[0].name: x}, [name])[0]


def test_neighbours_are_corrected_together_where_there_are_many(
    tmp_path: Path, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "MOST_RUNS", 1)
    path = saved(tmp_path)
    assert quantize(path, samples, COARSE).fidelity.sqnr_db > 0


@pytest.mark.parametrize("layout", ["rows of all steps", "time first"])
def test_values_that_do_not_begin_with_the_batch(layout: str, tmp_path: Path) -> None:
    """A linear layer on (batch * time, features), and one on (time, batch, features)."""
    rng = np.random.default_rng(0)
    g = Graph()
    rows = (
        g.op("Reshape", "x", g.const([-1, 3], np.int64)) if layout[0] == "r" else g.op("Transpose", "x", perm=[1, 0, 2])
    )
    h = g.op("Add", g.op("MatMul", rows, g.const(rng.standard_normal((3, 4)))), g.const(rng.standard_normal(4)))
    y = g.op("Add", g.op("MatMul", g.op("Gelu", h), g.const(rng.standard_normal((4, 2)))), g.const([0.5, -0.5]))
    shape = g.op("Concat", g.op("Shape", "x", start=0, end=2), g.const([2], np.int64), axis=0)
    out = g.op("Reshape", y, shape) if layout[0] == "r" else g.op("Transpose", y, perm=[1, 0, 2])
    proto = g.finish(3, out, ["batch", "time", 2])
    onnx.save(proto, tmp_path / "m.onnx")
    x = rng.standard_normal((4, 20, 3)).astype(np.float32)
    made = quantize(tmp_path / "m.onnx", Samples(x.reshape(-1, 3), np.arange(5) * 20)).model
    real = run_onnx(proto, {"x": x})[0]
    assert np.linalg.norm(run_onnx(made, {"x": x})[0] - real) < 0.03 * np.linalg.norm(real)

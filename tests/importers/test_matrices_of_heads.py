"""A matrix for every head is one block diagonal matrix, however it is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import ssmc
from ssmc.errors import ModelError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.build import constant_array, is_op
from ssmc.passes.can_compile import can_compile
from ssmc.quantize import quantize
from ssmc.verify import run_onnx
from tests.graph_writer import Graph
from tests.quantize.test_quantize import samples, save

HEADS, INNER, OUTER = 2, 3, 4
X = np.random.default_rng(0).standard_normal((2, 7, HEADS * INNER)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((HEADS, INNER, OUTER))


def heads(written: str, joined: bool = False) -> onnx.ModelProto:
    """``joined``: batch and time are one axis."""
    g = Graph()
    lead = [-1] if joined else [0, 0]
    rows = [1] if written == "MatMul" else []

    def shaped(value: str, sizes: list[int]) -> str:
        return g.op("Reshape", value, g.const([*lead, *sizes], np.int64))

    h = shaped("x", [HEADS, *rows, INNER])
    if written == "MatMul":
        y = g.op("MatMul", h, g.const(W))
    else:
        weight = W.transpose(0, 2, 1) if "hed" in written else W.transpose(1, 2, 0) if "deh" in written else W
        factors = (g.const(weight), h) if written.startswith("hde") else (h, g.const(weight))
        y = g.op("Einsum", *factors, equation=written)
    y = g.op("Relu", shaped(y, [HEADS * OUTER]))
    if joined:
        y = g.op("Reshape", y, g.op("Concat", g.op("Shape", "x", start=0, end=2), g.const([-1], np.int64), axis=0))
    return g.finish(HEADS * INNER, y, ["batch", "time", HEADS * OUTER])


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("written", ["bthd,hde->bthe", "bthd,hed->bthe", "hde,bthd->bthe", "bthd,deh->bthe", "MatMul"])
def test_every_spelling_is_one_matrix(written: str, joined: bool) -> None:
    proto = heads(written.replace("bt", "b") if joined else written, joined)
    model = import_model(proto)
    assert not any(is_op(node, "Einsum") for node in model.graph)
    (product,) = (node for node in model.graph if is_op(node, "MatMul"))
    weight = constant_array(product.inputs[1])
    assert weight is not None
    blocks = weight.reshape(HEADS, INNER, HEADS, OUTER)
    assert np.allclose(blocks[[0, 1], :, [0, 1]], W)
    assert not blocks[[0, 1], :, [1, 0]].any()
    assert np.allclose(run_onnx(model, {"x": X})[0], run_onnx(proto, {"x": X})[0], atol=1e-6)


def heads_first(size: int = HEADS) -> onnx.ModelProto:
    """The product of (batch, heads, time, in) and (heads, in, out)."""
    g = Graph()
    h = g.op("Reshape", "x", g.const([0, 0, size, INNER], np.int64))
    y = g.op("MatMul", g.op("Transpose", h, perm=[0, 2, 1, 3]), g.const(W[:size]))
    y = g.op("Transpose", g.op("Relu", y), perm=[0, 2, 1, 3])
    y = g.op("Reshape", y, g.const([0, 0, size * OUTER], np.int64))
    return g.finish(size * INNER, y, ["batch", "time", size * OUTER])


def test_heads_in_front_of_time(tmp_path: Path) -> None:
    proto = heads_first()
    assert np.allclose(run_onnx(import_model(proto), {"x": X})[0], run_onnx(proto, {"x": X})[0], atol=1e-6)
    made = quantize(save(proto, tmp_path), samples(features=HEADS * INNER))
    assert made.fidelity.sqnr_db > 30
    bundle = ssmc.compile(save(made.model, tmp_path, "made.onnx"))
    assert np.array_equal(bundle.run(X), run_onnx(made.model, {"x": X})[0])


def test_matrices_that_go_with_steps_are_refused() -> None:
    """(batch, time, heads, in) times (2, in, out) takes another matrix at every one of 2 steps."""
    g = Graph()
    h = g.op("Reshape", "x", g.const([0, 0, HEADS, INNER], np.int64))
    y = g.op("Reshape", g.op("MatMul", h, g.const(W)), g.const([0, 0, HEADS * OUTER], np.int64))
    with pytest.raises(ModelError):
        can_compile(import_model(g.finish(HEADS * INNER, y, ["batch", "time", HEADS * OUTER])))


def test_it_compiles(tmp_path: Path) -> None:
    proto = heads("...hd,hde->...he")
    made = quantize(save(proto, tmp_path), samples(features=HEADS * INNER))
    assert made.fidelity.sqnr_db > 30
    bundle = ssmc.compile(save(made.model, tmp_path, "made.onnx"))
    assert np.array_equal(bundle.run(X), run_onnx(made.model, {"x": X})[0])


def test_one_matrix_for_all_heads() -> None:
    g = Graph()
    h = g.op("Reshape", "x", g.const([0, 0, HEADS, INNER], np.int64))
    y = g.op("Reshape", g.op("MatMul", h, g.const(W[0])), g.const([0, 0, HEADS * OUTER], np.int64))
    proto = g.finish(HEADS * INNER, y, ["batch", "time", HEADS * OUTER])
    model = import_model(proto)
    (product,) = (node for node in model.graph if is_op(node, "MatMul"))
    assert np.shape(constant_array(product.inputs[1])) == (HEADS * INNER, HEADS * OUTER)
    assert np.allclose(run_onnx(model, {"x": X})[0], run_onnx(proto, {"x": X})[0], atol=1e-6)


def test_a_product_that_sums_over_heads_stays() -> None:
    g = Graph()
    h = g.op("Reshape", "x", g.const([0, 0, HEADS, INNER], np.int64))
    y = g.op("Einsum", h, g.const(W), equation="bthd,hde->bte")
    model = import_model(g.finish(HEADS * INNER, y, ["batch", "time", OUTER]))
    assert any(is_op(node, "Einsum") for node in model.graph)

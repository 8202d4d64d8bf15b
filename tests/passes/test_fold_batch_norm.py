from __future__ import annotations

import numpy as np
import onnx
import pytest

from ssmc.importers.onnx_file import import_model
from ssmc.ir.build import constant_array
from ssmc.passes.fold_batch_norm import FoldBatchNorm
from ssmc.verify import run_onnx
from tests.graph_writer import Graph

RNG = np.random.default_rng(0)
PARAMETERS = [RNG.standard_normal(3), RNG.standard_normal(3), RNG.standard_normal(3), RNG.uniform(0.5, 2, 3)]


def normed(rank: int) -> onnx.ModelProto:
    g = Graph()
    parameters = [g.const(p) for p in PARAMETERS]
    if rank == 3:
        y = g.op("BatchNormalization", g.op("Transpose", "x", perm=[0, 2, 1]), *parameters, epsilon=1e-3, out="bn")
        return g.finish(3, g.op("Transpose", y, perm=[0, 2, 1]), ("batch", "time", 3))
    flat = g.op("Reshape", "x", g.const([-1, 3], np.int64))
    y = g.op("BatchNormalization", flat, *parameters, out="bn")
    return g.finish(3, g.op("Reshape", y, g.op("Shape", "x")), ("batch", "time", 3))


@pytest.mark.parametrize("rank", [2, 3])
def test_it_becomes_a_product_and_a_sum(rank: int) -> None:
    proto = normed(rank)
    x = RNG.standard_normal((2, 5, 3)).astype(np.float32)
    result = FoldBatchNorm().run(import_model(proto))
    assert result.applied == ("bn",)
    kinds = [n.op_type for n in result.model.graph]
    assert "BatchNormalization" not in kinds
    assert kinds.count("Mul") == kinds.count("Add") == 1
    expected = run_onnx(proto, {"x": x})[0]
    assert np.abs(run_onnx(result.model, {"x": x})[0] - expected).max() < 1e-5 * np.abs(expected).max()


def test_the_factor_is_the_equation() -> None:
    result = FoldBatchNorm().run(import_model(normed(3)))
    mul, add = (next(n for n in result.model.graph if n.op_type == kind) for kind in ("Mul", "Add"))
    gamma, beta, mean, var = PARAMETERS
    a = np.float32(gamma).astype(float) / np.sqrt(np.float32(var).astype(float) + np.float32(1e-3).astype(float))
    b = np.float32(beta).astype(float) - np.float32(mean).astype(float) * a
    assert np.array_equal(np.ravel(constant_array(mul.inputs[1])), a.astype(np.float32))
    assert np.array_equal(np.ravel(constant_array(add.inputs[1])), b.astype(np.float32))


def test_other_normalizations_are_left_alone() -> None:
    g = Graph()
    y = g.op("LayerNormalization", "x", g.const([1.0, 1.0, 1.0]))
    result = FoldBatchNorm().run(import_model(g.finish(3, y, ("batch", "time", 3))))
    assert result.applied == ()
    assert [n.op_type for n in result.model.graph] == ["LayerNormalization"]

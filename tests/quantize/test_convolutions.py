"""Convolutions over time without padding, of any width: quantized and compiled, at every length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import ssmc
from ssmc.data import Samples
from ssmc.quantize import quantize
from ssmc.verify import run_onnx
from tests.graph_writer import Graph
from tests.quantize.floats import FEATURES


def convolved(width: int, dilation: int, stride: int, named: bool) -> onnx.ModelProto:
    """A convolution and the mean of what it gives; ``named``: the node says how wide its kernel is."""
    rng, g = np.random.default_rng(width), Graph("qdq")
    weight = g.const(rng.standard_normal((4, FEATURES, width)) / width)
    options = {"kernel_shape": [width]} if named else {}
    turned = g.op("Transpose", "x", perm=[0, 2, 1])
    h = g.op("Conv", turned, weight, dilations=[dilation], strides=[stride], **options)
    y = g.op("ReduceMean", g.op("Relu", h), g.const([2], np.int64), keepdims=0)
    return g.finish(FEATURES, y, ["batch", 4])


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(("width", "dilation", "stride"), [(8, 1, 1), (6, 3, 1), (7, 1, 3)])
def test_a_wide_one_without_padding(width: int, dilation: int, stride: int, named: bool, tmp_path: Path) -> None:
    proto = convolved(width, dilation, stride, named)
    x = np.random.default_rng(0).standard_normal((6, 40, FEATURES)).astype(np.float32)
    onnx.save(proto, tmp_path / "float.onnx")
    made = quantize(tmp_path / "float.onnx", Samples(x.reshape(-1, FEATURES), np.arange(7) * 40))
    assert made.fidelity.sqnr_db > 30
    onnx.save(made.model, tmp_path / "m.onnx")
    bundle = ssmc.compile(tmp_path / "m.onnx")
    for steps in (width * dilation, 31, 40):
        (wanted,) = run_onnx(made.model, {"x": x[:, :steps]})
        assert np.array_equal(bundle.run(x[:, :steps]), wanted)

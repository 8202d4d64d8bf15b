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


def test_one_padded_on_both_sides_and_cut(tmp_path: Path) -> None:
    """``conv(x)[..., :T]`` of ``nn.Conv1d(padding=K - 1)``: the quantizer stands behind the cut."""
    rng, g, width = np.random.default_rng(0), Graph(), 4
    u = g.op("MatMul", "x", g.const(rng.standard_normal((FEATURES, 4))))
    turned = g.op("Transpose", u, perm=[0, 2, 1])
    weight = g.const(rng.standard_normal((4, 1, width)))
    h = g.op("Conv", turned, weight, pads=[width - 1, width - 1], group=4)
    ends = (g.const([number], np.int64) for number in (0, 1 - width, 2))
    back = g.op("Transpose", g.op("Slice", h, *ends), perm=[0, 2, 1])
    proto = g.finish(FEATURES, g.op("MatMul", g.op("Relu", back), g.const(np.eye(4))), ["batch", "time", 4])
    x = rng.standard_normal((6, 40, FEATURES)).astype(np.float32)
    onnx.save(proto, tmp_path / "float.onnx")
    made = quantize(tmp_path / "float.onnx", Samples(x.reshape(-1, FEATURES), np.arange(7) * 40))
    assert made.fidelity.sqnr_db > 25
    onnx.save(made.model, tmp_path / "m.onnx")
    assert np.array_equal(ssmc.compile(tmp_path / "m.onnx").run(x), run_onnx(made.model, {"x": x})[0])

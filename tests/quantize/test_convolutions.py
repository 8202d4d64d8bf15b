"""Convolutions over time without padding, of any width: quantized and compiled, at every length."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import ssmc
from ssmc.data import Samples
from ssmc.errors import ModelError
from ssmc.importers.onnx_file import import_model
from ssmc.passes.can_compile import can_compile
from ssmc.quantize import quantize
from ssmc.verify import run_onnx
from tests.graph_writer import Graph
from tests.quantize.floats import FEATURES


def convolved(width: int, dilation: int, stride: int, named: bool) -> onnx.ModelProto:
    """A convolution and the mean of what it gives; ``named``: the node says how wide its kernel is."""
    rng, g = np.random.default_rng(width), Graph("qdq")
    weight = g.const(rng.standard_normal((4, FEATURES, width)) / width)
    options = {"kernel_shape": [width]} if named else {}
    h = g.op("Conv", turned(g, "x"), weight, dilations=[dilation], strides=[stride], **options)
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


def turned(g: Graph, x: str) -> str:
    return g.op("Transpose", x, perm=[0, 2, 1])


def shorter(g: Graph, x: str, axis: int) -> str:
    return g.op("Slice", x, *(g.const([number], np.int64) for number in (0, 1 - WIDTH, axis)))


def as_long(g: Graph, x: str, axis: int) -> str:
    """``x[:, :T]``, T from the model's input."""
    length = g.op("Shape", "x", start=1, end=2)
    return g.op("Slice", x, g.const([0], np.int64), length, g.const([axis], np.int64), g.const([1], np.int64))


def silu(g: Graph, x: str) -> str:
    return g.op("Mul", x, g.op("Sigmoid", x))


WIDTH = 4
CUT: dict[str, Callable[[Graph, str], str]] = {
    "at once": lambda g, h: g.op("Relu", turned(g, shorter(g, h, 2))),
    "behind a Transpose": lambda g, h: g.op("Relu", shorter(g, turned(g, h), -2)),
    "behind a ReLU": lambda g, h: turned(g, shorter(g, g.op("Relu", h), -1)),
    "behind a SiLU": lambda g, h: as_long(g, silu(g, turned(g, h)), 1),
    "behind a gain": lambda g, h: as_long(g, g.op("Mul", silu(g, turned(g, h)), g.const([1, -1, 0.5, 2])), 1),
}


def padded_behind(g: Graph) -> str:
    rng = np.random.default_rng(0)
    u = g.op("MatMul", "x", g.const(rng.standard_normal((FEATURES, 4))))
    weight = g.const(rng.standard_normal((4, 1, WIDTH)))
    return g.op("Conv", turned(g, u), weight, pads=[WIDTH - 1, WIDTH - 1], group=4)


@pytest.mark.parametrize("cut", CUT.values(), ids=CUT)
def test_one_padded_on_both_sides_and_cut(cut: Callable[[Graph, str], str], tmp_path: Path) -> None:
    """``conv(x)[..., :T]`` of ``nn.Conv1d(padding=K - 1)``: the quantizer stands behind the cut."""
    rng, g = np.random.default_rng(0), Graph()
    h = cut(g, padded_behind(g))
    proto = g.finish(FEATURES, g.op("MatMul", h, g.const(np.eye(4))), ["batch", "time", 4])
    x = rng.standard_normal((6, 40, FEATURES)).astype(np.float32)
    onnx.save(proto, tmp_path / "float.onnx")
    made = quantize(tmp_path / "float.onnx", Samples(x.reshape(-1, FEATURES), np.arange(7) * 40))
    assert made.fidelity.sqnr_db > 25
    onnx.save(made.model, tmp_path / "m.onnx")
    bundle = ssmc.compile(tmp_path / "m.onnx")
    for steps in (1, 3, 40):
        assert np.array_equal(bundle.run(x[:, :steps]), run_onnx(made.model, {"x": x[:, :steps]})[0])


def test_a_tail_that_something_else_reads_is_not_cut_before() -> None:
    for read in (lambda g, h: g.op("ReduceMax", h, g.const([2], np.int64)), lambda g, h: shorter(g, h, 2)):
        g = Graph()
        h = g.op("Relu", padded_behind(g))
        y = g.op("Add", shorter(g, h, 2), read(g, h))
        with pytest.raises(ModelError, match="looks ahead"):
            can_compile(import_model(g.finish(FEATURES, turned(g, y), ["batch", "time", 4])))


def test_a_long_chain_behind_a_convolution_is_refused_at_once() -> None:
    g = Graph()
    h = padded_behind(g)
    for _ in range(3000):
        h = g.op("Relu", h)
    with pytest.raises(ModelError):
        can_compile(import_model(g.finish(FEATURES, turned(g, shorter(g, h, 2)), ["batch", "time", 4])))


def test_a_cut_that_is_the_models_result_keeps_its_name() -> None:
    g = Graph()
    h = g.op("Relu", turned(g, padded_behind(g)))
    proto = g.finish(FEATURES, shorter(g, h, 1), ["batch", "time", 4])
    model = import_model(proto)
    assert model.graph.outputs[0].name == proto.graph.output[0].name
    assert [node.op_type for node in model.graph][-3:] == ["Slice", "Transpose", "Relu"]

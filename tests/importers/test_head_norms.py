"""A norm of every head is norms of channels, one a head, however it is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import ssmc
from ssmc.errors import ModelError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.operations import Norm
from ssmc.passes.can_compile import can_compile
from ssmc.quantize import quantize
from ssmc.verify import run_onnx
from tests.graph_writer import Graph
from tests.quantize.test_quantize import samples, save

HEADS, EACH = 3, 4
SIZE = HEADS * EACH
X = np.random.default_rng(0).standard_normal((2, 7, SIZE)).astype(np.float32)
GAIN, BIAS = np.linspace(0.5, 2, SIZE), np.linspace(-1, 1, SIZE)
LAST = [-1]


def parted(g: Graph, norm: Callable[[str], str], x: str = "x") -> str:
    h = norm(g.op("Reshape", x, g.const([0, 0, HEADS, EACH], np.int64)))
    return g.op("Reshape", h, g.const([0, 0, SIZE], np.int64))


def layer(g: Graph, x: str = "x") -> str:
    def norm(h: str) -> str:
        return g.op("LayerNormalization", h, g.const(GAIN[:EACH]), g.const(BIAS[:EACH]), axis=-1, epsilon=1e-3)

    return parted(g, norm, x)


def unknown_size(g: Graph) -> str:
    """Of a slice to a length that is computed, whose shape onnx does not infer."""
    one = g.const([1], np.int64)
    return layer(g, g.op("Slice", "x", g.const([0], np.int64), g.op("Shape", "x", start=1, end=2), one, one))


def rms(g: Graph) -> str:
    """Written out, its gain behind it."""

    def norm(h: str) -> str:
        mean = g.op("ReduceMean", g.op("Mul", h, h), g.const(LAST, np.int64), keepdims=1)
        return g.op("Mul", h, g.op("Reciprocal", g.op("Sqrt", g.op("Add", mean, g.const(1e-3)))))

    return g.op("Mul", parted(g, norm), g.const(GAIN))


def gain_of_heads(g: Graph) -> str:
    """A gain of every head in front of the Reshape back."""

    def norm(h: str) -> str:
        one = g.op("LayerNormalization", h, g.const(np.ones(EACH)), axis=3, epsilon=1e-3)
        return g.op("Mul", one, g.const(GAIN.reshape(HEADS, EACH)))

    return parted(g, norm)


def group(g: Graph) -> str:
    """Steps stand in the batch."""
    rows = g.op("Reshape", "x", g.const([-1, SIZE], np.int64))
    h = g.op("GroupNormalization", rows, g.const(GAIN), g.const(BIAS), num_groups=HEADS, epsilon=1e-3)
    return g.op("Reshape", h, g.op("Concat", g.op("Shape", "x", start=0, end=2), g.const([SIZE], np.int64), axis=0))


WRITTEN = {"layer": layer, "unknown size": unknown_size, "rms": rms, "gain of heads": gain_of_heads, "group": group}


def model(write: Callable[[Graph], str]) -> onnx.ModelProto:
    g = Graph()
    y = g.op("MatMul", write(g), g.const(np.random.default_rng(1).standard_normal((SIZE, 5))))
    return g.finish(SIZE, y, ["batch", "time", 5])


@pytest.mark.parametrize("write", WRITTEN.values(), ids=WRITTEN)
def test_it_is_the_same_and_compiles(write: Callable[[Graph], str], tmp_path: Path) -> None:
    proto = model(write)
    assert np.allclose(run_onnx(import_model(proto), {"x": X})[0], run_onnx(proto, {"x": X})[0], atol=1e-5)
    made = quantize(save(proto, tmp_path), samples(features=SIZE))
    assert made.fidelity.sqnr_db > 25
    bundle = ssmc.compile(save(made.model, tmp_path, "made.onnx"))
    assert sum(isinstance(op, Norm) for op in bundle.compiled.program.ops) == HEADS
    apart = np.abs(bundle.run(X) - run_onnx(made.model, {"x": X})[0])
    assert (apart > 0).any(-1).mean() < 0.3  # float32 decides ties of a norm
    assert apart.max() < 0.1


def test_a_group_norm_over_time_is_refused() -> None:
    """Of (batch, channels, time): it sees the whole sequence."""
    g = Graph()
    turned = g.op("Transpose", "x", perm=[0, 2, 1])
    h = g.op("GroupNormalization", turned, g.const(GAIN), g.const(BIAS), num_groups=HEADS)
    proto = g.finish(SIZE, g.op("Transpose", h, perm=[0, 2, 1]), ["batch", "time", SIZE])
    with pytest.raises(ModelError, match="GroupNormalization"):
        can_compile(import_model(proto))


def test_a_norm_whose_means_are_read_is_refused() -> None:
    g = Graph()
    h = g.op("Reshape", "x", g.const([0, 0, HEADS, EACH], np.int64))
    norm = g.op("LayerNormalization", h, g.const(GAIN[:EACH]), axis=-1)
    g.nodes[-1].output.append("mean")
    y = g.op("Reshape", g.op("Add", norm, "mean"), g.const([0, 0, SIZE], np.int64))
    with pytest.raises(ModelError):
        can_compile(import_model(g.finish(SIZE, y, ["batch", "time", SIZE])))


def finished(g: Graph, size: int, h: str) -> onnx.ModelProto:
    y = g.op("Reshape", h, g.const([0, 0, size], np.int64))
    return g.finish(size, g.op("MatMul", y, g.const(np.ones((size, 3)))), ["batch", "time", 3])


def test_heads_of_one_channel_and_scales_of_heads_are_refused_by_what_they_are() -> None:
    g = Graph()
    h = g.op("Reshape", "x", g.const([0, 0, 12, 1], np.int64))
    one = finished(g, 12, g.op("LayerNormalization", h, g.const([0.5]), axis=-1))
    g = Graph()
    h = g.op("Reshape", "x", g.const([0, 0, HEADS, EACH], np.int64))
    each = finished(g, SIZE, g.op("LayerNormalization", h, g.const(GAIN.reshape(HEADS, EACH)), axis=-1))
    for proto in (one, each):
        with pytest.raises(ModelError, match=r"SSMC-T01.*a normalization over axis -1"):
            can_compile(import_model(proto))

"""Values delayed by whole steps, as models of time shifts write them: the same codes, later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import ssmc
from ssmc.errors import ModelError
from ssmc.ir.operations import StateSpace
from ssmc.quantize import quantize
from ssmc.verify import run_onnx
from tests.graph_writer import Graph
from tests.quantize.test_quantize import FEATURES, samples, save

C, ENDLESS = 4, (1 << 63) - 1
Write = Callable[[Graph, str, int], str]


def pad(g: Graph, x: str, before: int, after: int = 0) -> str:
    return g.op("Pad", x, g.const([0, before, 0, 0, after, 0], np.int64))


def cut(g: Graph, x: str, start: int, stop: int) -> str:
    return g.op("Slice", x, *(g.const([number], np.int64) for number in (start, stop, 1)))


def behind(g: Graph, zeros: str, x: str, k: int) -> str:
    return g.op("Concat", zeros, cut(g, x, 0, -k), axis=1)


def zeros_like_first(g: Graph, x: str, k: int) -> str:
    shape = g.op("Shape", cut(g, x, 0, k))
    return behind(g, g.op("Expand", g.const(0.0), shape), x, k)


def zeros_of_batch(g: Graph, x: str, k: int) -> str:
    batch = g.op("Shape", x, start=0, end=1)
    shape = g.op("Concat", batch, g.const([k, C], np.int64), axis=0)
    return behind(g, g.op("ConstantOfShape", shape), x, k)


def to_the_length(g: Graph, x: str, k: int) -> str:
    length = g.op("Shape", x, start=1, end=2)
    return g.op("Slice", pad(g, x, k), g.const([0], np.int64), length, g.const([1], np.int64), g.const([1], np.int64))


def window(g: Graph, x: str, start: int) -> str:
    """``x[:, start : start + T]``, T of the model's input."""
    length = g.op("Add", g.op("Shape", "x", start=1, end=2), g.const([start], np.int64))
    return g.op("Slice", x, g.const([start], np.int64), length, g.const([1], np.int64), g.const([1], np.int64))


WRITTEN: dict[str, Write] = {
    "a window of more zeros": lambda g, x, k: cut(g, pad(g, x, k + 2), 2, -k),
    "a window to the length": lambda g, x, k: window(g, pad(g, x, k + 2), 2),
    "negative padding": lambda g, x, k: pad(g, x, k, -k),
    "padding, then a slice": lambda g, x, k: cut(g, pad(g, x, k), 0, -k),
    "a slice, then a padding": lambda g, x, k: pad(g, cut(g, x, 0, -k), k),
    "a slice to the length": to_the_length,
    "zeros of the first steps in front": zeros_like_first,
    "zeros of the batch in front": zeros_of_batch,
}


def shifted(write: Write, k: int) -> onnx.ModelProto:
    """A coder, the mixture of its signal with the delayed one, and a matrix."""
    rng, g = np.random.default_rng(k), Graph()
    u = g.op("MatMul", "x", g.const(rng.standard_normal((FEATURES, C))))
    mixed = g.op("Add", g.op("Mul", u, g.const(rng.random(C))), g.op("Mul", write(g, u, k), g.const(rng.random(C))))
    y = g.op("MatMul", g.op("Relu", mixed), g.const(rng.standard_normal((C, 2))))
    return g.finish(FEATURES, y, ["batch", "time", 2])


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("written", WRITTEN)
def test_every_spelling_is_a_delay(written: str, k: int, tmp_path: Path) -> None:
    proto = shifted(WRITTEN[written], k)
    made = quantize(save(proto, tmp_path), samples())
    assert made.fidelity.sqnr_db > 25
    bundle = ssmc.compile(save(made.model, tmp_path, "made.onnx"))
    assert [op.n_state for op in bundle.compiled.program.ops if isinstance(op, StateSpace)] == [k]
    x = samples(4).flat.reshape(4, -1, FEATURES)
    for steps in (k + 1, 29):
        assert np.array_equal(bundle.run(x[:, :steps]), run_onnx(made.model, {"x": x[:, :steps]})[0])


def test_a_filter_of_windows(tmp_path: Path) -> None:
    """The last window is the value itself."""
    rng, g = np.random.default_rng(0), Graph()
    u = g.op("MatMul", "x", g.const(rng.standard_normal((FEATURES, C))))
    zeros = pad(g, u, 2)
    taps = [g.op("Mul", window(g, zeros, start), g.const(rng.standard_normal(C))) for start in range(3)]
    y = g.op("MatMul", g.op("Add", g.op("Add", *taps[:2]), taps[2]), g.const(rng.standard_normal((C, 2))))
    proto = g.finish(FEATURES, y, ["batch", "time", 2])
    made = quantize(save(proto, tmp_path), samples())
    assert made.fidelity.sqnr_db > 25
    bundle = ssmc.compile(save(made.model, tmp_path, "made.onnx"))
    assert sorted(op.n_state for op in bundle.compiled.program.ops if isinstance(op, StateSpace)) == [1, 2]
    x = samples(4).flat.reshape(4, -1, FEATURES)
    for steps in (1, 29):
        assert np.array_equal(bundle.run(x[:, :steps]), run_onnx(made.model, {"x": x[:, :steps]})[0])


def test_a_slice_of_all_steps_is_nothing(tmp_path: Path) -> None:
    g = Graph()
    u = window(g, g.op("MatMul", window(g, "x", 0), g.const(np.ones((FEATURES, C)))), 0)
    proto = g.finish(FEATURES, g.op("MatMul", g.op("Relu", u), g.const(np.ones((C, 2)))), ["batch", "time", 2])
    made = quantize(save(proto, tmp_path), samples())
    bundle = ssmc.compile(save(made.model, tmp_path, "made.onnx"))
    x = samples(4).flat.reshape(4, -1, FEATURES)
    assert np.array_equal(bundle.run(x), run_onnx(made.model, {"x": x})[0])


def least(g: Graph, x: str, start: int, most: int) -> str:
    """``x[:, start : min(start + T, most)]``."""
    length = g.op("Add", g.op("Shape", "x", start=1, end=2), g.const([start], np.int64))
    end, one = g.op("Min", length, g.const([most], np.int64)), g.const([1], np.int64)
    return g.op("Slice", x, g.const([start], np.int64), end, one, one)


def length(g: Graph, x: str = "x", axis: int = 1) -> str:
    return g.op("Shape", x, start=axis, end=axis + 1)


def whole(g: Graph, *numbers: int) -> str:
    return g.const(list(numbers), np.int64)


ENDS: dict[str, Callable[[Graph, str], str]] = {
    "n - T": lambda g, u: g.op("Sub", whole(g, 1000), length(g)),
    "2 T - 5": lambda g, u: g.op("Sub", g.op("Add", length(g), length(g)), whole(g, 5)),
    "T - T + n": lambda g, u: g.op("Add", whole(g, 1000), g.op("Sub", length(g), length(g))),
    "channels + n": lambda g, u: g.op("Add", whole(g, 996), length(g, u, 2)),
    "batch + n": lambda g, u: g.op("Add", whole(g, 1000), length(g, "x", 0)),
    "one of T and n": lambda g, u: g.op("Gather", g.op("Concat", length(g), whole(g, 1000), axis=0), whole(g, 1)),
    "T in 8 bits": lambda g, u: g.op(
        "Cast", g.op("Cast", length(g), to=onnx.TensorProto.INT8), to=onnx.TensorProto.INT64
    ),
    "a buffer of n": lambda g, u: length(
        g, g.op("Slice", g.const(np.zeros((1, 1000, 1))), whole(g, 0), length(g), whole(g, 1))
    ),
    "zeros of min(T, n)": lambda g, u: length(
        g, g.op("ConstantOfShape", g.op("Concat", whole(g, 1), g.op("Min", length(g), whole(g, 1000)), axis=0))
    ),
}


@pytest.mark.parametrize("k", [0, 2])
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_an_end_that_does_not_go_with_the_length_is_refused(
    end: Callable[[Graph, str], str], k: int, tmp_path: Path
) -> None:
    g = Graph()
    u = g.op("MatMul", "x", g.const(np.ones((FEATURES, C))))
    cut_ = g.op("Slice", pad(g, u, k) if k else u, whole(g, 0), end(g, u), whole(g, 1))
    proto = g.finish(FEATURES, g.op("MatMul", g.op("Relu", cut_), g.const(np.ones((C, 2)))), ["batch", "time", 2])
    with pytest.raises(ModelError):
        quantize(save(proto, tmp_path), samples())


@pytest.mark.parametrize("most", [5, 7, 12, 1000])
@pytest.mark.parametrize(
    "write",
    [
        lambda g, x, most: cut(g, x, 0, most),
        lambda g, x, most: cut(g, pad(g, x, 2), 2, most),
        lambda g, x, most: cut(g, pad(g, x, 2), 0, most),
        lambda g, x, most: least(g, x, 0, most),
        lambda g, x, most: least(g, pad(g, x, 2), 1, most),
    ],
)
def test_a_slice_that_ends_at_a_step_is_refused(write: Write, most: int, tmp_path: Path) -> None:
    """Short sequences, which a model is measured with, do not show where it ends."""
    g = Graph()
    u = write(g, g.op("MatMul", "x", g.const(np.ones((FEATURES, C)))), most)
    y = g.op("ReduceMean", g.op("MatMul", u, g.const(np.ones((C, 2)))), g.const([1], np.int64), keepdims=0)
    with pytest.raises(ModelError, match=r"SSMC-T01.*slice"):
        quantize(save(g.finish(FEATURES, y, ["batch", 2]), tmp_path), samples())


def test_a_delay_keeps_at_most_512_steps(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"SSMC-T01.*a delay by 513 steps"):
        quantize(save(shifted(WRITTEN["negative padding"], 513), tmp_path), samples())


@pytest.mark.parametrize(
    ("write", "fact"),
    [
        (lambda g, x, k: pad(g, x, -k, k), "a padding that is not zeros before the first step"),
        (lambda g, x, k: pad(g, cut(g, x, k, ENDLESS), k), "a slice of axis T"),
        (lambda g, x, k: cut(g, pad(g, x, k + 1, -1), 0, -k), "a padding that is not zeros before the first step"),
    ],
)
def test_what_looks_ahead_or_starts_late_is_none(write: Write, fact: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"SSMC-T01.*{fact}"):
        quantize(save(shifted(write, 2), tmp_path), samples())

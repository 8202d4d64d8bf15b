"""A small model that compiles, parts to change in it, and the error that the changed model gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from ssmc.errors import ModelError, SsmcError
from ssmc.importers.onnx_file import import_model
from ssmc.pipeline import run_pipeline
from ssmc.targets.integer.target import IntegerTarget
from tests.graph_writer import Graph, signed

CODE = signed(8, 2.0**-5)
H = 3


def refusal(proto: onnx.ModelProto) -> SsmcError:
    """The error that compiling gives; a ModelError on one line, with a remedy."""
    with pytest.raises(SsmcError) as caught:
        run_pipeline(import_model(proto), IntegerTarget().pipeline())
    error = caught.value
    assert isinstance(error, ModelError)
    assert error.exit_status == 1
    assert error.remedy
    assert "\n" not in str(error)
    return error


def codes(*shape: int) -> np.ndarray:
    return np.arange(1, 1 + int(np.prod(shape))).reshape(shape) % 7 - 3


def start(spelling: str = "qdq") -> tuple[Graph, str]:
    """A graph with a quantized encoder; its codes ``u`` (N, T, 3)."""
    g = Graph(spelling)
    x = g.quant("x", CODE, "xq")
    w = g.op("Transpose", g.weight(codes(H, 2), 0.25, "enc.W"), perm=[1, 0], out="enc.Wt")
    return g, g.quant(g.op("MatMul", x, w, out="enc"), CODE, "u")


def end(g: Graph, h: str, shape: tuple[str | int, ...] = ("batch", "time", H), opset: int = 21) -> onnx.ModelProto:
    return g.finish(2, g.quant(h, CODE, "out"), shape, opset)


def decay(b: Graph, state: str, u: str) -> str:
    """``0.5 s + u`` per channel."""
    return b.op("Add", b.op("Mul", state, b.const(0.5)), u, out="sum")


def looped(
    step: Callable[[Graph, str, str], tuple[str, str]], shape: tuple[int, ...] = (H,), **more: object
) -> onnx.ModelProto:
    """A model with one state tensor and the given step ``(state, u) -> (next, y)``."""
    g, u = start()

    def build(b: Graph, states: list[str], ut: str) -> tuple[list[str], list[str]]:
        new, y = step(b, states[0], ut)
        return [new], [y]

    (y,) = g.loop(u, [shape], build, **more)
    return end(g, y)


def plain(b: Graph, state: str, u: str) -> tuple[str, str]:
    return b.quant(decay(b, state, u), CODE, "s.q"), state

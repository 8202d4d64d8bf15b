"""A model whose input has several quantizers: equal ones are one, others are right on every target or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import ssmc
from ssmc.errors import ModelError
from ssmc.ir.operations import Quantize
from ssmc.native.fast import FAST_FROM_STEPS
from ssmc.verify import run_onnx
from tests.graph_writer import Graph, signed

SIZE = 3
STEPS = FAST_FROM_STEPS + 10  # the C of this machine runs them


def branches(steps: tuple[float, float], bits: tuple[int, int] = (8, 8)) -> onnx.ModelProto:
    """The product of a gate and a signal, each a matrix of the input with a quantizer of its own."""
    g, rng = Graph(), np.random.default_rng(0)

    def matrix(number: int) -> str:
        u = g.quant("x", signed(bits[number], steps[number]), f"q{number}")
        weight = g.weight(rng.integers(-90, 90, (2, SIZE)), 0.01, f"w{number}")
        return g.quant(g.op("MatMul", u, g.op("Transpose", weight, perm=[1, 0])), signed(8, 0.05), f"m{number}")

    gate = g.quant(g.op("Sigmoid", matrix(0)), signed(8, 2.0**-6), "gate")
    y = g.quant(g.op("Mul", gate, matrix(1)), signed(8, 2.0**-4), "out")
    return g.finish(SIZE, y, ["batch", "time", 2])


def apart(target: str, proto: onnx.ModelProto, folder: Path) -> float:
    """Largest difference from onnxruntime, in steps of the output."""
    onnx.save(proto, folder / "m.onnx")
    x = np.random.default_rng(1).standard_normal((1, STEPS, SIZE)).astype(np.float32)
    bundle = ssmc.compile(folder / "m.onnx", target=target)
    return float(np.abs(bundle.run(x) - run_onnx(proto, {"x": x})[0]).max()) * 2**4


@pytest.mark.parametrize("target", ["int", "c", "aimc"])
def test_equal_ones_are_one(target: str, tmp_path: Path) -> None:
    proto = branches((2.0**-5, 2.0**-5))
    assert apart(target, proto, tmp_path) <= 1  # ties of a product in float32
    program = ssmc.compile(tmp_path / "m.onnx", target=target).compiled.program
    assert sum(isinstance(op, Quantize) for op in program.ops) == 1


@pytest.mark.parametrize("target", ["int", "aimc"])
@pytest.mark.parametrize(("steps", "bits"), [((2.0**-5, 2.0**-4), (8, 8)), ((2.0**-5, 2.0**-5), (8, 6))])
def test_others_are_run_without_c(
    target: str, steps: tuple[float, float], bits: tuple[int, int], tmp_path: Path
) -> None:
    assert apart(target, branches(steps, bits), tmp_path) <= 1


def test_others_are_refused_by_target_c(tmp_path: Path) -> None:
    onnx.save(branches((2.0**-5, 2.0**-4)), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"SSMC-C28.*the input is quantized twice"):
        ssmc.compile(tmp_path / "m.onnx", target="c")

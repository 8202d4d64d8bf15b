"""Non-linear functions of codes of up to 12 bits: tables, exact against float64; a wider code is declined."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import erf, expit

from ssmc.errors import ModelError
from ssmc.ir.executor import Executor
from ssmc.ir.operations import Table
from ssmc.ir.program import Program
from ssmc.ir.rounding import FloatArray
from ssmc.native.build import find_compiler
from ssmc.native.executor import NativeExecutor
from ssmc.verify import run_onnx
from tests.compiling import program_of
from tests.graph_writer import Graph, signed

Build = Callable[[Graph, str], str]


def gelu_of_parts(g: Graph, x: str) -> str:
    """As torch exports it: x (1 + erf(x / sqrt 2)) / 2."""
    inner = g.op("Add", g.op("Erf", g.op("Div", x, g.const(np.sqrt(2)))), g.const(1.0))
    return g.op("Mul", g.op("Mul", x, inner), g.const(0.5))


FUNCTIONS: dict[str, tuple[Build, Callable[[FloatArray], FloatArray]]] = {
    "GELU": (lambda g, x: g.op("Gelu", x), lambda x: x * (1 + erf(x / np.sqrt(2))) / 2),
    "GELU of parts": (gelu_of_parts, lambda x: x * (1 + erf(x / np.float64(np.float32(np.sqrt(2))))) / 2),
    "SiLU": (lambda g, x: g.op("Mul", x, g.op("Sigmoid", x)), lambda x: x * expit(x)),
    "sigmoid": (lambda g, x: g.op("Sigmoid", x), expit),
    "tanh": (lambda g, x: g.op("Tanh", x), np.tanh),
    "ReLU": (lambda g, x: g.op("Relu", x), lambda x: np.maximum(x, 0)),
    "sin(2x) + x^2": (
        lambda g, x: g.op("Add", g.op("Sin", g.op("Mul", x, g.const(2.0))), g.op("Mul", x, x)),
        lambda x: np.sin(2 * x) + x * x,
    ),
}


def tabled(function: str, bits: int) -> Program:
    g = Graph("round" if bits > 8 else "qdq")
    x = g.quant("x", signed(bits, 2.0 ** (3 - bits)), "xq")
    y = g.quant(FUNCTIONS[function][0](g, x), signed(8, 2.0**-5), "y")
    return program_of(g.finish(2, y, ["batch", "time", 2], opset=21))


@pytest.mark.parametrize("bits", [2, 5, 8, 12])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_code_of_a_table_is_the_rounded_function(function: str, bits: int) -> None:
    program = tabled(function, bits)
    tables = [op for op in program.ops if isinstance(op, Table)]
    assert len(tables) == len(program.ops) - 2 == 1
    codes = np.arange(-(1 << (bits - 1)), 1 << (bits - 1))
    real = codes * 2.0 ** (3 - bits)
    want = np.clip(np.rint(FUNCTIONS[function][1](real) * 32), -128, 127) / 32
    x = np.repeat(real[None, :, None], 2, -1)
    executors = [Executor(program)] + ([NativeExecutor(program)] if find_compiler() else [])
    for executor in executors:
        assert np.array_equal(executor.run(x)[0, :, 0], want)


def test_codes_of_more_than_12_bits_are_declined_by_node() -> None:
    with pytest.raises(ModelError, match="12 bits") as declined:
        tabled("tanh", 13)
    assert declined.value.node
    assert declined.value.remedy
    assert program_of_runs_in_onnxruntime()


def program_of_runs_in_onnxruntime() -> bool:
    """The declined model itself is valid."""
    g = Graph("round")
    y = g.quant(g.op("Tanh", g.quant("x", signed(13, 2.0**-10), "xq")), signed(8, 2.0**-5), "y")
    (out,) = run_onnx(g.finish(2, y, ["batch", "time", 2]), {"x": np.zeros((1, 3, 2), np.float32)})
    return bool((out == 0).all())

"""Functions of one value, however many operations write them, are one table of its code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

import ssmc
from ssmc.errors import ModelError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.operations import Norm, Product, Table
from ssmc.quantize import QuantizeConfig, quantize
from ssmc.verify import run_onnx
from tests.graph_writer import Graph, signed
from tests.quantize.test_quantize import FEATURES, samples, save

C = 4
Write = Callable[[Graph, str], str]


def where(g: Graph, comparison: str, x: str, then: str, other: str) -> str:
    return g.op("Where", g.op(comparison, x, g.const(0.25)), then, other)


def bounded(g: Graph, x: str) -> str:
    """Where inverse functions are defined."""
    return g.op("Mul", g.op("Tanh", x), g.const(0.9))


def positive(g: Graph, x: str, least: float = 0.5) -> str:
    return g.op("Add", g.op("Abs", x), g.const(least))


def spread(g: Graph, constant: float | list[float], x: str) -> str:
    return g.op("Expand", g.const(constant), g.op("Shape", x))


WRITTEN: dict[str, Write] = {
    "a choice of two vectors": lambda g, x: where(g, "Greater", x, spread(g, [1, 2, 3, 4], x), spread(g, [0.5], x)),
    "celu": lambda g, x: g.op("Celu", x, alpha=0.5),
    "cosine, tangent": lambda g, x: g.op("Add", g.op("Cos", x), g.op("Tan", bounded(g, x))),
    "hard shrink": lambda g, x: where(g, "LessOrEqual", g.op("Abs", x), g.const(0.0), x),
    "hyperbolic": lambda g, x: g.op("Sub", g.op("Sinh", x), g.op("Cosh", x)),
    "inverse": lambda g, x: g.op("Mul", g.op("Asin", bounded(g, x)), g.op("Atanh", bounded(g, x))),
    "leaky, by a choice": lambda g, x: where(g, "Greater", x, x, g.op("Mul", x, g.const(0.1))),
    "log of a sigmoid": lambda g, x: g.op("Log", g.op("Sigmoid", x)),
    "maximum": lambda g, x: g.op("Max", x, g.op("Mul", x, g.const(-0.5))),
    "prelu": lambda g, x: g.op("PRelu", x, g.const([0.1, -0.2, 0.3, 0.0])),
    "quick gelu": lambda g, x: g.op("Mul", x, g.op("Sigmoid", g.op("Mul", x, g.const(1.702)))),
    "a number over it": lambda g, x: g.op("Div", g.const(2.0), positive(g, x)),
    "reciprocal": lambda g, x: g.op("Reciprocal", positive(g, x)),
    "relu, by zeros of its shape": lambda g, x: g.op("Max", x, spread(g, 0.0, x)),
    "shrink": lambda g, x: g.op("Shrink", x, lambd=0.5, bias=0.25),
    "softplus, by zeros of its shape": lambda g, x: g.op(
        "Log", g.op("Add", g.op("Exp", x), g.op("Exp", spread(g, 0.0, x)))
    ),
    "softsign": lambda g, x: g.op("Div", x, positive(g, x, 1.0)),
    "steps": lambda g, x: g.op("Sub", g.op("Floor", x), g.op("Ceil", g.op("Mul", x, g.const(0.5)))),
    "symmetric log": lambda g, x: g.op("Mul", g.op("Sign", x), g.op("Log", positive(g, x, 1.0))),
    "thresholded": lambda g, x: g.op("ThresholdedRelu", x, alpha=0.5),
    "truth": lambda g, x: g.op(
        "Cast",
        g.op("And", g.op("Not", g.op("Less", x, g.const(-0.5))), g.op("GreaterOrEqual", g.const(0.5), x)),
        to=TensorProto.FLOAT,
    ),
    "two branches": lambda g, x: where(g, "Greater", x, g.op("Sin", x), g.op("Neg", g.op("Exp", x))),
}


def coder(g: Graph, x: str, inputs: int, outputs: int) -> str:
    weight = g.const(np.random.default_rng(outputs).standard_normal((inputs, outputs)) / np.sqrt(inputs))
    return g.op("Add", g.op("MatMul", x, weight), g.const(np.linspace(-0.5, 0.5, outputs)))


def test_each_is_one_table_and_nearly_what_it_was(tmp_path: Path) -> None:
    g = Graph()
    u = coder(g, "x", FEATURES, C)
    parts = [write(g, u) for write in WRITTEN.values()]
    size = C * len(parts)
    proto = g.finish(FEATURES, g.op("Concat", *parts, axis=-1), ["batch", "time", size])
    made = quantize(
        save(proto, tmp_path),
        samples(),
        QuantizeConfig(activation_bits=10, weight_bits=14, input_bits=14, output_bits=16),
    )
    program = ssmc.compile(save(made.model, tmp_path, "made.onnx"))  # with the oracle
    ops = program.compiled.program.ops
    of_one_code = Counter(op.inputs for op in ops if isinstance(op, Table))
    assert max(of_one_code.values()) == len(parts)
    assert not any(isinstance(op, Product) for op in ops)
    x = samples(4).flat[None]
    real, codes = (out.reshape(-1, len(parts), C) for out in (run_onnx(proto, {"x": x})[0], program.run(x)))
    for name, a, b in zip(WRITTEN, real.swapaxes(0, 1), codes.swapaxes(0, 1), strict=True):
        near = np.median(np.abs(a - b)) / a.std()  # a step function jumps elsewhere by a code
        assert near < 0.01, name


EACH = np.array([0.3, 0.6, 0.9, 1.2])
OF_CHANNELS: dict[str, Write] = {
    "soft, each its own": lambda g, x: g.op("Div", x, g.op("Add", g.op("Abs", x), g.const(EACH))),
    "leaky, each its own": lambda g, x: where(g, "Greater", x, x, g.op("Mul", g.const(EACH), x)),
    "the larger of two": lambda g, x: g.op(
        "Max", g.op("Add", g.op("Mul", x, g.const(EACH)), g.const(-EACH)), g.op("Mul", g.op("Tanh", x), g.const(EACH))
    ),
}


@pytest.mark.parametrize("name", OF_CHANNELS)
def test_constants_of_every_channel_inside_a_function_of_several_values(name: str, tmp_path: Path) -> None:
    g = Graph()
    y = OF_CHANNELS[name](g, coder(g, "x", FEATURES, C))
    proto = g.finish(FEATURES, y, ["batch", "time", C])
    config = QuantizeConfig(activation_bits=10, weight_bits=14, input_bits=14, output_bits=16)
    made = quantize(save(proto, tmp_path), samples(), config)
    program = ssmc.compile(save(made.model, tmp_path, "made.onnx"))
    assert sum(isinstance(op, Table) for op in program.compiled.program.ops) == 1
    x = samples(4).flat[None]
    real, codes = run_onnx(proto, {"x": x})[0], program.run(x)
    assert np.median(np.abs(real - codes)) / real.std() < 0.01


def test_a_number_over_a_sum_is_a_function_of_the_sum(tmp_path: Path) -> None:
    """The sum gets a quantizer, as in front of any other function; it is no scale of it."""
    g = Graph()
    u = g.op("Relu", coder(g, "x", FEATURES, C))
    wide = g.op("Add", g.op("MatMul", u, g.const(np.ones((C, C)))), g.const(1.0))
    proto = g.finish(FEATURES, coder(g, g.op("Div", g.const(3.0), wide), C, 2), ["batch", "time", 2])
    made = quantize(save(proto, tmp_path), samples(), QuantizeConfig(activation_bits=12))
    assert made.fidelity.sqnr_db > 25
    bundle = ssmc.compile(save(made.model, tmp_path, "made.onnx"))
    x = samples(4).flat[None]
    assert np.array_equal(bundle.run(x), run_onnx(made.model, {"x": x})[0])


def test_functions_of_two_values_have_no_table(tmp_path: Path) -> None:
    g = Graph()
    u, v = coder(g, "x", FEATURES, C), coder(g, "x", FEATURES, C)
    proto = g.finish(FEATURES, coder(g, where(g, "Greater", u, u, v), C, 2), ["batch", "time", 2])
    with pytest.raises(ModelError, match=r"SSMC-T02.*no functions of one quantized value"):
        quantize(save(proto, tmp_path), samples())


def test_a_value_of_every_step_and_one_of_the_sequence_meet_nowhere(tmp_path: Path) -> None:
    g = Graph()
    u = coder(g, "x", FEATURES, C)
    mean = g.op("ReduceMean", u, g.const([1], np.int64), keepdims=1)
    proto = g.finish(FEATURES, coder(g, g.op("Mul", u, mean), C, 2), ["batch", "time", 2])
    with pytest.raises(ModelError, match=r"SSMC-T01.*known at its end"):
        quantize(save(proto, tmp_path), samples())


@pytest.mark.parametrize("operation", ["Mul", "Div", "Add", "Max"])
def test_a_value_that_is_quantized_again_more_widely_is_the_same_code(operation: str) -> None:
    g = Graph("qdq")
    a = g.quant("x", signed(4, 0.25), "a")
    wider = g.quant(a, signed(8, 0.25), "wider")
    y = g.op(operation, g.op("Tanh", a), positive(g, wider))
    proto = g.finish(FEATURES, g.quant(y, signed(8, 2.0**-6), "out"), ["batch", "time", FEATURES])
    x = samples(4).flat[None]
    assert np.array_equal(ssmc.compile(import_model(proto)).run(x), run_onnx(proto, {"x": x})[0])


def test_a_function_that_is_infinite_at_a_code_is_the_fault_of_the_model() -> None:
    g = Graph("qdq")
    y = g.op("Reciprocal", g.quant("x", signed(8, 0.25), "a"))
    proto = g.finish(FEATURES, g.quant(y, signed(8, 2.0**-4), "out"), ["batch", "time", FEATURES])
    with pytest.raises(ModelError, match=r"SSMC-M15.*infinite in float32"):
        ssmc.compile(import_model(proto))


@pytest.mark.parametrize("limit", ["Max", "Clip", None])
def test_a_vector_over_its_length_is_a_norm(tmp_path: Path, limit: str | None) -> None:
    g = Graph()
    u = coder(g, "x", FEATURES, C)
    length = g.op("ReduceL2", u, g.const([-1], np.int64), keepdims=1)
    more = [""] if limit == "Clip" else []  # a limit above that is left out
    length = length if limit is None else g.op(limit, length, g.const(1e-12), *more)
    proto = g.finish(FEATURES, coder(g, g.op("Div", u, length), C, 2), ["batch", "time", 2])
    made = quantize(save(proto, tmp_path), samples())
    program = ssmc.compile(save(made.model, tmp_path, "made.onnx"))
    assert Norm in [type(op) for op in program.compiled.program.ops]
    x = samples(4).flat[None]
    real = run_onnx(proto, {"x": x})[0]
    assert np.abs(program.run(x) - real).max() < 0.1 * np.abs(real).max()

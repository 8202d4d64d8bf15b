"""Functions that act number by number: of one code, however many operations write them, a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ssmc.errors import ModelError
from ssmc.folding.emit import Emitter
from ssmc.folding.operands import Operands, per_channel, real_constant, refuse
from ssmc.folding.signals import (
    Clamped,
    Coded,
    Convolved,
    Dense,
    KernelOutput,
    Mapped,
    Mean,
    Mixed,
    Norm,
    Picked,
    Product,
    Signal,
    Sum,
)
from ssmc.ir.affine import Constant, evaluate
from ssmc.ir.build import constant_array
from ssmc.ir.rounding import FloatArray

#: of any quantized value, also where its codes are too many for a table
CLAMPS = frozenset({"Relu", "Clip", "Max", "Min"})
#: comparisons and choices: of several values and constants
CHOICES = frozenset({"Where", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "And", "Or", "Not", "Xor"})
FUNCTIONS = frozenset(
    {
        *CLAMPS,
        *CHOICES,
        *("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Cos", "Cosh", "Elu", "Erf", "Exp"),
        *("Floor", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mish", "Neg", "Pow", "PRelu", "Reciprocal"),
        *("Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh"),
        "ThresholdedRelu",
    }
)
TRUTHS = {"Where": 1, "And": 2, "Or": 2, "Xor": 2, "Not": 1}  # so many of the first operands are true or false
CLAMPED = (Coded, Clamped, Dense, Picked, Product, Sum, Mean, Norm, Convolved, Mixed, KernelOutput)


def elementwise(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Of values that depend on one code of at most 12 bits, and constants. Relu, Clip, Max, Min: of any code."""
    signals = [signal for signal in operands if signal is not None]
    tables = on_one_table(signals)
    if tables is not None:
        return [_table(node, operands, tables)]
    if len(signals) > 1:
        raise of_two_signals(node)
    position = next(i for i, x in enumerate(operands) if x is not None)
    bounds = _bounds(node, position)
    if bounds is None or not isinstance(signals[0], CLAMPED):
        fact = f"the input of {node.op_type} is not quantized (to at most 12 bits)"
        raise refuse(node, fact, "quantize it", "SSMC-Q06")
    return [Clamped(signals[0].roles, signals[0].size, signals[0], *bounds)]


def of_two_signals(node: ir.Node) -> ModelError:
    """The error for a function whose operands have no code in common."""
    fact = f"{node.op_type} of two signals that are no functions of one quantized value"
    return refuse(node, fact, "combine signals by sums and products, or leave one quantizer before both")


def on_one_table(signals: Sequence[Signal]) -> list[Mapped] | None:
    """All signals as functions of the same code, where they are (x * sigmoid(x)), on the narrowest of its ranges."""
    found = [signal.mapped() if isinstance(signal, Coded) else signal for signal in signals]
    tables = [signal for signal in found if isinstance(signal, Mapped)]
    if len(tables) < len(signals):
        return None
    if len({(id(table.source.value), table.roles, table.size) for table in tables}) != 1:
        return None
    lo, hi = max(table.source.lo for table in tables), min(table.source.hi for table in tables)
    return [table.within(lo, hi) for table in tables]


def _table(node: ir.Node, operands: Operands, tables: list[Mapped]) -> Mapped:
    """The node run on all codes at once."""
    codes = iter(tables)
    given: list[Constant | None] = [
        next(codes).table if signal is not None else None if value is None else _constant(node, value, tables)
        for value, signal in zip(node.inputs, operands, strict=True)
    ]
    truths = TRUTHS.get(node.op_type, 0)
    given[:truths] = [None if array is None else np.asarray(array, np.bool_) for array in given[:truths]]
    with np.errstate(all="ignore"):  # what has no value is refused where a code needs it
        found = np.asarray(evaluate(node, given)[0], np.float64)
    return Mapped(tables[0].roles, tables[0].size, tables[0].source, found)


def _constant(node: ir.Node, value: ir.Value, tables: list[Mapped]) -> FloatArray:
    """One number for all channels, or a column of one for each."""
    constant = real_constant(value, node)
    return constant.reshape(()) if constant.size == 1 else per_channel(constant, tables[0], node)[:, None]


def _bounds(node: ir.Node, position: int) -> tuple[float, float] | None:
    """The range to which a node limits its signal, where it does only that, to constants."""
    if node.op_type == "Relu":
        return 0.0, np.inf
    arrays = [constant_array(value) for value in node.inputs]
    given = [None if array is None or array.size != 1 else float(array.ravel()[0]) for array in arrays]
    missing = [value is not None and number is None for value, number in zip(node.inputs, given, strict=True)]
    if node.op_type not in CLAMPS or any(missing[:position] + missing[position + 1 :]):
        return None
    if node.op_type != "Clip":
        numbers = [number for number in given if number is not None]
        if node.op_type == "Max":
            return max(numbers, default=-np.inf), np.inf
        return -np.inf, min(numbers, default=np.inf)
    low, high = [*given[1:], None, None][:2]
    return -np.inf if low is None else low, np.inf if high is None else high

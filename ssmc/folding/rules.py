"""How every supported operation acts on signals (`ssmc.folding.signals`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ssmc.folding.convolutions import ungrouped
from ssmc.folding.elementwise import FUNCTIONS, elementwise, on_one_table
from ssmc.folding.embedding_rules import gather
from ssmc.folding.emit import Emitter, Grid, unquantized_weights
from ssmc.folding.layout_rules import LAYOUT_RULES
from ssmc.folding.operands import Operands, Rule, attribute, per_channel, real_constant, refuse, signal_of
from ssmc.folding.pooling_rules import POOLING_RULES
from ssmc.folding.signals import (
    Coded,
    Columns,
    Dense,
    KernelOutput,
    Product,
    Signal,
    Sum,
)
from ssmc.ir.build import constant_array, node_name
from ssmc.ir.grid import factor_rows
from ssmc.ir.read_program import constants
from ssmc.ir.rounding import FloatArray


def _quant(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """One constant scale, or one a channel; how Quantize-/DequantizeLinear, QONNX and Round with Clip are read."""
    signal = signal_of(node, operands)
    step, scale, lo, hi = (np.asarray(constant_array(v), np.float64) for v in node.inputs[1:])
    grid = Grid(per_channel(step, signal, node), per_channel(scale, signal, node), int(lo), int(hi))
    name = str(node.outputs[0].name)
    return [_columns(signal, grid, name, emitter) if isinstance(signal, Columns) else emitter.close(signal, grid, name)]


def _columns(signal: Columns, grid: Grid, name: str, emitter: Emitter) -> Signal:
    """All columns of the input with the step of these, then these."""
    size, end = signal.source.size, signal.start + signal.size
    step, scale = np.full(size, grid.step[0]), np.full(size, grid.scale[0])
    step[signal.start : end], scale[signal.start : end] = grid.step, grid.scale
    source = replace(signal.source, roles=signal.roles)
    whole = emitter.close(source, replace(grid, step=step, scale=scale), f"{name}.whole")
    return emitter.slice(whole, signal.start, end, name)


def _split_operands(node: ir.Node, operands: Operands) -> tuple[Signal, FloatArray, int]:
    position = next(i for i, x in enumerate(operands) if x is not None)
    signal = signal_of(node, operands, position)
    constant = real_constant(node.inputs[1 - position], node)
    return signal, per_channel(constant, signal, node), position


def _held(signal: Signal | None, node: ir.Node, what: str) -> list[Signal]:
    if signal is None:
        raise refuse(node, f"{what} stands between an unquantized value and its quantizer", "quantize before it")
    return [signal]


def _mul(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    a, b = operands
    if a is not None and b is not None:
        return [_product(node, a, b)]
    signal, factor, _ = _split_operands(node, operands)
    return _held(signal.scaled(factor), node, "a product")


def _negated(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """A product with -1."""
    signal = signal_of(node, operands)
    return _held(signal.scaled(np.full(signal.size, -1.0)), node, "a negation")


def _require_same_rate(node: ir.Node, a: Signal, b: Signal) -> None:
    """Refuse a value of every step with one of the whole sequence."""
    if isinstance(a, Coded) and isinstance(b, Coded) and a.rate != b.rate:
        fact = f"{node.op_type} of a value of every step and one of the whole sequence, which is known at its end"
        raise refuse(node, fact, "reduce both over time, or take an exponentially weighted mean", "SSMC-T01")


def _product(node: ir.Node, a: Signal, b: Signal) -> Signal:
    same = on_one_table([a, b])
    if same is not None:
        return replace(same[0], table=same[0].table * same[1].table)
    _require_same_rate(node, a, b)
    if isinstance(a, Coded) and isinstance(b, Coded) and a.size == b.size:
        if a.offset.any() or b.offset.any():
            raise refuse(node, "a factor has a constant added after its quantizer", "quantize the factors")
        return Product(a.roles, a.size, a, b, a.scale * b.scale, np.zeros(a.size))
    raise refuse(
        node, "a factor of a product is not quantized", "quantize both factors (a gate after its sigmoid)", "SSMC-Q06"
    )


def _div(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    if operands[1] is not None:
        return elementwise(node, operands, emitter)
    signal, divisor, _ = _split_operands(node, operands)
    if not divisor.all():
        raise refuse(node, "a division by 0", "divide by numbers other than 0")
    return _held(signal.scaled(1.0 / divisor), node, "a division")


def _add(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Of constants, one a channel; of two quantized values; of two functions of one value."""
    a, b = operands
    sign = -1.0 if node.op_type == "Sub" else 1.0
    if a is not None and b is not None:
        return [_sum(node, a, b, sign)]
    signal, constant, position = _split_operands(node, operands)
    if node.op_type == "Sub" and position == 1:
        return _held((signal.scaled(np.full(signal.size, -1.0)) or signal).shifted(constant), node, "a sum")
    return _held(signal.shifted(sign * constant), node, "a sum")


def _sum(node: ir.Node, a: Signal, b: Signal, sign: float) -> Signal:
    same = on_one_table([a, b]) if not (isinstance(a, Coded) and isinstance(b, Coded)) else None
    if same is not None:
        return replace(same[0], table=same[0].table + sign * same[1].table)
    _require_same_rate(node, a, b)
    if isinstance(a, Coded) and isinstance(b, Coded) and a.size == b.size:
        signed = b.scaled(np.full(b.size, sign))
        assert isinstance(signed, Coded)
        zero = np.zeros(a.size)
        return Sum(a.roles, a.size, replace(a, offset=zero), replace(signed, offset=zero), a.offset + signed.offset)
    raise refuse(node, "a term of a sum is not quantized", "quantize both branches before they are added", "SSMC-Q06")


def _matmul(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """By a constant matrix over the channels of a quantized value."""
    a, b = operands
    if a is not None and b is not None:
        raise refuse(node, "a matrix product of two signals", "only constant matrices compile")
    signal = signal_of(node, operands, 0 if a is not None else 1)
    weight = real_constant(node.inputs[1 if a is not None else 0], node)
    axis = len(signal.roles) - (1 if a is not None else 2)
    if weight.ndim != 2:
        raise refuse(node, f"a weight of shape {weight.shape}", "use a matrix")
    return [_dense(node, signal, weight.T if a is not None else weight, axis)]


def _dense(node: ir.Node, signal: Signal, weight: FloatArray, axis: int) -> Dense:
    """``weight`` (out, in) applied over ``axis``."""
    if not isinstance(signal, Coded):
        raise refuse(node, "the input of a matrix is not quantized", "quantize it", "SSMC-Q06")
    if signal.roles[axis] not in ("C", "1") or weight.shape[1] != signal.size:
        raise refuse(node, "a matrix acts on an axis that is not the channels", "only channels may mix", "SSMC-T01")
    same = (signal.scale == signal.scale[0]).all()  # then it stays out of the grid, where the product would be rounded
    found = factor_rows(weight if same else weight * signal.scale)
    if found is None:
        raise unquantized_weights(node_name(node))
    codes, gain, exact = found
    gain = gain * signal.scale[0] if same else gain
    roles = tuple("C" if a == axis else r for a, r in enumerate(signal.roles))
    return Dense(roles, len(weight), signal, codes, gain, weight @ signal.offset, exact)


def _gemm(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """By a constant matrix over the channels of a quantized value, which is the first factor."""

    def option(name: str, default: float) -> float:
        return float(node.attributes[name].value) if name in node.attributes else default

    signal = operands[0]
    if signal is None or option("transA", 0):
        raise refuse(node, "the signal is not the first factor", "use MatMul(signal, weight)")
    weight = real_constant(node.inputs[1], node) * option("alpha", 1.0)
    dense = _dense(node, signal, weight if option("transB", 0) else weight.T, len(signal.roles) - 1)
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return [dense]
    bias = real_constant(node.inputs[2], node) * option("beta", 1.0)
    return [dense.shifted(per_channel(bias, dense, node))]


def _conv(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """A convolution over time with kernel 1 is a matrix over channels."""
    signal = operands[0]
    weight = real_constant(node.inputs[1], node)
    pads, strides = (node.attributes[k].as_ints() if k in node.attributes else () for k in ("pads", "strides"))
    pointwise = weight.ndim == 3 and weight.shape[2] == 1
    if isinstance(signal, Coded) and len(strides) == 1 and strides[0] > 1:
        signal = emitter.picked(signal, strides[0], 0, f"{node.outputs[0].name}.strided")
    if signal is None or not pointwise or any(pads):
        raise refuse(
            node, f"a convolution of shape {weight.shape}", "only kernel 1 compiles; put time into the SSM", "SSMC-T01"
        )
    dense = _dense(node, signal, ungrouped(weight, attribute(node, "group", 1))[:, :, 0], 1)
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return [dense]
    return [dense.shifted(real_constant(node.inputs[2], node))]


def _state_space(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Linear and time-invariant, of a quantized input; how Scan, Loop, unrolled loops and one-step models are read."""
    source = operands[0]
    if not isinstance(source, Coded) or source.roles != ("N", "T", "C"):
        raise refuse(node, "the input of the recurrence is not quantized", "quantize it", "SSMC-Q06")
    c = constants(node)
    step = c["step_y"]
    opened = KernelOutput(("N", "T", "C"), step.size, node, source, np.ones(step.size), np.zeros(step.size))
    if not step.any():
        return [opened]
    if not step.all():
        raise refuse(node, "only some outputs of the recurrence are quantized", "quantize all", "SSMC-Q06")
    lo, hi = c["lo_y"], c["hi_y"]
    value = emitter.kernel(opened, None, node_name(node))
    emitter.applied.append(node_name(node))
    zero = np.zeros(step.size)
    return [Coded(opened.roles, step.size, value, int(lo.min()), int(hi.max()), step.ravel(), zero, "step")]


RULES: dict[tuple[str, str], Rule] = {
    **LAYOUT_RULES,
    **POOLING_RULES,
    ("", "Gather"): gather,
    ("ssmc", "Quant"): _quant,
    ("ssmc", "StateSpace"): _state_space,
    ("ssmc", "StateSpaceAfter"): _state_space,
    **{("", op): elementwise for op in FUNCTIONS},
    ("", "Neg"): _negated,
    ("", "Mul"): _mul,
    ("", "Div"): _div,
    ("", "Add"): _add,
    ("", "Sub"): _add,
    ("", "MatMul"): _matmul,
    ("", "Gemm"): _gemm,
    ("", "Conv"): _conv,
}

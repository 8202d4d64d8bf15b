"""The integer program as an ONNX model of integer operations only, for deployment on onnxruntime.

Between the input's quantization and the output's dequantization every tensor is int64 and every operation is an integer
one, so the codes are those of the reference executor, on any platform, free-running. Not every operation can be said
that way in ONNX: requantization by table and integer square roots (`Norm`) cannot, and are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import lcm
from typing import Any

import numpy as np
import onnx
import onnx.helper as oh
import onnx.parser
from numpy.typing import ArrayLike

from ssmc.errors import ModelError
from ssmc.ir import program as p
from ssmc.ir.requant import LIMIT, Requant

DOMAIN = "ssmc.integer"
OPSET = 21
Constants = dict[str, ArrayLike]

# floor and rest of a division by d > 0: ONNX Mod takes the sign of the divisor, Div of the exact rest is exact.
_REQUANT = """
Requant (acc, multiplier, offset, divisor, lo, hi) => (q) {
  product = Mul (acc, multiplier)
  moved = Add (product, offset)
  rest = Mod (moved, divisor)
  whole = Sub (moved, rest)
  floor = Div (whole, divisor)
  left = Sub (divisor, rest)
  above = Greater (rest, left)
  tie = Equal (rest, left)
  two = Constant <value: tensor = int64 {2}> ()
  one = Constant <value: tensor = int64 {1}> ()
  parity = Mod (floor, two)
  odd = Equal (parity, one)
  tie_up = And (tie, odd)
  up = Or (above, tie_up)
  step = Cast <to: int = 7> (up)
  rounded = Add (floor, step)
  low = Max (rounded, lo)
  q = Min (low, hi)
}"""

_KERNEL = """
Kernel (u, W, multiplier, offset, divisor, lo, hi, keep, unit, dac_lo, dac_hi, reg_lo, reg_hi, r0, zero_offset) => (y) {
  groups = Shape <start: int = 0, end: int = 1> (r0)
  minus_one = Constant <value_ints: ints = [-1]> ()
  zero = Constant <value_ints: ints = [0]> ()
  end = Constant <value_ints: ints = [9223372036854775807]> ()
  axis = Constant <value_ints: ints = [2]> ()
  one = Constant <value: tensor = int64 {1}> ()
  batch_time = Shape <start: int = 0, end: int = 2> (u)
  batch = Shape <start: int = 0, end: int = 1> (u)
  split_shape = Concat <axis: int = 0> (batch_time, groups, minus_one)
  u_groups = Reshape (u, split_shape)
  u_time = Transpose <perm: ints = [1, 0, 2, 3]> (u_groups)
  r0_shape = Shape (r0)
  init_shape = Concat <axis: int = 0> (batch, r0_shape)
  init = Expand (r0, init_shape)
  n = Shape <start: int = 1, end: int = 2> (r0)
  r_end, y_time = Scan <num_scan_inputs: int = 1, body: graph = step
    (int64[N, H, n] r, int64[N, H, m] ut) => (int64[N, H, n] r_next, int64[N, H, p] yt) {
    R = ssmc.integer.Requant (r, one, zero_offset, unit, dac_lo, dac_hi)
    v = Concat <axis: int = -1> (R, ut)
    column = Unsqueeze (v, minus_one)
    product = MatMul (W, column)
    acc = Squeeze (product, minus_one)
    q = ssmc.integer.Requant (acc, multiplier, offset, divisor, lo, hi)
    q_state = Slice (q, zero, n, axis)
    yt = Slice (q, n, end, axis)
    kept = Mul (keep, r)
    moved = Add (kept, q_state)
    low = Max (moved, reg_lo)
    r_next = Min (low, reg_hi)
  }> (init, u_time)
  y_batch = Transpose <perm: ints = [1, 0, 2, 3]> (y_time)
  y_shape = Concat <axis: int = 0> (batch_time, minus_one)
  y = Reshape (y_batch, y_shape)
}"""


@cache
def _functions() -> tuple[onnx.FunctionProto, ...]:
    header = f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}, "{DOMAIN}" : 1]>\n'
    kernel = _KERNEL.replace("ssmc.integer.Requant", "Requant")
    parsed = [onnx.parser.parse_function(header + text) for text in (_REQUANT, kernel)]
    body = next(a.g for node in parsed[1].node for a in node.attribute if a.name == "body")
    for node in body.node:
        if node.op_type == "Requant":
            node.domain = DOMAIN
    return tuple(parsed)


class _Builder:
    """Nodes and initializers of the integer graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, array: ArrayLike, dtype: type[np.generic] = np.int64) -> str:
        self.constants.append(onnx.numpy_helper.from_array(np.array(array, dtype=dtype, order="C"), name))
        return name

    def node(self, op_type: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        self.nodes.append(oh.make_node(op_type, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def requant(self, acc: str, op: str, output: str, constants: Constants) -> str:
        keys = ("multiplier", "offset", "divisor", "lo", "hi")
        return self.node("Requant", [acc, *(self.constant(f"{op}.{k}", constants[k]) for k in keys)], output, DOMAIN)


def integer_onnx(program: p.Program) -> onnx.ModelProto:
    """The program as an integer ONNX model, input and output as in the original.

    Raises:
        ModelError: SSMC-I01 naming the first operation that integer ONNX operations cannot express.
    """
    builder = _Builder()
    for op in program.ops:
        emit = _EMIT.get(type(op))
        if emit is None:
            raise refuse(op, f"{type(op).__name__} has no form in ONNX's integer operations")
        emit(op, program, builder)
    real = onnx.TensorProto.FLOAT
    axes: list[str | int] = ["batch", "time", program.input_size]
    last: list[str | int] = ["batch", "time", program.output_size]
    if program.output_rate == "sequence":
        del last[1]
    graph = oh.make_graph(
        builder.nodes,
        "ssmc_integer",
        [oh.make_tensor_value_info(program.input_name, real, axes)],
        [oh.make_tensor_value_info(program.output_name, real, last)],
        builder.constants,
    )
    opsets = [oh.make_opsetid("", OPSET), oh.make_opsetid(DOMAIN, 1)]
    model = oh.make_model(
        graph, functions=list(_functions()), opset_imports=opsets, ir_version=10, producer_name="ssmc"
    )
    onnx.checker.check_model(model)
    return model


def refuse(op: p.Op, fact: str) -> ModelError:
    """The error at an operation."""
    return ModelError("SSMC-I01", fact, "deploy the program with target int or c", op.name)


def requant_constants(op: p.Op, requant: Requant, shape: tuple[int, ...]) -> Constants:
    """M, b and the divisor (a power of two for shifts) of every output."""
    if requant.thresholds:
        raise refuse(op, "an output is requantized by a table of thresholds")
    divisor = np.where(requant.shift >= 0, np.int64(1) << np.maximum(requant.shift, 0), requant.divisor)
    named = {
        "multiplier": requant.multiplier,
        "offset": requant.offset,
        "divisor": divisor,
        "lo": requant.lo,
        "hi": requant.hi,
    }
    return {key: array.reshape(shape) for key, array in named.items()}


def _quantize(op: p.Quantize, program: p.Program, b: _Builder) -> None:
    scale = b.constant(f"{op.name}.scale", op.quant.scale, np.float64)
    wide = b.node("Cast", [op.inputs[0]], f"{op.name}.wide", to=onnx.TensorProto.DOUBLE)
    over = b.node("Div", [wide, scale], f"{op.name}.over")
    rounded = b.node("Round", [over], f"{op.name}.rounded")
    ends = [
        b.constant(f"{op.name}.{key}", float(end), np.float64)
        for key, end in (("lo", op.quant.lo), ("hi", op.quant.hi))
    ]
    low = b.node("Max", [rounded, ends[0]], f"{op.name}.low")
    codes = b.node("Min", [low, ends[1]], f"{op.name}.real")
    b.node("Cast", [codes], op.output, to=onnx.TensorProto.INT64)


def _linear(op: p.Linear, program: p.Program, b: _Builder) -> None:
    if op.matrix.groups != 1 or op.matrix.parts:
        raise refuse(op, "a grouped or lowered matrix")
    weight = b.constant(f"{op.name}.W", op.matrix.codes[0].T)
    acc = b.node("MatMul", [op.inputs[0], weight], f"{op.name}.acc")
    b.requant(acc, op.name, op.output, requant_constants(op, op.requant, (op.matrix.outputs,)))


def _kernel(op: p.StateSpace, program: p.Program, b: _Builder) -> None:
    if op.output_matrix is not None or op.matrix.parts:
        raise refuse(op, "an unfused or lowered kernel")
    shape = (op.matrix.groups, op.matrix.outputs)
    arrays: Constants = {
        "W": op.matrix.codes,
        **requant_constants(op, op.requant, shape),
        "keep": op.keep,
        "unit": np.int64(1) << op.shift,
        "dac_lo": op.dac_lo,
        "dac_hi": op.dac_hi,
        "reg_lo": op.register_lo,
        "reg_hi": op.register_hi,
        "r0": op.register0,
        "zero_offset": 0,
    }
    inputs = [b.constant(f"{op.name}.{key}", array) for key, array in arrays.items()]
    b.node("Kernel", [op.inputs[0], *inputs], op.output, DOMAIN)


def _table(op: p.Table, program: p.Program, b: _Builder) -> None:
    rows, levels = op.table.shape
    start = np.arange(rows) * levels - op.lo
    index = b.node("Add", [op.inputs[0], b.constant(f"{op.name}.start", start)], f"{op.name}.index")
    b.node("Gather", [b.constant(f"{op.name}.table", op.table.ravel()), index], op.output)


def _product(op: p.Product, program: p.Program, b: _Builder) -> None:
    acc = b.node("Mul", list(op.inputs), f"{op.name}.acc")
    b.requant(acc, op.name, op.output, requant_constants(op, op.requant, (len(op.requant),)))


def _sum(op: p.Sum, program: p.Program, b: _Builder) -> None:
    terms = [
        b.node("Mul", [x, b.constant(f"{op.name}.multiplier{i}", op.multiplier[i])], f"{op.name}.term{i}")
        for i, x in enumerate(op.inputs)
    ]
    acc = b.node("Add", terms, f"{op.name}.acc")
    divisor = np.int64(1) << op.shift
    b.requant(
        acc, op.name, op.output, {"multiplier": 1, "offset": op.offset, "divisor": divisor, "lo": op.lo, "hi": op.hi}
    )


def _slice(op: p.Slice, program: p.Program, b: _Builder) -> None:
    ends = [
        b.constant(f"{op.name}.{key}", [value]) for key, value in (("start", op.start), ("stop", op.stop), ("axis", -1))
    ]
    b.node("Slice", [op.inputs[0], *ends], op.output)


def _mean(op: p.Mean, program: p.Program, b: _Builder) -> None:
    """``round(numerator * sum / (denominator * T))`` with one denominator for all channels."""
    denominator = lcm(*(ratio.denominator for ratio in op.ratio))
    numerator = [int(ratio * denominator) for ratio in op.ratio]
    if max(max(map(abs, numerator)), denominator) << 40 >= LIMIT:
        raise refuse(op, "a mean's ratio does not fit 64-bit integers over 2^20 steps")
    total = b.node("ReduceSum", [op.inputs[0], b.constant(f"{op.name}.axis", [1])], f"{op.name}.total", keepdims=0)
    steps = b.node("Shape", [op.inputs[0]], f"{op.name}.steps", start=1, end=2)
    divisor = b.node("Mul", [steps, b.constant(f"{op.name}.denominator", [denominator])], f"{op.name}.divisor")
    others: Constants = {"multiplier": numerator, "offset": 0, "lo": op.lo, "hi": op.hi}
    named = {key: b.constant(f"{op.name}.{key}", value) for key, value in others.items()}
    order = [total, named["multiplier"], named["offset"], divisor, named["lo"], named["hi"]]
    b.node("Requant", order, op.output, DOMAIN)


def _last(op: p.Last, program: p.Program, b: _Builder) -> None:
    b.node("Gather", [op.inputs[0], b.constant(f"{op.name}.index", -1)], op.output, axis=1)


def _dequantize(op: p.Dequantize, program: p.Program, b: _Builder) -> None:
    wide = b.node("Cast", [op.inputs[0]], f"{op.name}.wide", to=onnx.TensorProto.DOUBLE)
    real = b.node("Mul", [wide, b.constant(f"{op.name}.scale", op.scale, np.float64)], f"{op.name}.real")
    b.node("Cast", [real], op.output, to=onnx.TensorProto.FLOAT)


_EMIT: dict[type[p.Op], Callable[..., None]] = {
    p.Quantize: _quantize,
    p.Linear: _linear,
    p.StateSpace: _kernel,
    p.Table: _table,
    p.Product: _product,
    p.Sum: _sum,
    p.Slice: _slice,
    p.Mean: _mean,
    p.Last: _last,
    p.Dequantize: _dequantize,
}

"""Bodies of the ``ssmc`` operations in standard ONNX, so that onnxruntime runs a model after every pass.

Each operation is a model-local function whose text below *is* its definition. Real values are float32; codes are
integer-valued float64, so products and sums are exact far beyond any accumulator here (|acc| < 2**53).
``round`` is ONNX ``Round`` (half to even). docs/ops.md lists the operations with their equations.
"""

from __future__ import annotations

from functools import cache

import onnx
import onnx.parser
import onnx_ir as ir

from ssmc.ir.operations.kernel_functions import kernel_text, linear_parts_text, pair_text, requant_text

DOMAIN = "ssmc"
OPSET = 21

_TEXTS: dict[str, str] = {
    "Quant": """Quant (x, scale, out_scale, lo, hi) => (y) {
  over = Div (x, scale)
  rounded = Round (over)
  low = Max (rounded, lo)
  codes = Min (low, hi)
  y = Mul (codes, out_scale)
}""",
    "Dequant": """Dequant (codes, scale) => (y) {
  real = Cast <to: int = 1> (codes)
  y = Mul (real, scale)
}""",
    "Quantize": """Quantize (x, scale, lo, hi) => (codes) {
  wide = Cast <to: int = 11> (x)
  over = Div (wide, scale)
  rounded = Round (over)
  low = Max (rounded, lo)
  codes = Min (low, hi)
}""",
    "Ids": """Ids (x, hi) => (codes) {
  ids = Cast <to: int = 11> (x)
  zero = Constant <value: tensor = double {0}> ()
  low = Max (ids, zero)
  codes = Min (low, hi)
}""",
    "Dequantize": """Dequantize (codes, scale) => (y) {
  real = Mul (codes, scale)
  y = Cast <to: int = 1> (real)
}""",
    "Linear": "Linear (x, W, gain, step, offset, lo, hi) => (q) { Wt = Transpose <perm: ints = [1, 0]> (W)\n"
    "  acc = MatMul (x, Wt)" + requant_text("q", "acc", "gain", "step", "offset", "lo", "hi") + "}",
    "Product": "Product (a, b, gain, step, offset, lo, hi) => (q) { acc = Mul (a, b)"
    + requant_text("q", "acc", "gain", "step", "offset", "lo", "hi")
    + "}",
    "Sum2": """Sum2 (a, b, gain_a, gain_b, step, offset, lo, hi) => (q) {
  left = Mul (a, gain_a)
  right = Mul (b, gain_b)
  acc = Add (left, right)
  over = Div (acc, step)
  real = Add (over, offset)
  rounded = Round (real)
  low = Max (rounded, lo)
  q = Min (low, hi)
}""",
    "Table": """Table (x, table, lo) => (y) {
  shifted = Sub (x, lo)
  column = Cast <to: int = 7> (shifted)
  levels = Shape <start: int = 1, end: int = 2> (table)
  rows = Shape <start: int = 0, end: int = 1> (table)
  zero = Constant <value: tensor = int64 {0}> ()
  one = Constant <value: tensor = int64 {1}> ()
  minus_one = Constant <value_ints: ints = [-1]> ()
  count = Squeeze (rows)
  row = Range (zero, count, one)
  start = Mul (row, levels)
  index = Add (column, start)
  flat = Reshape (table, minus_one)
  y = Gather <axis: int = 0> (flat, index)
}""",
    "Norm": """Norm (x, centred, epsilon, gain, step, offset, lo, hi) => (q) {
  axis = Constant <value_ints: ints = [-1]> ()
  average = ReduceMean <keepdims: int = 1> (x, axis)
  mean = Mul (average, centred)
  d = Sub (x, mean)
  square = Mul (d, d)
  variance = ReduceMean <keepdims: int = 1> (square, axis)
  with_epsilon = Add (variance, epsilon)
  deviation = Sqrt (with_epsilon)
  zero = Constant <value: tensor = double {0}> ()
  one = Constant <value: tensor = double {1}> ()
  flat = Equal (deviation, zero)
  safe = Where (flat, one, deviation)
  normal = Div (d, safe)
"""
    + requant_text("q", "normal", "gain", "step", "offset", "lo", "hi")
    + "}",
    "Slice": """Slice (x, start, stop) => (y) {
  axis = Constant <value_ints: ints = [-1]> ()
  y = Slice (x, start, stop, axis)
}""",
    "Mean": """Mean (x, gain, step, lo, hi) => (q) {
  axis = Constant <value_ints: ints = [1]> ()
  total = ReduceSum <keepdims: int = 0> (x, axis)
  time = Shape <start: int = 1, end: int = 2> (x)
  length = Cast <to: int = 11> (time)
  scaled = Mul (total, gain)
  whole = Mul (length, step)
  over = Div (scaled, whole)
  rounded = Round (over)
  low = Max (rounded, lo)
  q = Min (low, hi)
}""",
    "Last": """Last (x) => (y) {
  axis = Constant <value: tensor = int64 {-1}> ()
  y = Gather <axis: int = 1> (x, axis)
}""",
    "LinearParts": linear_parts_text("LinearParts"),
    "StateSpace": pair_text("StateSpace", after=False, real=True),
    "StateSpaceAfter": pair_text("StateSpaceAfter", after=True, real=True),
    "KernelPair": pair_text("KernelPair", after=False),
    "KernelPairAfter": pair_text("KernelPairAfter", after=True),
    "Kernel": kernel_text("Kernel"),
    "KernelPairParts": pair_text("KernelPairParts", after=False, parts=True),
    "KernelPairAfterParts": pair_text("KernelPairAfterParts", after=True, parts=True),
    "KernelParts": kernel_text("KernelParts", parts=True),
}


@cache
def function_proto(op_type: str) -> onnx.FunctionProto:
    """The body of an operation as an ONNX function (domain ``ssmc``)."""
    header = f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}]>\n'
    return onnx.parser.parse_function(header + _TEXTS[op_type])


@cache
def input_names(op_type: str) -> tuple[str, ...]:
    """Names of the operation's inputs, in order."""
    return tuple(function_proto(op_type).input)


def op_types() -> tuple[str, ...]:
    """Every operation of the domain."""
    return tuple(_TEXTS)


def attach_functions(model: ir.Model) -> None:
    """Give the model exactly the bodies of the ``ssmc`` operations that it uses."""
    used = {node.op_type for node in ir.traversal.RecursiveGraphIterator(model.graph) if node.domain == DOMAIN}
    for key in [key for key in model.functions if key[0] == DOMAIN]:
        del model.functions[key]
    for op_type in sorted(used):
        function = ir.serde.deserialize_function(function_proto(op_type))
        model.functions[function.identifier()] = function
    if used:
        model.graph.opset_imports[DOMAIN] = 1
    model.graph.opset_imports.setdefault("", OPSET)

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

DOMAIN = "ssmc"
OPSET = 21

_REQUANT = """
  {q}_scaled = Mul ({acc}, {gain})
  {q}_over = Div ({q}_scaled, {step})
  {q}_real = Add ({q}_over, {offset})
  {q}_round = Round ({q}_real)
  {q}_low = Max ({q}_round, {lo})
  {q} = Min ({q}_low, {hi})
"""


def _requant(q: str, acc: str, gain: str, step: str, offset: str, lo: str, hi: str) -> str:
    """``q = clip(round(acc * gain / step + offset), lo, hi)``."""
    return _REQUANT.format(q=q, acc=acc, gain=gain, step=step, offset=offset, lo=lo, hi=hi)


_GROUPS = """
  groups = Shape <start: int = 0, end: int = 1> (r0)
  minus_one = Constant <value_ints: ints = [-1]> ()
  zero = Constant <value_ints: ints = [0]> ()
  batch_time = Shape <start: int = 0, end: int = 2> (u)
  batch = Shape <start: int = 0, end: int = 1> (u)
  split_shape = Concat <axis: int = 0> (batch_time, groups, minus_one)
  u_double = Cast <to: int = 11> (u)
  u_groups = Reshape (u_double, split_shape)
  u_time = Transpose <perm: ints = [1, 0, 2, 3]> (u_groups)
  r0_shape = Shape (r0)
  init_shape = Concat <axis: int = 0> (batch, r0_shape)
  init = Expand (r0, init_shape)
  n = Shape <start: int = 1, end: int = 2> (r0)
  end = Constant <value_ints: ints = [9223372036854775807]> ()
  last = Constant <value_ints: ints = [-1]> ()
"""

_UNGROUP = """
  y_batch = Transpose <perm: ints = [1, 0, 2, 3]> (y_time)
  y_shape = Concat <axis: int = 0> (batch_time, minus_one)
  y = Reshape (y_batch, y_shape)
  registers = Transpose <perm: ints = [1, 0, 2, 3]> (r_time)
"""


def _scan(step: str) -> str:
    return f"""
  r_end, y_time, r_time = Scan <num_scan_inputs: int = 1, body: graph = step
    (double[N, H, n] r, double[N, H, m] ut) => (double[N, H, n] r_next, double[N, H, p] yt, double[N, H, n] r_out) {{
    r_out = Identity (r)
    {step}
  }}> (init, u_time)
"""


def _read_out(name: str, register: str) -> str:
    return f"""
    {name}_over = Div ({register}, unit)
    {name}_round = Round ({name}_over)
    {name}_low = Max ({name}_round, dac_lo)
    {name} = Min ({name}_low, dac_hi)
"""


def _matvec(out: str, matrix: str, state: str) -> str:
    return f"""
    {out}_v = Concat <axis: int = -1> ({state}, ut)
    {out}_column = Unsqueeze ({out}_v, last)
    {out}_product = MatMul ({matrix}, {out}_column)
    {out} = Squeeze ({out}_product, last)
"""


_REGISTER = """
    kept = Mul (keep, r)
    moved = Add (kept, q_state)
    moved_low = Max (moved, reg_lo)
    r_next = Min (moved_low, reg_hi)
"""

_STATE = "keep, unit, dac_lo, dac_hi, reg_lo, reg_hi, r0"


def _kernel() -> str:
    step = (
        _read_out("R", "r")
        + _matvec("acc", "W", "R")
        + _requant("q", "acc", "gain", "step", "offset", "lo", "hi")
        + """
    axis = Constant <value_ints: ints = [2]> ()
    q_state = Slice (q, zero, n, axis)
    yt = Slice (q, n, end, axis)
"""
        + _REGISTER
    )
    inputs = f"u, W, gain, step, offset, lo, hi, {_STATE}"
    return f"Kernel ({inputs}) => (y, registers) {{ {_GROUPS} {_scan(step)} {_UNGROUP} }}"


def _pair(name: str, after: bool, real: bool) -> str:
    """Two matrices: state rows, then output rows on the old (textbook) or the new state.

    ``real``: y is returned as ``y_step * q_y``; where ``y_step`` is 0 there is no quantizer and y is the sum itself.
    """
    step = _read_out("R", "r") + _matvec("acc", "W", "R")
    if real:
        step += _optional_requant("q_state", "acc", "step", "offset", "lo", "hi", in_codes="true")
    else:
        step += _requant("q_state", "acc", "gain", "step", "offset", "lo", "hi")
    step += _REGISTER + (_read_out("R_y", "r_next") if after else "    R_y = Identity (R)\n")
    step += _matvec("acc_y", "W_y", "R_y")
    if real:
        step += _optional_requant("yt", "acc_y", "step_y", "offset_y", "lo_y", "hi_y", in_codes="false")
        inputs = f"u, W, step, offset, lo, hi, W_y, step_y, offset_y, lo_y, hi_y, {_STATE}"
        tail = _UNGROUP.replace("y = Reshape (y_batch, y_shape)", "y_real = Reshape (y_batch, y_shape)\n"
                                "  y = Cast <to: int = 1> (y_real)")  # fmt: skip
    else:
        step += _requant("yt", "acc_y", "gain_y", "step_y", "offset_y", "lo_y", "hi_y")
        inputs = f"u, W, gain, step, offset, lo, hi, W_y, gain_y, step_y, offset_y, lo_y, hi_y, {_STATE}"
        tail = _UNGROUP
    return f"{name} ({inputs}) => (y, registers) {{ {_GROUPS} {_scan(step)} {tail} }}"


def _optional_requant(q: str, acc: str, step: str, offset: str, lo: str, hi: str, in_codes: str) -> str:
    """Quantize real sums to real values (or codes), or pass them where ``step`` is 0."""
    back = f"{q}_kept = Mul ({q}_clip, {step})" if in_codes == "false" else f"{q}_kept = Identity ({q}_clip)"
    return f"""
    {q}_biased = Add ({acc}, {offset})
    {q}_zero = Constant <value: tensor = double {{0}}> ()
    {q}_one = Constant <value: tensor = double {{1}}> ()
    {q}_free = Equal ({step}, {q}_zero)
    {q}_safe = Where ({q}_free, {q}_one, {step})
    {q}_over = Div ({q}_biased, {q}_safe)
    {q}_round = Round ({q}_over)
    {q}_low = Max ({q}_round, {lo})
    {q}_clip = Min ({q}_low, {hi})
    {back}
    {q} = Where ({q}_free, {q}_biased, {q}_kept)
"""


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
    "Dequantize": """Dequantize (codes, scale) => (y) {
  real = Mul (codes, scale)
  y = Cast <to: int = 1> (real)
}""",
    "Linear": "Linear (x, W, gain, step, offset, lo, hi) => (q) { Wt = Transpose <perm: ints = [1, 0]> (W)\n"
    "  acc = MatMul (x, Wt)" + _requant("q", "acc", "gain", "step", "offset", "lo", "hi") + "}",
    "Product": "Product (a, b, gain, step, offset, lo, hi) => (q) { acc = Mul (a, b)"
    + _requant("q", "acc", "gain", "step", "offset", "lo", "hi")
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
    "StateSpace": _pair("StateSpace", after=False, real=True),
    "StateSpaceAfter": _pair("StateSpaceAfter", after=True, real=True),
    "KernelPair": _pair("KernelPair", after=False, real=False),
    "KernelPairAfter": _pair("KernelPairAfter", after=True, real=False),
    "Kernel": _kernel(),
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

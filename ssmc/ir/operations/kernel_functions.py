"""ONNX text of the operations that walk time: their step inside a Scan, and the partial sums of a crossbar."""

from __future__ import annotations

_REQUANT = """
  {q}_scaled = Mul ({acc}, {gain})
  {q}_over = Div ({q}_scaled, {step})
  {q}_real = Add ({q}_over, {offset})
  {q}_round = Round ({q}_real)
  {q}_low = Max ({q}_round, {lo})
  {q} = Min ({q}_low, {hi})
"""


def requant_text(q: str, acc: str, gain: str, step: str, offset: str, lo: str, hi: str) -> str:
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


PARTS = (
    "digits", "index", "part_rows", "whole", "weight",
    "part_gain", "part_step", "part_offset", "part_lo", "part_hi", "worth",
)  # fmt: skip


def _part_inputs(suffix: str, parts: bool) -> str:
    return "".join(f", {name}{suffix}" for name in PARTS) if parts else ""


def _product(out: str, matrix: str, state: str, suffix: str, parts: bool, scales: bool) -> str:
    if scales:
        return f"    {out}_real = Mul ({matrix}, gain{suffix})\n{_matvec(out, f'{out}_real', state)}"
    if not parts:
        return _matvec(out, matrix, state)
    vector = f"    {out}_v = Concat <axis: int = -1> ({state}, ut)\n"
    return vector + partial_sums(out, f"{out}_v", suffix)


def partial_sums(out: str, v: str, suffix: str) -> str:
    """``out = sum_k worth_k * clip(round(digits_k drive_k * gain_k / step_k + offset_k))``.

    drive_k is v or a bit of v (`PartialSum`, `Matrix.converter`) on some rows, 0 on the others. Shapes: v (N, G, in);
    digits (unique, G, out, in), index (K,); part_rows (K, 1, 1, in), 0 or 1; whole and weight (K, 1, 1, 1); the other
    arrays too, or (K, 1, G, out).
    """
    p = {name: f"{name}{suffix}" for name in PARTS}
    return f"""
    {out}_one = Unsqueeze ({v}, zero)
    {out}_two = Constant <value: tensor = double {{2}}> ()
    {out}_over = Div ({out}_one, {p["weight"]})
    {out}_floor = Floor ({out}_over)
    {out}_signed = Mod <fmod: int = 1> ({out}_floor, {out}_two)
    {out}_bit = Abs ({out}_signed)
    {out}_drive = Where ({p["whole"]}, {out}_one, {out}_bit)
    {out}_driven = Mul ({out}_drive, {p["part_rows"]})
    {out}_column = Unsqueeze ({out}_driven, last)
    {out}_each = Gather <axis: int = 0> ({p["digits"]}, {p["index"]})
    {out}_batch = Constant <value_ints: ints = [1]> ()
    {out}_cells = Unsqueeze ({out}_each, {out}_batch)
    {out}_sums = MatMul ({out}_cells, {out}_column)
    {out}_flat = Squeeze ({out}_sums, last)
    {requant_text(f"{out}_code", f"{out}_flat", *(p[key] for key in PARTS[5:10]))}
    {out}_worth = Mul ({out}_code, {p["worth"]})
    {out} = ReduceSum <keepdims: int = 0> ({out}_worth, zero)
"""


def linear_parts_text(name: str) -> str:
    """``Linear`` through partial sums: x (..., in) as one group."""
    return f"""{name} (x, W, gain, step, offset, lo, hi{_part_inputs("", True)}) => (q) {{
  zero = Constant <value_ints: ints = [0]> ()
  last = Constant <value_ints: ints = [-1]> ()
  group = Constant <value_ints: ints = [1]> ()
  shape = Shape (x)
  kept = Shape <start: int = 0, end: int = -1> (x)
  size = Shape <start: int = -1> (x)
  rows = Concat <axis: int = 0> (last, group, size)
  v = Reshape (x, rows)
  {partial_sums("sums", "v", "")}
  back = Concat <axis: int = 0> (kept, last)
  acc = Reshape (sums, back)
  {requant_text("q", "acc", "gain", "step", "offset", "lo", "hi")}
}}"""


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


_ONE = "    one = Constant <value: tensor = double {1}> ()\n"


def kernel_text(name: str, parts: bool = False, scales: bool = False) -> str:
    """One matrix for the state and y.

    ``parts``: through the partial sums of `Matrix.parts`; ``scales``: every weight has a gain of its own.
    """
    step = (
        _read_out("R", "r")
        + _product("acc", "W", "R", "", parts, scales)
        + (_ONE if scales else "")
        + requant_text("q", "acc", "one" if scales else "gain", "step", "offset", "lo", "hi")
        + """
    axis = Constant <value_ints: ints = [2]> ()
    q_state = Slice (q, zero, n, axis)
    yt = Slice (q, n, end, axis)
"""
        + _REGISTER
    )
    inputs = f"u, W, gain, step, offset, lo, hi, {_STATE}" + _part_inputs("", parts)
    return f"{name} ({inputs}) => (y, registers) {{ {_GROUPS} {_scan(step)} {_UNGROUP} }}"


_POLES = """
    A_poles = Slice (W, zero, n, last)
    R_column = Unsqueeze (R, last)
    A_product = MatMul (A_poles, R_column)
    acc_a = Squeeze (A_product, last)
"""


def _poles_apart() -> str:
    """``acc = A R + per_code_b * requant_b(B u)``: B u has converters of its own, A is exact."""
    names = (f"{key}_b" for key in ("gain", "step", "offset", "lo", "hi"))
    return (
        _POLES
        + partial_sums("acc_b", "ut", "_b")
        + requant_text("q_b", "acc_b", *names)
        + "    worth_q = Mul (q_b, per_code_b)\n    acc = Add (acc_a, worth_q)\n"
    )


def pair_text(
    name: str, after: bool, real: bool = False, parts: bool = False, scales: bool = False, poles: bool = False
) -> str:
    """Two matrices: state rows, then output rows on the old (textbook) or the new state.

    ``real``: y is returned as ``y_step * q_y``; where ``y_step`` is 0 there is no quantizer and y is the sum itself.
    ``parts`` and ``scales`` as in `kernel_text`; ``poles``: B u is converted apart from A R (`_poles_apart`).
    """
    step = (_ONE if scales else "") + _read_out("R", "r")
    step += _poles_apart() if poles else _product("acc", "W", "R", "", parts, scales)
    if real:
        step += _optionalrequant_text("q_state", "acc", "step", "offset", "lo", "hi", in_codes="true")
    else:
        step += requant_text("q_state", "acc", "one" if scales else "gain", "step", "offset", "lo", "hi")
    step += _REGISTER + (_read_out("R_y", "r_next") if after else "    R_y = Identity (R)\n")
    step += _product("acc_y", "W_y", "R_y", "_y", parts, scales)
    if real:
        step += _optionalrequant_text("yt", "acc_y", "step_y", "offset_y", "lo_y", "hi_y", in_codes="false")
        inputs = f"u, W, step, offset, lo, hi, W_y, step_y, offset_y, lo_y, hi_y, {_STATE}"
        tail = _UNGROUP.replace("y = Reshape (y_batch, y_shape)", "y_real = Reshape (y_batch, y_shape)\n"
                                "  y = Cast <to: int = 1> (y_real)")  # fmt: skip
    else:
        step += requant_text("yt", "acc_y", "one" if scales else "gain_y", "step_y", "offset_y", "lo_y", "hi_y")
        inputs = f"u, W, gain, step, offset, lo, hi, W_y, gain_y, step_y, offset_y, lo_y, hi_y, {_STATE}"
        apart = ", gain_b, step_b, offset_b, lo_b, hi_b, per_code_b" + _part_inputs("_b", parts)
        inputs += (apart if poles else _part_inputs("", parts)) + _part_inputs("_y", parts)
        tail = _UNGROUP
    return f"{name} ({inputs}) => (y, registers) {{ {_GROUPS} {_scan(step)} {tail} }}"


def _optionalrequant_text(q: str, acc: str, step: str, offset: str, lo: str, hi: str, in_codes: str) -> str:
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

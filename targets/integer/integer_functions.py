"""What integer ONNX lacks, as functions of int64 operations: requantization, norms, kernels.

Every line is exact on 62-bit integers. ``Div`` truncates and is only given multiples or positive numbers; ``Mod`` takes
the sign of the divisor, so ``x - Mod(x, d)`` is the floor.
"""

from __future__ import annotations

from functools import cache

import onnx
import onnx.parser

from ssmc.ir.operations.downsample import PICK, group_text
from ssmc.ir.operations.exponential_mean import walk_text
from ssmc.ir.operations.sliding_mean import window_text

DOMAIN = "ssmc.integer"
OPSET = 21
REQUANT = ("multiplier", "offset", "divisor", "lo", "hi")
TABLE = (*REQUANT, "thresholds", "sign", "by_table")
STATE = ("keep", "unit", "dac_lo", "dac_hi", "reg_lo", "reg_hi", "r0", "zero_offset")

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

# the code is how many of the row's thresholds the accumulator reaches
_REQUANT_TABLE = """
RequantTable (acc, multiplier, offset, divisor, lo, hi, thresholds, sign, by_table) => (q) {
  divided = Requant (acc, multiplier, offset, divisor, lo, hi)
  minus_one = Constant <value_ints: ints = [-1]> ()
  signed = Mul (acc, sign)
  column = Unsqueeze (signed, minus_one)
  reached = GreaterOrEqual (column, thresholds)
  ones = Cast <to: int = 7> (reached)
  count = ReduceSum <keepdims: int = 0> (ones, minus_one)
  looked_up = Add (count, lo)
  q = Where (by_table, looked_up, divided)
}"""

# `ssmc.ir.operations.Norm`, line by line; the root by Newton's iteration from above ends at the floor or one more
_NEWTON = "\n".join(
    f"  over{i} = Div (scaled, root{i})\n  sum{i} = Add (root{i}, over{i})\n  root{i + 1} = Div (sum{i}, two)"
    for i in range(8)
)
_NORM = f"""
Norm (x, channels, centred, epsilon, gain, offset, divisor, lo, hi, edges, squares, units) => (q) {{
  axis = Constant <value_ints: ints = [-1]> ()
  zero = Constant <value: tensor = int64 {{0}}> ()
  one = Constant <value: tensor = int64 {{1}}> ()
  two = Constant <value: tensor = int64 {{2}}> ()
  fraction = Constant <value: tensor = int64 {{65536}}> ()
  root0 = Constant <value: tensor = int64 {{2147483648}}> ()
  top = Constant <value: tensor = int64 {{2305843009213693952}}> ()
  most = Constant <value: tensor = int64 {{4611686018427387903}}> ()
  least = Neg (most)
  plain_total = ReduceSum <keepdims: int = 1> (x, axis)
  total = Mul (plain_total, centred)
  wide = Mul (x, channels)
  d = Sub (wide, total)
  square = Mul (x, x)
  total_square = ReduceSum <keepdims: int = 1> (square, axis)
  first = Mul (total_square, channels)
  second = Mul (total, total)
  spread = Sub (first, second)
  shifted = Mul (spread, fraction)
  v = Add (shifted, epsilon)
  safe = Max (v, one)
  below = Less (safe, edges)
  below_int = Cast <to: int = 7> (below)
  half_scale = ReduceSum <keepdims: int = 1> (below_int, axis)
  grown = Gather (squares, half_scale)
  scaled = Mul (safe, grown)
{_NEWTON}
  check = Mul (root8, root8)
  over = Greater (check, scaled)
  over_int = Cast <to: int = 7> (over)
  root = Sub (root8, over_int)
  rec = Div (top, root)
  numerator = Mul (d, rec)
  unit = Gather (units, half_scale)
  normal = Requant (numerator, one, zero, unit, least, most)
  flat = Equal (v, zero)
  h = Where (flat, zero, normal)
  q = Requant (h, gain, offset, divisor, lo, hi)
}}"""

# `ssmc.ir.operations.Downsample`
_DOWNSAMPLE = f"""
Downsample (x, k, rest, numerator, denominator, lo, hi) => (q) {{
{group_text("int64")}
  column = Unsqueeze (members, one)
  divisor = Mul (column, denominator)
  q = Requant (total, numerator, zero, divisor, lo, hi)
}}"""

# `ssmc.ir.operations.SlidingMean`
_SLIDING_MEAN = f"""
SlidingMean (x, width, numerator, denominator, lo, hi) => (q) {{
{window_text("int64")}
  column = Unsqueeze (members, one)
  divisor = Mul (column, denominator)
  q = Requant (total, numerator, zero, divisor, lo, hi)
}}"""

# `ssmc.ir.operations.ExponentialMean`
_EXPONENTIAL_MEAN = f"""
ExponentialMean (x, unit, lo, hi) => (y) {{
  factor = Constant <value: tensor = int64 {{1}}> ()
  nothing = Constant <value: tensor = int64 {{0}}> ()
{walk_text("int64", "{y} = Requant ({r}, factor, nothing, unit, lo, hi)")}}}"""

_BEFORE = """
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
    (int64[N, H, n] r, int64[N, H, m] ut) => (int64[N, H, n] r_next, int64[N, H, p] yt) {"""

_UPDATE = """
    kept = Mul (keep, r)
    moved = Add (kept, q_state)
    low = Max (moved, reg_lo)
    r_next = Min (low, reg_hi)"""

_AFTER = """
  }> (init, u_time)
  y_batch = Transpose <perm: ints = [1, 0, 2, 3]> (y_time)
  y_shape = Concat <axis: int = 0> (batch_time, minus_one)
  y = Reshape (y_batch, y_shape)
}"""


def _read(register: str, name: str) -> str:
    """R(r) beside the input, as a column."""
    return f"""
    R{name} = Requant ({register}, one, zero_offset, unit, dac_lo, dac_hi)
    v{name} = Concat <axis: int = -1> (R{name}, ut)
    column{name} = Unsqueeze (v{name}, minus_one)"""


def _product(matrix: str, column: str, requant: str, numbers: list[str], out: str) -> str:
    return f"""
    product_{out} = MatMul ({matrix}, {column})
    acc_{out} = Squeeze (product_{out}, minus_one)
    {out} = {requant} (acc_{out}, {", ".join(numbers)})"""


def kernel_inputs(kind: str) -> list[str]:
    """Inputs of a kernel function behind u, in order: `Kernel`, `KernelPair`, `KernelPairAfter`, or with `Table`."""
    numbers = TABLE if kind.endswith("Table") else REQUANT
    suffixes = ("", "_y") if kind.startswith("KernelPair") else ("",)
    return [*(f"{key}{suffix}" for suffix in suffixes for key in ("W", *numbers)), *STATE]


def _kernel_text(kind: str) -> str:
    """One step of `ssmc.ir.operations.StateSpace` inside a Scan."""
    requant, numbers = ("RequantTable", TABLE) if kind.endswith("Table") else ("Requant", REQUANT)
    head = f"\n{kind} (u, {', '.join(kernel_inputs(kind))}) => (y) {{{_BEFORE}{_read('r', '')}"
    own = list(numbers)
    if not kind.startswith("KernelPair"):
        split = "\n    q_state = Slice (q, zero, n, axis)\n    yt = Slice (q, n, end, axis)"
        return f"{head}{_product('W', 'column', requant, own, 'q')}{split}{_UPDATE}{_AFTER}"
    later, column = (_read("r_next", "_new"), "column_new") if "After" in kind else ("", "column")
    outputs = _product("W_y", column, requant, [f"{key}_y" for key in numbers], "yt")
    return f"{head}{_product('W', 'column', requant, own, 'q_state')}{_UPDATE}{later}{outputs}{_AFTER}"


def _text(name: str) -> str:
    plain = {"Requant": _REQUANT, "RequantTable": _REQUANT_TABLE, "Norm": _NORM, "Downsample": _DOWNSAMPLE}
    plain |= {"DownsamplePick": PICK, "SlidingMean": _SLIDING_MEAN, "ExponentialMean": _EXPONENTIAL_MEAN}
    return plain[name] if name in plain else _kernel_text(name)


@cache
def function(name: str) -> onnx.FunctionProto:
    """The body of a function of the domain."""
    header = f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}, "{DOMAIN}" : 1]>\n'
    parsed = onnx.parser.parse_function(header + _text(name))
    bodies = [a.g.node for node in parsed.node for a in node.attribute if a.name == "body"]
    for node in (*parsed.node, *(node for body in bodies for node in body)):
        if node.op_type in ("Requant", "RequantTable"):
            node.domain = DOMAIN
    return parsed


def functions_for(used: set[str]) -> list[onnx.FunctionProto]:
    """The functions, and those they call, in a fixed order."""
    needed = {"Requant", *used} | ({"RequantTable"} if any(name.endswith("Table") for name in used) else set())
    return [function(name) for name in sorted(needed)]

"""Bodies of the ``ssmc`` operations in standard ONNX, so that onnxruntime runs a model after every pass.

Each operation is a model-local function whose text *is* its definition: those on real numbers stand here, those on
codes with their operations (`ssmc.ir.operations`). Real values are float32; codes are
integer-valued float64, so products and sums are exact far beyond any accumulator here (|acc| < 2**53).
``round`` is ONNX ``Round`` (half to even). docs/ops.md lists the operations with their equations.
"""

from __future__ import annotations

from functools import cache

import onnx
import onnx.parser
import onnx_ir as ir

from ssmc.ir.operations import OPERATIONS, Op
from ssmc.ir.operations.exponential_mean import walk_text
from ssmc.ir.operations.kernel_functions import pair_text

DOMAIN = "ssmc"
OPSET = 21

_MAYBE_ROUNDED = (
    "{y}_over = Div ({r}, unit)\n    {y}_code = Round ({y}_over)\n    {y} = Where (exact, {y}_over, {y}_code)"
)

#: the codes of u, their means, rounded where step is not 0, and real values again
_MOVING_AVERAGE = f"""MovingAverage (u, unit, step, lo, hi) => (real) {{
  none = Constant <value: tensor = double {{0}}> ()
  plain = Constant <value: tensor = double {{1}}> ()
  exact = Equal (step, none)
  grid = Where (exact, plain, step)
  wide = Cast <to: int = 11> (u)
  over = Div (wide, grid)
  low = Max (over, lo)
  x = Min (low, hi)
{walk_text("double", _MAYBE_ROUNDED)}
  scaled = Mul (y, grid)
  real = Cast <to: int = 1> (scaled)
}}"""

#: Operations on real numbers: quantizers of a canonical graph, and recurrences that were raised from loops.
REAL: dict[str, str] = {
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
    "MovingAverage": _MOVING_AVERAGE,
    "StateSpace": pair_text("StateSpace", after=False, real=True),
    "StateSpaceAfter": pair_text("StateSpaceAfter", after=True, real=True),
}

#: Operations on codes, each in its own file.
_BY_TYPE = {op_type: kind for kind in OPERATIONS for op_type in kind.functions}
_TEXTS = {**REAL, **{op_type: kind.functions[op_type].text for op_type, kind in _BY_TYPE.items()}}


@cache
def function_proto(op_type: str) -> onnx.FunctionProto:
    """The body of an operation as an ONNX function (domain ``ssmc``)."""
    header = f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}]>\n'
    return onnx.parser.parse_function(header + _TEXTS[op_type])


@cache
def input_names(op_type: str) -> tuple[str, ...]:
    """Names of the operation's inputs, in order."""
    return tuple(function_proto(op_type).input)


@cache
def output_names(op_type: str) -> tuple[str, ...]:
    """Names of the operation's outputs, in order."""
    return tuple(function_proto(op_type).output)


def operation_of(op_type: str) -> type[Op]:
    """The operation of the integer program that nodes of a type on codes are."""
    return _BY_TYPE[op_type]


def op_types() -> tuple[str, ...]:
    """Every operation of the domain."""
    return tuple(_TEXTS)


def code_op_types(since: str) -> frozenset[str]:
    """The operations on codes whose first level is ``since``."""
    return frozenset(op_type for op_type, kind in _BY_TYPE.items() if kind.functions[op_type].since == since)


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

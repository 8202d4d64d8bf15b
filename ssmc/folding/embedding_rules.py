"""The rule for an embedding: rows of a constant table, chosen by token ids."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssmc.folding.emit import Emitter
from ssmc.folding.layout_rules import LAYOUT_RULES
from ssmc.folding.operands import Operands, attribute, real_constant, refuse
from ssmc.folding.signals import Coded, Mapped, Signal, Tokens
from ssmc.ir.build import constant_array, is_op
from ssmc.ir.functions import DOMAIN
from ssmc.ir.grid import factor_row
from ssmc.ir.rounding import FloatArray

MOST_IDS = 1 << 24


def gather(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Of channels in any order, of the last step, or of rows of a constant table by token ids."""
    ids = operands[1]
    if ids is None:
        return LAYOUT_RULES["", "Gather"](node, operands, emitter)
    if not isinstance(ids, Tokens) or operands[0] is not None:
        raise refuse(node, "a gather whose index is computed", "only token ids may look up, in a constant table")
    name = str(node.outputs[0].name)
    real = real_constant(node.inputs[0], node)
    if real.ndim != 2 or attribute(node, "axis", 0) != 0 or len(real) > MOST_IDS:
        fact = f"ids look up axis {attribute(node, 'axis', 0)} of a table of shape {real.shape}"
        raise refuse(node, fact, "use a table (vocabulary, channels) of at most 2^24 rows")
    size = real.shape[1]
    roles = (*ids.roles, "C")
    value = emitter.tokens(len(real), name)
    source = Coded(ids.roles, 1, value, 0, len(real) - 1, np.ones(1), np.zeros(1), "step")
    grid = _stored(node.inputs[0], size) or _found(real)
    if grid is None:
        return [Mapped(roles, size, source, real.T)]
    codes, scale = grid
    out = emitter.emit("Table", name, {"x": value}, {"table": codes.T, "lo": 0})
    return [Coded(roles, size, out, int(codes.min()), int(codes.max()), scale, np.zeros(size), "step")]


def _stored(table: ir.Value | None, size: int) -> tuple[FloatArray, FloatArray] | None:
    """Codes (vocabulary, channels) and scale (channels,) of a table behind a DequantizeLinear; None for any other."""
    dequant = table.producer() if table is not None else None
    if dequant is None or not is_op(dequant, "Dequant", domain=DOMAIN):
        return None
    codes, scale = (np.asarray(constant_array(value), np.float64) for value in dequant.inputs)
    if scale.ndim and any(width != 1 for width in scale.shape[:-1]):
        return None
    return codes, np.broadcast_to(scale.reshape(-1), (size,)).astype(np.float64)


def _found(real: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """The same of real numbers that lie on one grid; None where they do not, and a quantizer has to follow."""
    found = factor_row(real.ravel())
    if found is None:
        return None
    codes, scale = found
    return codes.reshape(real.shape).astype(np.float64), np.full(real.shape[1], scale)

"""The registers of a kernel in C: how they are read out, updated and begin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmc.emit_c.requants import saturated
from ssmc.emit_c.source import SourceFile, literal
from ssmc.emit_c.widths import INT32, CType, accumulator, narrowest
from ssmc.ir.operations import StateSpace
from ssmc.ir.rounding import IntArray, round_shift


@dataclass(frozen=True)
class Registers:
    """The states of a kernel in the order in which C stores them.

    Attributes:
        field: member of the state struct.
        ctype: of a register.
        start: initial values, flat, in C's order.
        read: C expression of R(r) with {r} and {row}.
        update: C expression of the new register with {r}, {q} and {row}.
        read_lo, read_hi: range of what drives the matrix.
        roundings: read-outs that round, each step.
    """

    field: str
    ctype: CType
    start: IntArray
    read: str
    update: str
    read_lo: int
    read_hi: int
    roundings: int


def define_registers(file: SourceFile, field: str, op: StateSpace, order: IntArray) -> Registers:
    """Define what reads and writes the registers ``order`` (flat indices into (H, n))."""
    picked = {
        key: np.asarray(getattr(op, key), np.int64).ravel()[order]
        for key in ("keep", "shift", "dac_lo", "dac_hi", "register_lo", "register_hi", "register0")
    }
    if not order.size:
        return Registers(field, narrowest(0, 0), order, "{r}", "{q}", 0, 0, 0)
    low = np.minimum(picked["register_lo"], picked["register0"])
    high = np.maximum(picked["register_hi"], picked["register0"])
    ctype = narrowest(int(low.min()), int(high.max()))
    read = _read(file, op.name, picked, low, high)
    update = _update(file, op, picked, ctype)
    span = int(picked["dac_lo"].min()), int(picked["dac_hi"].max())
    rounded = int(np.count_nonzero(picked["shift"]))
    return Registers(field, ctype, picked["register0"], read, update, *span, rounded)


def _read(file: SourceFile, name: str, picked: dict[str, IntArray], low: IntArray, high: IntArray) -> str:
    """R(r) = clip(round_shift(r, shift), dac_lo, dac_hi), without what can have no effect."""
    text, common = "{r}", int(picked["shift"].max())
    top = int(np.abs(np.stack([low, high])).max())
    if common and accumulator((top + 1) << common) == INT32:
        left = file.param(
            f"{name}_unit", common - picked["shift"], f"{name}: log2 of 2^-{common} read-outs per register unit"
        )
        scaled = "{r}" if left.always(0) else f"{{r}} * (INT32_C(1) << {left.at('{row}')})"
        text = f"{file.helper('even_shift32')}({scaled} + {literal(1 << (common - 1))}, {common})"
    elif common:
        shift = file.param(f"{name}_unit", picked["shift"], f"{name}: log2 of register units per read-out unit")
        text = f"{file.helper('round_shift32')}({{r}}, {shift.at('{row}')})"
    lowest, highest = round_shift(low, picked["shift"]), round_shift(high, picked["shift"])
    if (lowest < picked["dac_lo"]).any() or (highest > picked["dac_hi"]).any():
        lo, hi = (file.param(f"{name}_{key}", picked[key], f"{name}: {key} by state") for key in ("dac_lo", "dac_hi"))
        text = saturated(file, text, (lo, hi), "{row}")
    return text


def _update(file: SourceFile, op: StateSpace, picked: dict[str, IntArray], ctype: CType) -> str:
    """clip(keep r + q, register_lo, register_hi), without what can have no effect."""
    keep = file.param(f"{op.name}_keep", picked["keep"], f"{op.name}: 1 where codes are increments of the register")
    text = "{q}" if keep.always(0) else "{r} + {q}" if keep.always(1) else f"{keep.at('{row}')} * {{r}} + {{q}}"
    codes = op.requant.lo.min(), op.requant.hi.max()
    inside = codes[0] >= picked["register_lo"].max() and codes[1] <= picked["register_hi"].min()
    if not keep.always(0) or not inside:
        lo, hi = (
            file.param(f"{op.name}_{key}", picked[key], f"{op.name}: {key} by state")
            for key in ("register_lo", "register_hi")
        )
        text = saturated(file, text, (lo, hi), "{row}")
    return f"({ctype.name})({text})" if not text.startswith(file.prefix) else f"({ctype.name}){text}"

"""Instructions that a step needs on a Cortex-M4, item by item; loops, addresses and spilled registers are left out.

The bound is of these exact numbers with weights of so many bits in flash, computed with dual multiply-accumulates, and
rounded by shifts: nothing is recomputed, everything that is used twice stays in a register. Also left out: taking apart
the 4-bit codes of a kernel, and reading numbers by index, which are a choice of less flash.
"""

from __future__ import annotations

from collections import Counter

from ssmc.emit_c.context import Context
from ssmc.emit_c.emit import emit
from ssmc.emit_c.fold import fold_multipliers
from ssmc.emit_c.pairs import find_pairs
from ssmc.emit_c.source import Layer, SourceFile
from ssmc.ir.operations import Linear, Mean, Product, StateSpace, Sum, Table
from ssmc.ir.program import Program

#: instructions of one item, and which
BOUND: dict[str, tuple[float, str]] = {
    "macs of 8-bit rows": (1, "per four: load two words of two rows at once, sign-extend, 2 dual multiply-accumulates"),
    "macs of 4-bit rows": (1.125, "per eight: load, 4 masks, 4 dual multiply-accumulates"),
    "macs of 2-bit rows": (1.0625, "per sixteen: load, 8 masks, 8 dual multiply-accumulates"),
    "inputs of rows": (0.75, "per four: load, sign-extend two pairs"),
    "pairs that turn": (
        34,
        "load registers, A and C, 2 of B, scale, factor (6), sign-extend 2; 2 products, 3 dual ones (5); "
        "twice, for read-outs and codes: 2 of scale and half, odd bit, subtract, saturate, and 1 pack (18); "
        "add, saturate, store both (3)",
    ),
    "other pairs": (38, "as above; load A's second row (2), pack, factor"),
    "channels of pairs": (5, "load u, D and two counts, multiply"),
    "macs of other kernels": (2, "load a weight, multiply-accumulate"),
    "states of other kernels": (15, "load and store the register, read-out (5), code (6), add, saturate"),
    "requantizations": (9, "load shift, load offset, add, shift, half, odd bit, subtract, saturate, store"),
    "products": (7, "load both, multiply with half, odd bit, subtract, saturate, store"),
    "sums": (8, "load both, add, half, odd bit, subtract, saturate, store"),
    "look-ups": (5, "load code, load row, address, load value, store"),
    "additions": (6, "load code, load and store 64-bit sum, extend, add low, add high"),
}


def items(program: Program) -> Counter[str]:
    """How many of each item a step needs; what runs once a sequence is left out."""
    layers = {layer.name: layer for layer in emit(program, "model").step_layers}
    folded, found = fold_multipliers(program), Counter[str]()
    for op in folded.ops:
        if op.name not in layers or program.rate(op) != "step":
            continue
        size = program.values[op.output].size
        match op:
            case Linear():
                found.update(_rows(op, layers[op.name]))
            case StateSpace():
                found.update(_kernel(folded, op, layers[op.name]))
            case Product() | Sum() | Table():
                found[{"Product": "products", "Sum": "sums", "Table": "look-ups"}[type(op).__name__]] += size
            case Mean():
                found["additions"] += program.values[op.inputs[0]].size
            case _:
                raise ValueError(f"{op.name}: {type(op).__name__} has no bound")
    return found


def _rows(op: Linear, layer: Layer) -> dict[str, int]:
    bits = next((bits for bits in (8, 4, 2) if layer.stored.startswith(f"dense, {bits} bit, ")), 0)
    macs = f"macs of {bits}-bit rows" if bits else "macs of other kernels"
    inputs = op.matrix.groups * op.matrix.inputs
    return {macs: layer.macs, "inputs of rows": inputs, "requantizations": layer.requants["requantizations"]}


def _kernel(program: Program, op: StateSpace, layer: Layer) -> dict[str, int]:
    pairs = find_pairs(Context(SourceFile("model"), program, {}), op)
    if pairs is None:
        return {"macs of other kernels": layer.macs, "states of other kernels": op.keep.size}
    turned, channels = int(pairs.turned.sum()), op.matrix.groups
    other = len(pairs.turned) - turned
    return {
        "pairs that turn": turned, "other pairs": other, "channels of pairs": channels, "requantizations": channels,
    }  # fmt: skip


def bound(found: Counter[str]) -> float:
    """Instructions per step."""
    return sum(BOUND[name][0] * count for name, count in found.items())

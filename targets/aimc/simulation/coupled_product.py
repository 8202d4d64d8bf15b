"""A product as a chip drives it: groups that share a drive (`coupled`) are one, with more states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ssmc.ir.requant import Requant
from ssmc.ir.rounding import IntArray
from ssmc.targets.aimc.lowering.mapping import Bank
from ssmc.targets.aimc.simulation.chip import Chip, Converters, Programmed
from ssmc.targets.aimc.simulation.coupled import Array, Coupling, whole_bank
from ssmc.targets.aimc.simulation.stages import Part, Product


@dataclass(frozen=True)
class Driven:
    """Product, what was written and the banks, all of the coupled groups; as they were where none are coupled."""

    product: Product
    written: Mapping[str, Programmed]
    banks: Mapping[str, Bank]
    coupling: Coupling | None


def coupling_of(product: Product, chip: Chip) -> Coupling | None:
    """The coupling of its banks: at most one row split leaves room for several groups."""
    found = (chip.banks[part.bank].coupling for part in product.parts)
    return next((coupling for coupling in found if coupling is not None), None)


def as_driven(
    product: Product, chip: Chip, banks: Mapping[str, Bank], inputs: Sequence[int], outputs: Sequence[int]
) -> Driven | None:
    """The product of coupled groups; None where only some of its banks are coupled.

    Args:
        product: of a tile program.
        chip: that runs it.
        banks: of the tile program.
        inputs: widths, within a group, of the values that are read; coupled groups put the first value of all members
            before the second.
        outputs: the same of the values that are written.
    """
    names = list(dict.fromkeys(part.bank for part in product.parts))
    coupling = coupling_of(product, chip)
    if coupling is None:
        return Driven(product, {name: chip.banks[name] for name in names}, banks, None)
    if len(names) > 1:
        return None
    rows, columns = coupling.segments(inputs), coupling.segments(outputs)
    codes = coupling.spread(product.codes[:, None])[:, 0][:, columns][:, :, rows]
    converter = None if product.converter is None else _requant(product.converter, product, coupling, columns)
    requant = _requant(product.requant, product, coupling, columns)
    parts = tuple(_part(part, coupling, columns) for part in product.parts)
    whole = replace(product, codes=codes, parts=parts, requant=requant, converter=converter)
    bank, written = banks[names[0]], chip.banks[names[0]]
    return Driven(
        whole,
        {names[0]: _written(written, coupling, rows, columns)},
        {names[0]: whole_bank(bank, coupling)},
        coupling,
    )


def _written(written: Programmed, coupling: Coupling, rows: IntArray, columns: IntArray) -> Programmed:
    """Rows and columns in the order of the segments."""
    signed = np.concatenate([rows, len(rows) + rows]) if written.signed else rows
    every = np.concatenate([piece * len(columns) + columns for piece in range(written.pieces)])

    def ordered(x: Array | None) -> Array | None:
        return None if x is None else np.ascontiguousarray(x[:, signed][:, :, every])

    weight, shared = ordered(written.weight), written.shared
    assert weight is not None
    return replace(
        written,
        weight=weight,
        variance=ordered(written.variance),
        shared=None if shared is None else np.ascontiguousarray(shared[:, signed]),
        converters=_converters(written, coupling, every),
    )


def _converters(written: Programmed, coupling: Coupling, every: IntArray) -> Converters | None:
    if written.converters is None:
        return None

    def ordered(x: Array) -> Array:
        """(G, s * j) to (K, s * M * j)."""
        apart = x.reshape(len(x), written.pieces, -1)
        side = coupling.gather(apart.transpose(0, 2, 1)).transpose(0, 2, 1)
        return np.ascontiguousarray(side.reshape(len(side), -1)[:, every])

    found = written.converters
    gain, offset, bow, key = (ordered(x) for x in (found.gain, found.offset, found.bow, found.key))
    return Converters(gain, offset, bow, key, found.uneven)


def _part(part: Part, coupling: Coupling, columns: IntArray) -> Part:
    """Its numbers in the order of the columns; a column that no member has gets step 1 and is always 0."""
    if part.step is None:
        return part
    step, lo, hi, gain = (coupling.gather(x)[:, columns] for x in (part.step, part.lo, part.hi, part.gain))
    return replace(part, step=np.maximum(step, 1), lo=lo, hi=hi, gain=gain)


def _requant(exact: Requant, product: Product, coupling: Coupling, columns: IntArray) -> Requant:
    """Of the outputs in order; an output that no member has is always 0."""
    shape = product.codes.shape[:2]
    index = coupling.gather(np.arange(len(exact)).reshape(shape) + 1)[:, columns].ravel() - 1
    return exact.take(index)

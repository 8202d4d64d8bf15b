"""The arrays that the compiled loops take: a product of a tile program on one chip instance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssmc.ir.requant import Requant
from ssmc.targets.aimc.lowering.mapping import Bank
from ssmc.targets.aimc.simulation.chip import Chip, Converters
from ssmc.targets.aimc.simulation.coupled import Coupling
from ssmc.targets.aimc.simulation.coupled_product import Driven, as_driven
from ssmc.targets.aimc.simulation.stages import Kernel, Part, Product

Arrays = tuple[NDArray[Any], ...]
EXACT = 1 << 24
LIMIT = float(EXACT)
NO_REQUANT: Arrays = tuple(np.zeros((0, 0), np.int64) for _ in range(6))


@dataclass(frozen=True)
class Loaded:
    """`numba_kernels.convert`'s ``product`` and ``requant``; groups that are driven at once are one."""

    product: Arrays
    requant: Arrays
    coupling: Coupling | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(P, G, J)."""
        return tuple(self.product[7].shape)


def load(
    product: Product,
    chip: Chip,
    banks: dict[str, Bank],
    largest: int,
    inputs: Sequence[int],
    outputs: Sequence[int],
) -> Loaded | None:
    """A product on a chip; None where compiled loops would not be exact, or know no such coupling.

    ``largest``: magnitude of its inputs; ``inputs``, ``outputs``: as in `as_driven`.
    """
    digital = not product.parts
    if (digital or not product.single) and not fits_integers(product.requant):
        return None
    if digital or (chip.ideal and product.lossless):
        return _whole(product, largest)
    driven = as_driven(product, chip, banks, inputs, outputs)
    if driven is None:
        return None
    whole = driven.product
    requant = NO_REQUANT if product.single else integers(whole.requant, whole.codes.shape[:2])
    return Loaded(_stack(driven, [_part(part, driven) for part in whole.parts]), requant, driven.coupling)


def _whole(product: Product, largest: int) -> Loaded | None:
    """The exact product, then the integer requantization."""
    codes = product.codes
    if int(np.abs(codes).sum(-1).max(initial=0)) * largest >= EXACT or not fits_integers(product.requant):
        return None
    groups, outputs, inputs = codes.shape
    full = np.ones((1, groups, outputs), np.float32)
    none = np.zeros((0, groups, 0, 0), np.float32)
    arrays = (
        np.ascontiguousarray(codes[None], np.float32),
        none,
        none,
        np.zeros(0, np.int64),
        np.array([[0, inputs]]),
        np.array([-1]),
        np.zeros(1, np.bool_),
        full,
        0 * full,
        -np.float32(LIMIT) * full,
        np.float32(LIMIT) * full,
        0 * full,
        np.ones(1, np.float32),
    )
    return Loaded(arrays, integers(product.requant, (groups, outputs)))


@dataclass(frozen=True)
class _Conversion:
    """Ratio, bias, lo, hi, bow (G, J) of one part, and its weight, variance, shared (G, J or tiles, I)."""

    numbers: tuple[NDArray[np.float64], ...]
    cells: tuple[NDArray[Any] | None, ...]


def _part(part: Part, driven: Driven) -> _Conversion:
    product, written = driven.product, driven.written[part.bank]
    groups, outputs = product.codes.shape[:2]
    columns = slice(part.slice * outputs, (part.slice + 1) * outputs)
    if part.step:
        shape = np.ones((groups, outputs))
        ratio, bias, lo, hi = shape / part.step, 0 * shape, part.lo * shape, part.hi * shape
    else:
        exact = product.requant
        numbers = [float(r) for r in exact.ratio], [float(b) for b in exact.bias], exact.lo, exact.hi
        ratio, bias, lo, hi = (np.asarray(x, np.float64).reshape(groups, outputs) for x in numbers)
    gain, offset, bow = _errors(written.converters, columns)
    cells = (
        written.weight[..., columns],
        None if written.variance is None else written.variance[..., columns],
        written.shared,
    )
    turned = tuple(None if x is None else np.ascontiguousarray(x.transpose(0, 2, 1), np.float32) for x in cells)
    return _Conversion((ratio * gain, bias + offset, lo, hi, bow + 0 * ratio), turned)


def _errors(converters: Converters | None, columns: slice) -> tuple[Any, Any, Any]:
    if converters is None:
        return 1.0, 0.0, 0.0
    some = converters.of(columns)
    return some.gain, some.offset, some.bow


def _stack(driven: Driven, parts: list[_Conversion]) -> Arrays:
    product, banks = driven.product, driven.banks
    spans = np.array([banks[part.bank].rows for part in product.parts])
    widest = max(part.cells[0].shape[2] for part in parts if part.cells[0] is not None)
    signed = np.array([driven.written[part.bank].signed for part in product.parts])
    groups, outputs = product.codes.shape[:2]
    cells = []
    for k in range(3):
        found = [part.cells[k] for part in parts]
        if any(x is None for x in found):
            cells.append(np.zeros((0, groups, 0, 0), np.float32))
            continue
        held = np.zeros((len(parts), groups, max(x.shape[1] for x in found if x is not None), widest), np.float32)
        for index, x in enumerate(found):
            assert x is not None
            held[index, :, : x.shape[1], : x.shape[2]] = x
        cells.append(held)
    numbers = (np.stack([part.numbers[k] for part in parts]).astype(np.float32) for k in range(5))
    planes = np.array([part.plane for part in product.parts])
    gains = np.array([part.gain for part in product.parts], np.float32)
    tile_of = tile_numbers(banks[product.parts[0].bank])[:outputs]
    return (*cells, tile_of, spans, planes, signed, *numbers, gains)


def tile_numbers(bank: Bank) -> NDArray[np.int64]:
    """Tile, within its group, of every output."""
    first = np.array([tile.outputs[0] for tile in bank.tiles if tile.group == 0])
    return np.asarray(np.searchsorted(first, np.arange(bank.outputs), side="right") - 1, np.int64)


def fits_integers(requant: Requant) -> bool:
    """Whether multiply, add and shift or divide realise it: no threshold table."""
    return not requant.thresholds


def integers(requant: Requant, shape: tuple[int, ...]) -> Arrays:
    """multiplier, offset, shift, divisor (0: shift), lo, hi."""
    divisor = np.where(requant.shift < 0, np.maximum(requant.divisor, 1), 0)
    numbers = requant.multiplier, requant.offset, np.maximum(requant.shift, 0), divisor, requant.lo, requant.hi
    return tuple(np.ascontiguousarray(np.asarray(x, np.int64).reshape(shape)) for x in numbers)


def state_arrays(kernel: Kernel, initial: NDArray[np.int64], coupling: Coupling | None) -> Arrays:
    """`recurrent`'s ``state``: keep, 2^-shift, dac_lo, dac_hi, lo, hi, initial, float32."""
    update, read_out = kernel.update, kernel.read_out
    inverse = np.exp2(-read_out.shift.astype(np.float64))
    numbers = update.keep, inverse, read_out.lo, read_out.hi, update.lo, update.hi, initial
    full = (np.broadcast_to(x, update.keep.shape) for x in numbers)
    return tuple(np.ascontiguousarray(x if coupling is None else coupling.gather(x), np.float32) for x in full)

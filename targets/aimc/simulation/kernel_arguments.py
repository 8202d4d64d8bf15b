"""The arrays that the compiled loops take: a product of a tile program on one chip instance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssmc.ir.requant import Requant
from ssmc.ir.rounding import FloatArray, IntArray
from ssmc.targets.aimc.lowering.mapping import Bank
from ssmc.targets.aimc.simulation.chip import Chip, Converters
from ssmc.targets.aimc.simulation.coupled import Coupling
from ssmc.targets.aimc.simulation.coupled_product import Driven, as_driven
from ssmc.targets.aimc.simulation.loop_arguments import ProductArrays, Real, RequantArrays, StateArrays
from ssmc.targets.aimc.simulation.stages import Kernel, Part, Product

EXACT = 1 << 24
LIMIT = float(EXACT)
NO_REQUANT = RequantArrays(*(np.zeros((0, 0), np.int64) for _ in RequantArrays._fields))


@dataclass(frozen=True)
class Loaded:
    """A product for `numba_kernels.convert`; groups that are driven at once are one."""

    product: ProductArrays
    converter: RequantArrays
    requant: RequantArrays
    coupling: Coupling | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(P, G, J)."""
        return tuple(self.product.ratio.shape)


def load(
    product: Product,
    chip: Chip,
    banks: dict[str, Bank],
    largest: IntArray,
    inputs: Sequence[int],
    outputs: Sequence[int],
) -> Loaded | None:
    """A product on a chip; None where compiled loops would not be exact, or know no such coupling.

    ``largest``: magnitudes of its inputs, (I,); ``inputs``, ``outputs``: as in `as_driven`.
    """
    digital = not product.parts
    if (digital or not product.single) and not fits_integers(product.requant):
        return None
    if digital or (chip.ideal and (product.lossless or product.converter is not None)):
        return _whole(product, largest)
    driven = as_driven(product, chip, banks, inputs, outputs)
    if driven is None:
        return None
    whole = driven.product
    requant = NO_REQUANT if product.single else integers(whole.requant, whole.codes.shape[:2])
    parts = [_part(part, driven, chip.noise.adc_noise) for part in whole.parts]
    return Loaded(_stack(driven, parts, chip.noise.adc_dnl), NO_REQUANT, requant, driven.coupling)


def _whole(product: Product, largest: IntArray) -> Loaded | None:
    """The exact product, then the integer requantization, behind that of the converter where there is one."""
    codes = product.codes
    requants = [requant for requant in (product.converter, product.requant) if requant is not None]
    if int((np.abs(codes) * largest).sum(-1).max(initial=0)) >= EXACT or not all(map(fits_integers, requants)):
        return None
    groups, outputs, inputs = codes.shape
    full = np.ones((1, groups, outputs), np.float32)
    none = np.zeros((0, groups, 0, 0), np.float32)
    arrays = ProductArrays(
        weight=np.ascontiguousarray(codes[None], np.float32),
        variance=none,
        shared=none,
        tile_of=np.zeros(0, np.int64),
        spans=np.array([[0, inputs]]),
        planes=np.array([-1]),
        signed=np.zeros(1, np.bool_),
        ratio=full,
        bias=0 * full,
        lo=-np.float32(LIMIT) * full,
        hi=np.float32(LIMIT) * full,
        bow=0 * full,
        fresh=0 * full,
        key=np.zeros(full.shape, np.uint32),
        uneven=np.zeros(1, np.float32),
        straight=np.ones(1, np.bool_),
        gain=full,
        live=np.asarray(codes[None].any(-1)),
    )
    converter = NO_REQUANT if product.converter is None else integers(product.converter, (groups, outputs))
    return Loaded(arrays, converter, integers(product.requant, (groups, outputs)))


class _Converter(NamedTuple):
    """Of one part, (G, J); `ProductArrays` says what each field is."""

    ratio: FloatArray
    bias: FloatArray
    lo: FloatArray
    hi: FloatArray
    bow: FloatArray
    fresh: FloatArray
    key: NDArray[np.uint32]
    gain: FloatArray


class _Conversion(NamedTuple):
    """One part: its converter, and its cells, (G, J, I) or, ``shared``, (G, tiles, I)."""

    converter: _Converter
    weight: Real
    variance: Real | None
    shared: Real | None


def _part(part: Part, driven: Driven, noise: float) -> _Conversion:
    product, written = driven.product, driven.written[part.bank]
    groups, outputs = product.codes.shape[:2]
    columns = slice(part.slice * outputs, (part.slice + 1) * outputs)
    one = np.ones((groups, outputs))
    exact = product.converter or product.requant
    numbers: tuple[Any, ...] = exact.ratio, exact.bias, exact.lo, exact.hi, one
    if part.step is not None:
        numbers = 1.0 / part.step, 0 * one, part.lo, part.hi, part.gain
    ratio, bias, lo, hi, weight = (np.array(x, np.float64).reshape(groups, outputs) for x in numbers)
    gain, offset, bow, key = _errors(written.converters, columns)
    variance, shared = written.variance, written.shared
    ratio = ratio * gain
    fresh = np.divide(noise, ratio, out=0 * one, where=ratio != 0) ** 2
    if noise and variance is None:
        variance = np.zeros_like(written.weight)
    return _Conversion(
        _Converter(ratio, bias + offset, lo, hi, bow + 0 * one, fresh, np.asarray(key + 0 * one, np.uint32), weight),
        _turned(written.weight[..., columns]),
        None if variance is None else _turned(variance[..., columns]),
        None if shared is None else _turned(shared),
    )


def _turned(cells: NDArray[Any]) -> Real:
    """(G, rows, columns) to (G, columns, rows)."""
    return np.ascontiguousarray(cells.transpose(0, 2, 1), np.float32)


def _errors(converters: Converters | None, columns: slice) -> tuple[Any, Any, Any, Any]:
    if converters is None:
        return 1.0, 0.0, 0.0, 0
    some = converters.of(columns)
    return some.gain, some.offset, some.bow, some.key


def _stack(driven: Driven, parts: list[_Conversion], uneven: float) -> ProductArrays:
    product, banks = driven.product, driven.banks
    groups, outputs = product.codes.shape[:2]
    converters = _Converter(*(np.stack(same) for same in zip(*(part.converter for part in parts), strict=True)))
    weight = _padded([part.weight for part in parts], groups, 0)
    inputs = weight.shape[3]
    variance = _padded([part.variance for part in parts], groups, inputs)
    shared = _padded([part.shared for part in parts], groups, inputs)
    return ProductArrays(
        weight=weight,
        variance=variance,
        shared=shared,
        tile_of=tile_numbers(banks[product.parts[0].bank])[:outputs],
        spans=np.array([banks[part.bank].rows for part in product.parts]),
        planes=np.array([part.plane for part in product.parts]),
        signed=np.array([driven.written[part.bank].signed for part in product.parts]),
        ratio=converters.ratio.astype(np.float32),
        bias=converters.bias.astype(np.float32),
        lo=converters.lo.astype(np.float32),
        hi=converters.hi.astype(np.float32),
        bow=converters.bow.astype(np.float32),
        fresh=converters.fresh.astype(np.float32),
        key=converters.key,
        uneven=np.full(1, uneven, np.float32),
        straight=np.full(1, not (uneven or converters.bow.any())),
        gain=converters.gain.astype(np.float32),
        live=_live(converters, weight, variance) | bool(uneven or shared.size),
    )


def _live(converters: _Converter, weight: Real, variance: Real) -> NDArray[np.bool_]:
    """Outputs (P, G, J) whose code can differ from 0: the column holds something, or the converter deviates at 0."""
    c = converters
    at_zero = (c.bias != 0) | (c.bow != 0) | (c.fresh != 0) | (c.lo > 0) | (c.hi < 0)
    return np.asarray(at_zero | weight.any(-1) | (variance.any(-1) if variance.size else False))


def _padded(found: Sequence[Real | None], groups: int, inputs: int) -> Real:
    """Cells of every part, (P, G, J or tiles, at least ``inputs``), padded with zeros; empty where a part has none."""
    known = [x for x in found if x is not None]
    if len(known) < len(found):
        return np.zeros((0, groups, 0, 0), np.float32)
    shape = max(x.shape[1] for x in known), max(inputs, *(x.shape[2] for x in known))
    held = np.zeros((len(known), groups, *shape), np.float32)
    for row, x in zip(held, known, strict=True):
        row[:, : x.shape[1], : x.shape[2]] = x
    return held


def tile_numbers(bank: Bank) -> NDArray[np.int64]:
    """Tile, within its group, of every output."""
    return np.asarray(np.searchsorted(bank.starts, np.arange(bank.outputs), side="right") - 1, np.int64)


def fits_integers(requant: Requant) -> bool:
    """Whether multiply, add and shift or divide realise it: no threshold table."""
    return not requant.thresholds


def integers(requant: Requant, shape: tuple[int, ...]) -> RequantArrays:
    """The rows of a requantization without thresholds, in ``shape``."""
    divisor = np.where(requant.shift < 0, np.maximum(requant.divisor, 1), 0)
    numbers = requant.multiplier, requant.offset, np.maximum(requant.shift, 0), divisor, requant.lo, requant.hi
    return RequantArrays(*(np.ascontiguousarray(np.asarray(x, np.int64).reshape(shape)) for x in numbers))


def state_arrays(kernel: Kernel, initial: NDArray[np.int64], coupling: Coupling | None) -> StateArrays:
    """The registers of a kernel; of groups that are driven at once, side by side."""
    update, read_out = kernel.update, kernel.read_out
    inverse = np.exp2(-read_out.shift.astype(np.float64))
    numbers = update.keep, inverse, read_out.lo, read_out.hi, update.lo, update.hi, initial
    full = (np.broadcast_to(x, update.keep.shape) for x in numbers)
    return StateArrays(*(np.ascontiguousarray(x if coupling is None else coupling.gather(x), np.float32) for x in full))

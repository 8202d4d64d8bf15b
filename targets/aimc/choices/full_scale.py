"""The full scale of every converter: in codes, in accumulator units, and in microampere and volt where they are known.

An accumulator unit is one level of a cell times one driver step: a code, or what the cells hold for it
(`MatrixPlan.factor`). With V the row voltage of the largest driver code d,

    microampere per unit = microsiemens per cell code x V / d

and a converter whose input range is U volt resolves U / 2^bits a code.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ssmc.hardware.model import Hardware
from ssmc.ir.rounding import FloatArray, IntArray
from ssmc.targets.aimc.lowering.conversion_plan import MatrixPlan
from ssmc.targets.aimc.lowering.partial_sums import Lowered
from ssmc.targets.base import Json


def full_scales(lowered: Lowered, hw: Hardware) -> list[Json]:
    """One entry for every conversion of an analog matrix; a list of G * out numbers, or one where all are equal."""
    return [
        {"matrix": plan.name, "part": part, **_entry(units, lo, hi, hw)}
        for plan in lowered.plans.values()
        if plan.kind != "digital"
        for part, (units, lo, hi) in enumerate(_converters(plan))
    ]


def _converters(plan: MatrixPlan) -> Iterator[tuple[FloatArray, IntArray, IntArray]]:
    """Accumulator units a code (0: the column adds nothing), smallest and largest code, of every conversion."""
    for part, step in zip(plan.matrix.parts, plan.steps, strict=True):
        yield step.ravel().astype(np.float64), part.lo.ravel(), part.hi.ravel()
    if not plan.matrix.parts:
        converter = plan.at_converter
        units = [abs(float(1 / ratio)) if ratio else 0.0 for ratio in converter.ratio]
        yield np.array(units), converter.lo, converter.hi


def _entry(units: FloatArray, lo: IntArray, hi: IntArray, hw: Hardware) -> Json:
    span = (hi - lo + 1) * units
    found: dict[str, NDArray[np.generic]] = {
        "accumulator_units": span,
        "first_code": lo,
        "last_code": hi,
        "units_per_code": units,
    }
    if hw.dac.read_v.value:
        largest = 1 if hw.dac.bit_serial else 1 << (hw.dac.bits - 1)
        found["full_scale_ua"] = span * hw.level_us * hw.dac.read_v.value / largest
    if hw.adc.input_v.value:
        found["full_scale_v"] = (hi - lo + 1.0) * hw.adc.input_v.value / (1 << hw.adc.bits)
    return {key: _list(numbers) for key, numbers in found.items()}


def _list(numbers: NDArray[np.generic]) -> list[float]:
    values: list[float] = numbers.tolist()
    return values[:1] if len(set(values)) == 1 else values

"""Energy and area of a converter from published laws, for files that give bits and rate instead of figures.

Each law returns (low, nominal, high). None of them scales with 2^bits: between 4 and 10 bits published converters
differ by 3x in energy and 8x in area (the ISAAC points), not by 64x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ssmc.errors import UsageError

Model = Literal["isaac", "murmann", "walden"]
Span = tuple[float, float, float]

ISAAC_POINTS: dict[int, tuple[float, float]] = {
    4: (0.79, 361), 5: (0.99, 477), 6: (1.20, 627), 7: (1.42, 845), 8: (1.667, 1200), 9: (1.969, 1828),
    10: (2.379, 3002),
}  # fmt: skip
ISAAC_NODE_NM = 32.0
WALDEN_FJ: Span = (6.1, 31.9, 222.0)
SURVEY_SPREAD = 6.4
FEWEST_BITS = 4


@dataclass(frozen=True)
class Figures:
    """One converter: picojoule a conversion, square micrometres, and where they are from."""

    energy_pj: Span
    area_um2: Span
    source: str


def figures(model: Model, bits: int, node_nm: float, rate_msps: float) -> Figures:
    """Energy and area of a converter.

    Raises:
        UsageError: SSMC-H06 where the law does not cover this number of bits or this node.
    """
    if model == "isaac":
        return _isaac(bits, node_nm)
    if bits < FEWEST_BITS:
        fact = f"is {bits}, the survey law holds from {FEWEST_BITS} bits on"
        raise UsageError("SSMC-H06", fact, 'give measured figures and model = "measured"', "adc.bits")
    hertz = rate_msps * 1e6
    fit = murmann_energy_pj(bits, node_nm, hertz)
    area = murmann_area_um2(fit, node_nm, hertz)
    areas = area, area, 3.5 * area
    if model == "murmann":
        spread = fit, fit, SURVEY_SPREAD * fit
        return Figures(
            spread, areas, f"Accelergy fit of the Murmann survey, {bits} b, {node_nm:g} nm, {rate_msps:g} MS/s"
        )
    low, nominal, high = (fom * 2.0**bits * 1e-3 for fom in WALDEN_FJ)
    return Figures(
        (low, nominal, high), areas, f"Walden, {WALDEN_FJ[1]:g} fJ a step (survey 2019-2025: p10 6.1, p50 31.9)"
    )


def murmann_energy_pj(bits: int, node_nm: float, hertz: float) -> float:
    """Accelergy's fit of the Pareto front of the Murmann ADC survey, picojoule a conversion.

    Source: accelergy-adc-plug-in model.py and adc_data/model.yaml.

    FOMS = min(213.7807 - 2.87190 ln f, 128.3068 + 3.22051 b); SNDR = 6.0206 b + 1.761;
    E = exp(26.04962 + 1.88004 ln nm - 2.82913 ln b - 1.47020) / (2 10^((FOMS - SNDR) / 10)).
    """
    foms = min(213.7807 - 2.87190 * math.log(hertz), 128.3068 + 3.22051 * bits)
    sndr = 6.0206 * bits + 1.761
    scale = math.exp(26.04962 + 1.88004 * math.log(node_nm) - 2.82913 * math.log(bits) - 1.47020)
    return scale / (2 * 10 ** ((foms - sndr) / 10))


def murmann_area_um2(energy_pj: float, node_nm: float, hertz: float) -> float:
    """Same source: ``exp(0.993279 ln nm + 0.180715 ln f + 0.299124 ln E + 1.346192)``."""
    return math.exp(
        0.993279 * math.log(node_nm) + 0.180715 * math.log(hertz) + 0.299124 * math.log(energy_pj) + 1.346192
    )


def _isaac(bits: int, node_nm: float) -> Figures:
    if bits not in ISAAC_POINTS or node_nm != ISAAC_NODE_NM:
        known = f"{min(ISAAC_POINTS)} to {max(ISAAC_POINTS)} bits at {ISAAC_NODE_NM:g} nm"
        fact = f"is {bits} at {node_nm:g} nm, the ISAAC points are for {known}"
        raise UsageError("SSMC-H06", fact, 'use model = "murmann"', "adc.bits")
    energy, area = ISAAC_POINTS[bits]
    source = f"ISAAC points (accelergy isaac_adc.csv), {bits} b, 32 nm; high: survey area at 1 GS/s"
    return Figures((energy, energy, energy), (area, area, 5 * area), source)

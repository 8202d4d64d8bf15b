"""Published figures of chips, with which presets are compared, and the composition of ISAAC's tile and chip.

Nothing here enters a cost. docs/fidelity.md says which of these figures were inputs of a preset.
"""

from __future__ import annotations

from dataclasses import dataclass

from ssmc.hardware.model import Hardware
from ssmc.hardware.peak import OPS_PER_MAC, peak


@dataclass(frozen=True)
class Point:
    """NeuRRAM at one precision: Wan et al. 2022, Fig. 12, digitised by CiMLoop (wan_nature_2022 _tests.py).

    ``split_fj``: femtojoule per operation of word lines (drivers), neurons and input pulses.
    """

    out_bits: int
    in_bits: int
    tops: float
    tops_per_w: float
    split_fj: dict[str, float]


def _point(out_bits: int, in_bits: int, tops: float, efficiency: float, *fj: float) -> Point:
    return Point(out_bits, in_bits, tops, efficiency, dict(zip(("dac", "neuron", "array"), fj, strict=True)))


NEURRAM = (
    _point(3, 1, 2.122, 43.08, 8.990, 10.62, 3.446),
    _point(4, 2, 1.793, 40.33, 8.271, 12.39, 3.956),
    _point(5, 3, 1.165, 23.09, 15.46, 20.12, 7.732),
    _point(6, 4, 0.7439, 15.95, 21.76, 29.11, 11.51),
    _point(8, 6, 0.4177, 8.257, 37.22, 52.48, 19.24),
    _point(10, 8, 0.2639, 6.437, 50.52, 75.86, 27.51),
)


@dataclass(frozen=True)
class Efficiency:
    """Of a chip, all its arrays; ``tops_per_mm2`` or ``ns`` of a product 0 where nothing is published."""

    tops: float
    tops_per_w: float
    tops_per_mm2: float = 0.0
    ns: float = 0.0


#: (preset, phases): JSSC 2022 abstract (throughput from 1.59 TOPS/mm2 and 1 GHz); Nature Electronics 2023 abstract
HERMES = {
    ("hermes", 1): Efficiency(1.008, 10.5, 1.59),
    ("hermes64", 1): Efficiency(63.1, 9.76, ns=133),
    ("hermes64", 4): Efficiency(16.1, 2.48, ns=521),
}


@dataclass(frozen=True)
class Isaac:
    """ISAAC Table I and text: what is published of a tile and of the chip (ISAAC-CE)."""

    tile_mw: float = 330.0
    tile_mm2: float = 0.372
    chip_w: float = 65.8
    chip_mm2: float = 85.4
    gops_per_mm2: float = 478.95
    gops_per_w: float = 627.5
    adc_share_of_power: float = 0.58
    adc_share_of_area: float = 0.31


ISAAC = Isaac()
IMAS, ARRAYS_PER_IMA, TILES = 12, 8, 168
IMA_REST_MW, IMA_REST_MM2 = 0.2 + 1.24 + 0.23, 0.00024 + 0.0021 + 0.00077
TILE_REST_MW, TILE_REST_MM2 = 20.7 + 7.0 + 42.0 / 4 + 0.52, 0.083 + 0.090 + 0.151 / 4 + 0.0006
LINK_W, LINK_MM2 = 10.4, 23.0
SLICES, CYCLES = 8, 16


@dataclass(frozen=True)
class Tile:
    """Power and area of an ISAAC tile, and the converters' share of them."""

    milliwatts: float
    mm2: float
    adc_share_of_power: float
    adc_share_of_area: float


@dataclass(frozen=True)
class Chip:
    """An ISAAC chip; operations of 16-bit weights and inputs."""

    watts: float
    mm2: float
    gops: float

    @property
    def gops_per_mm2(self) -> float:
        """Computational efficiency."""
        return self.gops / self.mm2

    @property
    def gops_per_w(self) -> float:
        """Power efficiency."""
        return self.gops / self.watts


def isaac_tile(hw: Hardware) -> Tile:
    """12 IMAs of 8 arrays at one product a cycle, and the published rest: shift-add, registers, eDRAM, bus, router."""
    arrays, array = IMAS * ARRAYS_PER_IMA, peak(hw, 1, hw.adc.bits, overlap=True)
    power = arrays * array.milliwatts + IMAS * IMA_REST_MW + TILE_REST_MW
    area = arrays * array.um2 * 1e-6 + IMAS * IMA_REST_MM2 + TILE_REST_MM2
    adc_mw = arrays * array.pj["adc"] / array.ns
    adc_mm2 = arrays * hw.adcs_per_array * hw.adc.area_um2.value * 1e-6
    return Tile(power, area, adc_mw / power, adc_mm2 / area)


def isaac_chip(hw: Hardware) -> Chip:
    """168 tiles and the published links; 8 columns a 16-bit weight, 16 cycles a 16-bit input."""
    tile, array = isaac_tile(hw), peak(hw, 1, hw.adc.bits, overlap=True)
    arrays = TILES * IMAS * ARRAYS_PER_IMA
    columns = (hw.array.columns - hw.reference_columns) // hw.cells_per_code
    gops = arrays * OPS_PER_MAC * hw.array.rows * columns / SLICES / CYCLES / array.ns
    return Chip(TILES * tile.milliwatts * 1e-3 + LINK_W, TILES * tile.mm2 + LINK_MM2, gops)

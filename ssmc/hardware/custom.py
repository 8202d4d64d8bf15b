"""Components of a chip that the tables of its file do not name: ``[[component]]`` with a rule of counting each.

A transimpedance amplifier, a refresh controller, a voltage reference: what costs energy per event, area per instance or
power while the chip is on. ``per`` says what is counted for the energy, ``on`` what has one of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from ssmc.hardware.components import HUGE, Quantity, Rule

TABLE = "component"
Per = Literal["drive", "cell", "column", "conversion", "mac", "step"]
On = Literal["chip", "array", "row", "column", "converter"]
PER: dict[Per, str] = {
    "drive": "a row that is driven, once",
    "cell": "a cell that is read, once",
    "column": "a column that is held after a product",
    "conversion": "a conversion",
    "mac": "a multiply-accumulate of the digital unit",
    "step": "a time step of the model's input",
}
ON: dict[On, str] = {
    "chip": "the chip",
    "array": "an array",
    "row": "a physical row of an array",
    "column": "a physical column of an array",
    "converter": "a converter",
}
RULES = {
    "energy_pj": Rule(float, 0, HUGE, (), "energy of one event"),
    "area_um2": Rule(float, 0, HUGE, (), "area of one instance"),
    "power_uw": Rule(float, 0, HUGE, (), "power of one instance while the chip is on"),
}
NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
#: names of the components that every file has
TAKEN = frozenset(
    {"dac", "dac_bit", "array", "array_bit", "sample_hold", "hold_bit", "hold_pulse", "adc", "adc_step", "shift_add"}
    | {"adder", "multiplier", "mac", "requantize", "table", "divider", "register", "buffer", "bus", "weights"}
    | {"digital_unit"}
)


@dataclass(frozen=True)
class Custom:
    """One component.

    Attributes:
        name: under which reports list it.
        per: what is counted for ``energy_pj``; None where it has none.
        on: what has one of it, for ``area_um2`` and ``power_uw``; None where it has neither.
        energy_pj, area_um2, power_uw: of one event or instance; None where the file does not say.
    """

    name: str
    per: Per | None = None
    on: On | None = None
    energy_pj: Quantity | None = None
    area_um2: Quantity | None = None
    power_uw: Quantity | None = None


def key_of(name: str, figure: str) -> str:
    """The key of a figure: ``component.NAME.energy_pj``."""
    return f"{TABLE}.{name}.{figure}"


def custom_data(found: Custom) -> dict[str, Any]:
    """The table of a component: `customs` reads it back."""
    data: dict[str, Any] = {"name": found.name}
    data |= {key: value for key in ("per", "on") if (value := getattr(found, key)) is not None}
    for key in RULES:
        figure: Quantity | None = getattr(found, key)
        if figure is not None:
            kind, _, text = figure.origin.partition(": ")
            data[key] = {"value": figure.value, "low": figure.low, "high": figure.high, kind: text}
    return data

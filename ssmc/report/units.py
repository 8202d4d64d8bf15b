"""Numbers as people read them. A cost key ends in its unit (``adc_pj``, ``latency_ns``, ``array_um2``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ssmc.ir.serialize import Json

#: unit suffix of a key -> the unit's ladder, each (size in the key's unit, symbol)
LADDERS: dict[str, tuple[tuple[float, str], ...]] = {
    "pj": ((1e12, "J"), (1e9, "mJ"), (1e6, "µJ"), (1e3, "nJ"), (1.0, "pJ"), (1e-3, "fJ")),
    "ns": ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"), (1e-3, "ps")),
    "uw": ((1e6, "W"), (1e3, "mW"), (1.0, "µW"), (1e-3, "nW")),
    "um2": ((1e6, "mm²"), (1.0, "µm²")),
    "mm2": ((1.0, "mm²"), (1e-6, "µm²")),
    "bits": ((1e6, "Mbit"), (1e3, "kbit"), (1.0, "bit")),
    "bytes": ((1024.0 * 1024, "MiB"), (1024.0, "KiB"), (1.0, "B")),
}

#: keys that name a row of a list
NAMES = ("name", "op", "matrix", "component", "instruction")


def unit_of(key: str) -> str:
    """The unit a key ends in, of `LADDERS`; empty where it is a plain number."""
    last = key.rsplit("_", 1)[-1].lower()
    return last if last in LADDERS else ""


def number(value: float, digits: int = 4) -> str:
    """A plain number: whole numbers with thin spaces, others with ``digits`` significant digits."""
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{int(value):,}".replace(",", "\u202f")
    return f"{value:,.0f}".replace(",", "\u202f") if 1000 <= abs(value) < 1e15 else f"{value:.{digits}g}"


def quantity(key: str, value: Any) -> str:
    """A value with the unit its key names, on the ladder step that reads best."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    unit = unit_of(key)
    if not unit or value == 0:
        return number(value) if not unit else f"0 {LADDERS[unit][-1][1]}"
    size, symbol = next((step for step in LADDERS[unit] if abs(value) >= step[0]), LADDERS[unit][-1])
    return f"{number(value / size)} {symbol}"


def words(key: str) -> str:
    """``energy_pj`` to ``energy``; bits and bytes say what they count and stay."""
    unit = unit_of(key)
    stem = key.removesuffix(f"_{unit}") if unit not in {"bits", "bytes"} else key
    return stem.replace("_", " ").strip()


def flatten(data: Json, prefix: str = "") -> Iterator[tuple[str, int | float]]:
    """Every number of nested JSON by its dotted key, in key order."""
    for key in sorted(data):
        value, path = data[key], f"{prefix}{key}"
        if isinstance(value, dict):
            yield from flatten(value, f"{path}.")
        elif isinstance(value, list):
            yield from flatten(_by_name(value), f"{path}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield path, value


def _by_name(rows: list[Any]) -> Json:
    """Rows by what they are called; by position where that does not tell them apart."""
    named = {"/".join(str(row[k]) for k in NAMES if k in row): row for row in rows if isinstance(row, dict)}
    return named if len(named) == len(rows) else {f"{i:03d}": row for i, row in enumerate(rows)}

"""One chip from another: keys set by hand, and the figures that they leave behind.

A figure of a hardware file holds for other keys of it: the energy of a conversion for the converter's bits, the area of
an array for its rows and columns. Where such a key is set and the figure is not, the figure follows a law where there
is one (a converter with ``adc.model``, an array's cells, logic between two CMOS nodes); else it stays, is marked in
its origin, and is named.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ssmc.errors import SsmcWarning, UsageError
from ssmc.hardware.components import Rule
from ssmc.hardware.file import SCALED, hardware_data, hardware_from_data
from ssmc.hardware.model import Hardware, rules, sections
from ssmc.hardware.node_scaling import NODES_NM, SUPPLY_V

NODE, SUPPLY = "technology.node_nm", "technology.supply_v"
CELLS = ("array.rows", "array.columns")
BY_HAND = "set by hand"
CONVERTER = ("adc.energy_pj", "adc.area_um2")
#: figure -> keys, besides the node, that it is for
HOLDS_FOR: dict[str, tuple[str, ...]] = {
    "adc.energy_pj": ("adc.bits",),
    "adc.area_um2": ("adc.bits", "adc.rate_msps"),
    "dac.energy_pj": ("dac.bits", "dac.bit_serial"),
    "dac.area_um2": ("dac.bits", "dac.bit_serial"),
    "array.area_um2": CELLS,
    "array.leakage_uw": (*CELLS, "adc.columns_per_adc"),
    "array.read_latency_ns": ("array.rows",),
    "array.read_energy_fj_per_cell": ("cell.g_max_us", "array.read_latency_ns"),
    "digital.area_um2": ("digital.lanes",),
    "digital.leakage_uw": ("digital.lanes",),
}
#: tables whose energies, areas and times are for the node; cells and arrays are device physics
AT_NODE = ("dac", "adc", "sample_hold", "shift_add", "digital", "memory")


@dataclass(frozen=True)
class Changed:
    """A chip with keys set, and the figures that may no longer hold.

    Attributes:
        hardware: the chip; origins say what was set, scaled, or left as it was.
        stale: by figure, the values of the keys that it is for, such as ``adc.bits = 8``.
    """

    hardware: Hardware
    stale: dict[str, str]


def read_settings(pairs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """``table.key=value`` or ``table.key=low:value:high``, as entries of a hardware file by ``table.key``.

    Raises:
        UsageError: SSMC-H03 no such key, SSMC-H05 a value of another type, SSMC-H11 no pair, or a key given twice.
    """
    found: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        key, equals, text = (part.strip() for part in pair.partition("="))
        if not key:
            raise UsageError("SSMC-H11", f"--set {pair} names no key", "write --set adc.bits=6")
        if not equals or not text:
            rule = _rule(key)
            remedy = f"write --set {key}=VALUE, {rule.allowed()}{_interval(rule)}"
            raise UsageError("SSMC-H11", f"--set {pair} has no value", remedy)
        if key in found:
            raise UsageError("SSMC-H11", f"--set {key} is given twice", "give it once")
        found[key] = _entry(key, text)
    return found


def changed(hardware: Hardware, pairs: Sequence[str]) -> Changed:
    """The chip with some keys set.

    Raises:
        UsageError: as `read_settings`, and as `ssmc.hardware.file.load_hardware` for what the keys mean together.
    """
    given = read_settings(pairs)
    if not given:
        return Changed(hardware, {})
    data = hardware_data(hardware)
    data["name"] = f"{hardware.name} ({', '.join(pairs)})"
    for key, entry in given.items():
        section, name = key.split(".")
        data[section][name] = entry
    moved = {key for key, entry in given.items() if entry["value"] != _value(hardware, key)}
    followed = set(_follow_laws(hardware, data, moved) if moved else ())
    stale = dict(_stale(hardware, moved, {*given, *followed}))
    for key, why in stale.items():
        section, name = key.split(".")
        entry = data[section][name]
        kind = "source" if "source" in entry else "assumed"
        entry[kind] = f"{entry[kind]}; for {why}"
    return Changed(hardware_from_data(data, data["name"]), stale)


def with_settings(hardware: Hardware, pairs: Sequence[str]) -> Hardware:
    """The chip with some keys set; warns of figures that may no longer hold. Raises as `changed`."""
    found = changed(hardware, pairs)
    by_key: dict[str, list[str]] = {}
    for figure, why in found.stale.items():
        by_key.setdefault(why, []).append(figure)
    for why, figures in by_key.items():
        text = f"{', '.join(figures)}: still {'the figure' if len(figures) == 1 else 'figures'} for {why}; set them too"
        warnings.warn(text, SsmcWarning, stacklevel=2)
    return found.hardware


def _entry(key: str, text: str) -> dict[str, Any]:
    rule = _rule(key)
    parts = text.split(":") if rule.kind is float else [text]
    try:
        values = [_read(rule, part.strip()) for part in parts]
    except ValueError:
        values = []
    if len(values) not in (1, 3):
        raise UsageError("SSMC-H05", f"is {text!r}", f"write {rule.allowed()}{_interval(rule)}", key)
    entry = {"value": values[len(values) // 2], "assumed": BY_HAND}
    return entry if rule.kind is not float else {**entry, "low": values[0], "high": values[-1]}


def _interval(rule: Rule) -> str:
    return ", or low:value:high" if rule.kind is float else ""


def _rule(key: str) -> Rule:
    section, _, name = key.partition(".")
    if section in sections() and name in rules(section):
        return rules(section)[name]
    known = [f"{table}.{rule}" for table in sections() for rule in rules(table)]
    near = difflib.get_close_matches(key, known, 1, 0.5)
    hint = f"did you mean {near[0]}?" if near else "ssmc hardware show taox64 lists the keys"
    raise UsageError("SSMC-H03", "is not a key", hint, key)


def _read(rule: Rule, text: str) -> Any:
    if rule.kind is bool:
        if text not in ("true", "false"):
            raise ValueError(text)
        return text == "true"
    return rule.kind(text)


def _value(hardware: Hardware, key: str) -> Any:
    section, name = key.split(".")
    value = getattr(getattr(hardware, section), name)
    return getattr(value, "value", value)


def _follow_laws(old: Hardware, data: dict[str, Any], moved: set[str]) -> Iterator[str]:
    """Scale in ``data`` what follows a law; yields the keys that need no mark."""
    if data["adc"]["model"]["value"] != "measured":
        for name in ("energy_pj", "area_um2"):
            if data["adc"][name].get("assumed") != BY_HAND:
                del data["adc"][name]  # the law gives it anew
        yield from CONVERTER
    if moved & set(CELLS):
        before, now = (rows * columns for rows, columns in (_shape(old), _new_shape(data)))
        if _scale(data["array"]["area_um2"], now / before, "per cell"):
            yield "array.area_um2"
    if NODE in moved or SUPPLY in moved:
        yield from _to_node(old, data)


def _shape(hardware: Hardware) -> tuple[int, int]:
    return hardware.array.rows, hardware.array.columns


def _new_shape(data: dict[str, Any]) -> tuple[int, int]:
    return data["array"]["rows"]["value"], data["array"]["columns"]["value"]


def _scale(entry: dict[str, Any], factor: float, how: str) -> bool:
    """Multiply a figure, unless it was set by hand."""
    if entry.get("assumed") == BY_HAND:
        return False
    for end in ("low", "value", "high"):
        entry[end] *= factor
    kind = "source" if "source" in entry else "assumed"
    entry[kind] = f"{entry[kind]}; x {factor:.4g}, {how}"
    return True


def _to_node(old: Hardware, data: dict[str, Any]) -> Iterator[str]:
    """Energies and areas of logic at another node: by the published tables, or, where these do not reach, C V^2."""
    at, to = old.technology, data["technology"]
    before, after = (at.node_nm.value, at.supply_v.value), (to["node_nm"]["value"], to["supply_v"]["value"])
    for section in SCALED:
        for name, entry in data[section].items():
            energy = "energy" in name
            if not (energy or "area" in name) or entry.get("assumed") == BY_HAND or not entry["high"]:
                continue
            if _tables_reach(before, after, energy):
                entry |= {"from_nm": before[0]} | ({"from_v": before[1]} if energy else {})
            else:
                _scale(entry, *_classical(before, after, energy))
            yield f"{section}.{name}"


def _tables_reach(before: tuple[float, float], after: tuple[float, float], energy: bool) -> bool:
    nodes = all(min(NODES_NM) <= at[0] <= max(NODES_NM) for at in (before, after))
    return nodes and (not energy or all(SUPPLY_V[0] <= at[1] <= SUPPLY_V[1] for at in (before, after)))


def _classical(before: tuple[float, float], after: tuple[float, float], energy: bool) -> tuple[float, str]:
    """Energy with capacitance and squared supply, area with the squared node (Dennard et al., JSSC 1974)."""
    shrink = after[0] / before[0]
    if not energy:
        return shrink**2, "node squared"
    if not (before[1] and after[1]):
        return shrink, "node, supply not known"
    return shrink * (after[1] / before[1]) ** 2, "node times supply squared"


def _stale(old: Hardware, moved: set[str], fresh: set[str]) -> Iterator[tuple[str, str]]:
    """Figures that are for keys that moved, are not 0, and were neither set nor scaled."""
    for quantity in old.quantities():
        key, (section, name) = quantity.key, quantity.key.split(".")
        if key in fresh or not quantity.high:
            continue
        at_node = section in AT_NODE and any(word in name for word in ("energy", "area", "_ns", "mhz", "msps"))
        keys = [k for k in (*HOLDS_FOR.get(key, ()), *((NODE,) if at_node else ())) if k in moved]
        if keys:
            yield key, ", ".join(f"{k} = {_written(_value(old, k))}" for k in keys)


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()

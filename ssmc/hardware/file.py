"""The hardware file: TOML to frozen dataclasses, strictly.

Every key is a table ``{ value = .., low = .., high = .., source = ".." }`` or one with ``assumed = "why"``.
A file with an unknown, missing or out-of-range key is refused: a cost figure is worth what its inputs are.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssmc.entry_points import Registry
from ssmc.hardware.adc_models import figures
from ssmc.hardware.checks import check_together, refuse
from ssmc.hardware.components import NOT_GIVEN, Quantity, Rule
from ssmc.hardware.custom import TABLE, custom_data
from ssmc.hardware.model import Hardware, rules, sections
from ssmc.hardware.node_scaling import NODES_NM, SOURCE, SUPPLY_V, area_factor, energy_factor
from ssmc.hardware.read_custom import customs
from ssmc.reading import read_text

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

SCHEMA = "ssmc.hardware/1"
PRESETS = Path(__file__).parent / "presets"
HEADER = ("schema", "name", "description")
ENTRY = ("value", "low", "high", "source", "assumed", "from_nm", "from_v")
SCALED = ("shift_add", "digital", "memory")


def preset_names() -> tuple[str, ...]:
    """Names of the shipped hardware files."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.toml")))


def known_names() -> tuple[str, ...]:
    """Names of the shipped hardware files, then of those that installed packages add."""
    return _registry().names()


def _registry() -> Registry:
    return Registry("ssmc.hardware", "hardware preset", preset_names())


def load_hardware(name_or_path: str | Path) -> Hardware:
    """A preset by name, shipped or of an installed package, or the user's own file.

    Raises:
        UsageError: SSMC-H01 no such preset or file, SSMC-H02 not TOML or another schema, SSMC-H03 unknown key,
            SSMC-H04 missing key, SSMC-H05 wrong type, SSMC-H06 not allowed, SSMC-H07 neither source nor assumed,
            SSMC-H08 keys that contradict each other, SSMC-H09 implausible figures (a wrong unit), SSMC-U40 two
            packages provide the preset, SSMC-U41 the package that provides it is broken.
    """
    path = _find(name_or_path)
    return parse_hardware(read_text(path, "SSMC-H01", "give a readable TOML file"), path.name)


def parse_hardware(text: str, file: str = "hardware.toml") -> Hardware:
    """Hardware from the text of a file; errors name ``file``. Raises as `load_hardware`."""
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as cause:  # ValueError: TOMLDecodeError, or a number of too many digits
        refuse("SSMC-H02", file, f"is not TOML ({cause})", "correct the syntax")
    return hardware_from_data(data, file)


def hardware_from_data(data: dict[str, Any], file: str) -> Hardware:
    """Hardware from parsed TOML, or from what `hardware_data` wrote. Raises as `load_hardware`."""
    if data.get("schema") != SCHEMA:
        refuse("SSMC-H02", file, f"has schema {data.get('schema')!r}", f'this ssmc reads schema = "{SCHEMA}"')
    _check_keys(file, "", {key: value for key, value in data.items() if key != TABLE}, (*HEADER, *sections()))
    for key in HEADER[1:]:
        if not isinstance(data[key], str) or not data[key]:
            refuse("SSMC-H05", f"{file}: {key}", f"is {data[key]!r}", "write a text")
    data = _with_adc_model(file, data)
    origins: dict[str, str] = {}
    at = Node(*(_number(file, data, f"technology.{key}") for key in ("node_nm", "supply_v")))
    tables = {name: _section(file, name, data[name], origins, at) for name in sections()}
    own = customs(file, data.get(TABLE, []), lambda key, entry, rule: _entry(file, key, entry, rule, origins, at))
    hardware = Hardware(name=data["name"], description=data["description"], origins=origins, customs=own, **tables)
    check_together(file, hardware)
    return hardware


def hardware_data(hardware: Hardware) -> dict[str, Any]:
    """The hardware as the tables of its file: `hardware_from_data` reads them back."""
    data: dict[str, Any] = {"schema": SCHEMA, "name": hardware.name, "description": hardware.description}
    for section in sections():
        table = getattr(hardware, section)
        data[section] = {
            f.name: _written(f"{section}.{f.name}", getattr(table, f.name), hardware) for f in fields(table)
        }
    if hardware.customs:
        data[TABLE] = [custom_data(one) for one in hardware.customs]
    return data


def entries(hardware: Hardware) -> dict[str, dict[str, Any]]:
    """Every key with what its file says: ``value``, and ``low`` and ``high`` where it is physical."""
    data = hardware_data(hardware)
    tables = {name: table for name, table in data.items() if isinstance(table, dict)}
    for one in data.get(TABLE, []):
        name = one.pop("name")
        tables[f"{TABLE}.{name}"] = {
            key: {"value": rule} if isinstance(rule, str) else rule for key, rule in one.items()
        }
    return {f"{name}.{key}": entry for name, table in tables.items() for key, entry in table.items()}


def _written(key: str, value: Any, hardware: Hardware) -> dict[str, Any]:
    kind, _, text = hardware.origins[key].partition(": ")
    if isinstance(value, Quantity):
        return {"value": value.value, "low": value.low, "high": value.high, kind: text}
    return {"value": value, kind: text}


def _find(name_or_path: str | Path) -> Path:
    entry = _registry().find(str(name_or_path))
    if entry is not None:
        return _path_of(entry)
    if str(name_or_path) in preset_names():
        return PRESETS / f"{name_or_path}.toml"
    path = Path(name_or_path)
    if path.suffix != ".toml" and not path.exists():
        known = ", ".join(known_names())
        refuse("SSMC-H01", str(name_or_path), "is no preset", f"use one of {known}, or a file that ends in .toml")
    return path


def _path_of(entry: EntryPoint) -> Path:
    """The file of a package's preset: its entry point names a variable that holds the path."""
    found = _registry().load(entry)
    if not isinstance(found, str | os.PathLike):
        raise _registry().unusable(entry, "is no path of a hardware file")
    return Path(found)


@dataclass(frozen=True)
class Node:
    """Where a file's logic is: node and supply."""

    nm: float
    supply_v: float


def _section(file: str, section: str, table: Any, origins: dict[str, str], at: Node) -> Any:
    if not isinstance(table, dict):
        refuse("SSMC-H05", f"{file}: {section}", "is not a table", f"write [{section}]")
    allowed = rules(section)
    _check_keys(file, section, table, allowed)
    entries = {key: table.get(key, _absent(rule)) for key, rule in allowed.items()}
    values = {key: _entry(file, f"{section}.{key}", entries[key], rule, origins, at) for key, rule in allowed.items()}
    return sections()[section](**values)


def _absent(rule: Rule) -> dict[str, Any]:
    return {"value": rule.default, "assumed": NOT_GIVEN}


def _with_adc_model(file: str, data: dict[str, Any]) -> dict[str, Any]:
    """The [adc] table with energy and area from the law it names, where it names one.

    Refuses figures in addition to a law: two sources of one number contradict each other sooner or later.
    """
    adc = data.get("adc")
    if not isinstance(adc, dict):
        return data
    model = adc.get("model")
    law = model.get("value") if isinstance(model, dict) else None
    if law not in ("isaac", "murmann", "walden"):
        return data
    node, bits, rate = (_number(file, data, key) for key in ("technology.node_nm", "adc.bits", "adc.rate_msps"))
    found = figures(law, int(bits), node, rate)
    made = {}
    for key, (low, value, high) in (("energy_pj", found.energy_pj), ("area_um2", found.area_um2)):
        made[key] = {"value": value, "low": low, "high": high, "source": found.source}
        if key in adc and adc[key] != made[key]:
            refuse("SSMC-H08", f"{file}: adc.{key}", f'is given beside adc.model = "{law}"', "remove one of them")
    return {**data, "adc": {**adc, **made}}


def _number(file: str, data: dict[str, Any], key: str) -> float:
    section, name = key.split(".")
    table, rule = data.get(section), rules(section)[name]
    entry = table.get(name, _absent(rule)) if isinstance(table, dict) else {}
    return float(_checked(f"{file}: {key}", entry.get("value") if isinstance(entry, dict) else entry, rule))


def _check_keys(file: str, section: str, table: dict[str, Any], allowed: Iterable[str]) -> None:
    allowed = list(allowed)
    prefix = f"{section}." if section else ""
    for key in table:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else f"allowed are {', '.join(allowed)}"
            refuse("SSMC-H03", f"{file}: {prefix}{key}", "is not a key", hint)
    optional = [key for key, rule in rules(section).items() if rule.default is not None] if section else []
    for key in allowed:
        if key not in table and key not in optional:
            rule = rules(section)[key] if section and section in sections() and key in rules(section) else None
            what = f"add it: {rule.meaning}, {rule.allowed()}" if rule else "add it"
            refuse("SSMC-H04", f"{file}: {prefix}{key}", "is missing", what)


def _entry(file: str, key: str, entry: Any, rule: Rule, origins: dict[str, str], at: Node) -> Any:
    where = f"{file}: {key}"
    if not isinstance(entry, dict) or "value" not in entry:
        refuse("SSMC-H05", where, f"is {entry!r}", 'write { value = .., source = ".." } or { .., assumed = "why" }')
    for name in entry:
        if name not in ENTRY:
            refuse("SSMC-H03", f"{where}.{name}", "is not a key", f"allowed are {', '.join(ENTRY)}")
    origins[key] = _origin(where, entry)
    value = _checked(where, entry["value"], rule)
    if rule.kind is not float:
        if "low" in entry or "high" in entry:
            refuse("SSMC-H03", where, "is structural and has no low or high", "remove them")
        return value
    low, high = (_checked(f"{where}.{end}", entry.get(end, value), rule) for end in ("low", "high"))
    if not low <= value <= high:
        refuse("SSMC-H08", where, f"has low {low:g}, value {value:g}, high {high:g}", "order them low <= value <= high")
    factor = 1.0
    if "from_nm" in entry or "from_v" in entry:
        factor, how = _from_node(where, key, entry, at)
        origins[key] += how
    return Quantity(factor * value, factor * low, factor * high, key, origins[key])


def _from_node(where: str, key: str, entry: dict[str, Any], at: Node) -> tuple[float, str]:
    """The factor for a figure of another node, and the text that its origin gets."""
    section, _, name = key.rpartition(".")
    energy = "energy" in name
    if section not in SCALED or not (energy or "area" in name):
        fact = "is not the energy or area of logic, so from_nm does not scale it"
        refuse("SSMC-H08", where, fact, f"remove it; it is for energies and areas of {', '.join(SCALED)}")
    nodes = Rule(float, min(NODES_NM), max(NODES_NM), (), "")
    old, new = _checked(f"{where}.from_nm", entry.get("from_nm"), nodes), _checked(f"{where} to node", at.nm, nodes)
    if not energy:
        if "from_v" in entry:
            refuse("SSMC-H08", f"{where}.from_v", "is given for an area", "remove it")
        factor = area_factor(old, new)
        return factor, f"; {old:g} nm to {new:g} nm: x {factor:.3g} ({SOURCE})"
    supplies = Rule(float, *SUPPLY_V, (), "")
    before = _checked(f"{where}.from_v", entry.get("from_v"), supplies)
    after = _checked(f"{where} to technology.supply_v", at.supply_v, supplies)
    factor = energy_factor(old, before, new, after)
    return factor, f"; {old:g} nm at {before:g} V to {new:g} nm at {after:g} V: x {factor:.3g} ({SOURCE})"


def _origin(where: str, entry: dict[str, Any]) -> str:
    given = [name for name in ("source", "assumed") if isinstance(entry.get(name), str) and entry[name].strip()]
    if len(given) != 1:
        refuse(
            "SSMC-H07", where, "needs exactly one of source and assumed", 'add source = "where from" or assumed = "why"'
        )
    return f"{given[0]}: {entry[given[0]].strip()}"


def _checked(where: str, value: Any, rule: Rule) -> Any:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    right = numeric if rule.kind is float else type(value) is rule.kind
    if not right:
        refuse("SSMC-H05", where, f"is {value!r}", f"write {rule.allowed()}")
    inside = value in rule.choices if rule.kind is str else rule.kind is bool or rule.lo <= value <= rule.hi
    if not inside:
        refuse("SSMC-H06", where, f"is {value!r}", f"allowed is {rule.allowed()}")
    return float(value) if rule.kind is float else value

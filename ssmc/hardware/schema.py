"""Files generated from the dataclasses of the hardware file: JSON schema, tables of keys, a commented template.

``python -m ssmc.hardware.schema`` writes docs/hardware.schema.json and the tables in docs/hardware.md anew; a test
fails where they are not what it would write.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssmc.hardware.components import NOT_GIVEN, Quantity, Rule
from ssmc.hardware.custom import NAME, ON, PER, RULES, TABLE, Custom, custom_data
from ssmc.hardware.file import SCALED, SCHEMA, load_hardware, preset_names
from ssmc.hardware.model import Hardware, rules, sections
from ssmc.hardware.node_scaling import NODES_NM, SUPPLY_V

DOCS = Path(__file__).resolve().parents[2] / "docs"
BEGIN, END = "<!-- keys: made by python -m ssmc.hardware.schema -->", "<!-- end of keys -->"
LAWS = ("energy_pj", "area_um2")
OWN = f"""\
# A component that no table names (docs/hardware.md); as many as there are.
# [[{TABLE}]]
# name = "tia"
# per = "column"  # counted for the energy: {", ".join(PER)}
# energy_pj = {{ value = 0.1, assumed = "template" }}
# on = "column"  # has one, for area and power: {", ".join(ON)}
# area_um2 = {{ value = 50, assumed = "template" }}
# power_uw = {{ value = 0.01, assumed = "template" }}"""
JSON_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string"}


def hardware_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of the hardware file; consistency of keys is checked at load only."""
    tables = {name: _table_schema(name) for name in sections()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ssmc hardware file",
        "type": "object",
        "additionalProperties": False,
        "required": ["schema", "name", "description", *tables],
        "properties": {
            "schema": {"const": SCHEMA},
            "name": {"type": "string", "minLength": 1},
            "description": {"type": "string", "minLength": 1},
            **tables,
            TABLE: {"type": "array", "items": _custom_schema()},
        },
    }


def _table_schema(section: str) -> dict[str, Any]:
    found = rules(section)
    by_law = LAWS if section == "adc" else ()
    required = [key for key, rule in found.items() if rule.default is None and key not in by_law]
    return {
        "type": "object",
        "description": _summary(section),
        "additionalProperties": False,
        "required": required,
        "properties": {key: _entry_schema(rule, section in SCALED) for key, rule in found.items()},
    }


def _custom_schema() -> dict[str, Any]:
    """Of one ``[[component]]``; which rule goes with which figure is checked at load only."""
    return {
        "type": "object",
        "description": str(Custom.__doc__).strip().splitlines()[0],
        "additionalProperties": False,
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "pattern": f"^{NAME.pattern}$"},
            "per": {"type": "string", "enum": list(PER)},
            "on": {"type": "string", "enum": list(ON)},
            **{key: _entry_schema(rule, False) for key, rule in RULES.items()},
        },
    }


def _entry_schema(rule: Rule, scaled: bool) -> dict[str, Any]:
    value: dict[str, Any] = {"type": JSON_TYPES[rule.kind]}
    if rule.kind is str:
        value["enum"] = list(rule.choices)
    elif rule.kind is not bool:
        value |= {"minimum": rule.lo, "maximum": rule.hi}
    text = {"type": "string", "minLength": 1}
    ends = {"low": value, "high": value} if rule.kind is float else {}
    if scaled and rule.kind is float:
        ends["from_nm"] = {"type": "number", "minimum": min(NODES_NM), "maximum": max(NODES_NM)}
        ends["from_v"] = {"type": "number", "minimum": SUPPLY_V[0], "maximum": SUPPLY_V[1]}
    return {
        "type": "object",
        "description": rule.meaning,
        "additionalProperties": False,
        "required": ["value"],
        "properties": {"value": value, **ends, "source": text, "assumed": text},
        "oneOf": [{"required": ["source"]}, {"required": ["assumed"]}],
    }


def schema_text() -> str:
    """docs/hardware.schema.json."""
    return json.dumps(hardware_schema(), indent=1, sort_keys=True) + "\n"


def key_tables() -> str:
    """The tables of keys of docs/hardware.md: what is allowed, what it means, what the presets say."""
    presets = [load_hardware(name) for name in preset_names()]
    return "\n".join(line for section in sections() for line in _key_table(section, presets))


def _key_table(section: str, presets: list[Hardware]) -> Iterator[str]:
    yield from (f"### [{section}]", "", _summary(section), "")
    yield f"| key | allowed | meaning | {' | '.join(hw.name for hw in presets)} |"
    yield "|---" * (3 + len(presets)) + "|"
    for key, rule in rules(section).items():
        values = (_shown(hw, section, key, rule) for hw in presets)
        default = "" if rule.default is None else f" (default {_literal(rule.default)})"
        yield f"| `{section}.{key}` | {rule.allowed()}{default} | {rule.meaning} | {' | '.join(values)} |"
    yield ""


def _shown(hw: Hardware, section: str, key: str, rule: Rule) -> str:
    value = getattr(getattr(hw, section), key)
    mark = " *a*" if hw.origins[f"{section}.{key}"].startswith("assumed") else ""
    if not isinstance(value, Quantity):
        return "–" if value == rule.default else _literal(value).strip('"') + mark
    if value.value == value.high == rule.default:
        return "–"
    span = "" if value.low == value.high else f" ({value.low:g} to {value.high:g})"
    return f"{value.value:g}{span}{mark}"


def template() -> str:
    """A hardware file to fill in: every key with what it means and what is allowed, values of a small made-up chip."""
    example = load_hardware("taox64")
    lines = [
        "# A hardware file for ssmc (docs/hardware.md). Replace every value by that of your chip, and every",
        '# `assumed = "why"` by `source = "where it is published"` where you have one. Physical keys take low, high.',
        f'schema = "{SCHEMA}"',
        'name = "my-chip"',
        'description = "what it is, in one line"',
    ]
    for section in sections():
        lines += ["", f"[{section}]  # {_summary(section)}"]
        for key, rule in rules(section).items():
            optional = "" if rule.default is None else "# "
            lines += _meaning(rule)
            value = getattr(getattr(example, section), key)
            lines.append(f'{optional}{key} = {{ {_figures(value, short=True)}, assumed = "template" }}')
    lines += ["", *OWN.splitlines()]
    return "\n".join(lines) + "\n"


def file_text(hardware: Hardware) -> str:
    """The file of a chip: reading it gives the chip back; keys that the chip does without are commented out."""
    header = {"schema": SCHEMA, "name": hardware.name, "description": hardware.description}
    lines = [f"{key} = {_quoted(text)}" for key, text in header.items()]
    by_law = LAWS if hardware.adc.model != "measured" else ()
    for section in sections():
        lines += ["", f"[{section}]  # {_summary(section)}"]
        for key, rule in rules(section).items():
            if section == "adc" and key in by_law:
                continue
            kind, _, text = hardware.origins[f"{section}.{key}"].partition(": ")
            absent = "# " if text == NOT_GIVEN else ""
            value = getattr(getattr(hardware, section), key)
            lines += _meaning(rule)
            lines.append(f"{absent}{key} = {{ {_figures(value)}, {kind} = {_quoted(text)} }}")
    for one in hardware.customs:
        lines += ["", f"[[{TABLE}]]", *_custom_lines(one)]
    return "\n".join(lines) + "\n"


def _custom_lines(one: Custom) -> Iterator[str]:
    for key, value in custom_data(one).items():
        if isinstance(value, dict):
            kind, _, text = getattr(one, key).origin.partition(": ")
            yield f"{key} = {{ {_figures(getattr(one, key))}, {kind} = {_quoted(text)} }}"
        else:
            yield f"{key} = {_quoted(value)}"


def _meaning(rule: Rule) -> list[str]:
    return textwrap.wrap(f"{rule.meaning}; {rule.allowed()}", 100, initial_indent="# ", subsequent_indent="#   ")


def _figures(value: Any, short: bool = False) -> str:
    """``value = ..``, with the ends of the interval of a physical key; every digit, or ``short``."""
    if not isinstance(value, Quantity):
        return f"value = {_literal(value)}"
    ends = {"value": value.value, "low": value.low, "high": value.high}
    return ", ".join(f"{end} = {number:g}" if short else f"{end} = {number!r}" for end, number in ends.items())


def _quoted(text: str) -> str:
    """A TOML basic string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else f"{value:g}"


def _summary(section: str) -> str:
    return str(sections()[section].__doc__).strip().splitlines()[0]


def with_tables(text: str) -> str:
    """A page with its key tables made anew."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{key_tables()}\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Write both files."""
    (DOCS / "hardware.schema.json").write_text(schema_text(), encoding="utf-8")
    page = DOCS / "hardware.md"
    page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

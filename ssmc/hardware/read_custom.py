"""Reading ``[[component]]`` of a hardware file (`ssmc.hardware.custom`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ssmc.hardware.checks import refuse
from ssmc.hardware.components import Quantity, Rule
from ssmc.hardware.custom import NAME, ON, PER, RULES, TABLE, TAKEN, Custom, key_of


def customs(file: str, tables: Any, entry: Callable[[str, Any, Rule], Quantity]) -> tuple[Custom, ...]:
    """The components of a file; ``entry`` reads one figure at its key.

    Raises:
        UsageError: SSMC-H03 an unknown key, SSMC-H04 no name, SSMC-H05 a wrong type, SSMC-H06 a rule that there is not,
            SSMC-H08 a name that is taken, no figure, or a figure without its rule.
    """
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        refuse("SSMC-H05", f"{file}: {TABLE}", "is no list of tables", f"write [[{TABLE}]] for every component")
    found: list[Custom] = []
    for table in tables:
        found.append(_custom(file, table, entry, {other.name for other in found}))
    return tuple(found)


def _custom(file: str, table: dict[str, Any], entry: Callable[[str, Any, Rule], Quantity], others: set[str]) -> Custom:
    name = table.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        code = "SSMC-H05" if "name" in table else "SSMC-H04"
        refuse(code, f"{file}: {TABLE}.name", f"is {name!r}", "write a lower-case word such as tia")
    where = f"{file}: {TABLE}.{name}"
    if name in TAKEN or name in others:
        refuse("SSMC-H08", where, "is the name of another component", "give it a name of its own")
    for key in table:
        if key not in ("name", "per", "on", *RULES):
            refuse("SSMC-H03", f"{where}.{key}", "is not a key", f"allowed are name, per, on, {', '.join(RULES)}")
    for key, allowed in (("per", PER), ("on", ON)):
        if key in table and table[key] not in allowed:
            refuse("SSMC-H06", f"{where}.{key}", f"is {table[key]!r}", f"allowed is {' or '.join(allowed)}")
    figures = {key: entry(key_of(name, key), table[key], rule) for key, rule in RULES.items() if key in table}
    if not figures:
        refuse("SSMC-H08", where, "has no figure", f"give it one of {', '.join(RULES)}")
    for rule, needing in (("per", {"energy_pj"}), ("on", {"area_um2", "power_uw"})):
        if bool(needing & set(figures)) != (rule in table):
            fact = f"has {rule} and nothing that is counted by it" if rule in table else f"does not say {rule} what"
            refuse("SSMC-H08", where, fact, f"{rule} goes with {' and '.join(sorted(needing))}")
    return Custom(name, table.get("per"), table.get("on"), **figures)

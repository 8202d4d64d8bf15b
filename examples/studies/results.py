"""Write the tables of docs/results.md from the rows of examples/*/results.json.

python -m examples.studies.results
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from examples.lib.folders import EXAMPLES

SEEDS = 3
REFERENCES = {"float": "its float parent", "twin": "the float parent trained on"}
PAGE = EXAMPLES.parent / "docs" / "results.md"
HEAD = (
    "method", "form", "A B C D", "state, ADC", "act", "mixing", "coder", "N", "seed",
    "compiled", "torch", "held out", "ACE", "size", "ADC",
)  # fmt: skip
COUNTED = ("model", "literal", "live states", "against a twin of equal states", "constants in C, bytes")
BLOCK = re.compile(r"(<!-- rows of (\w+) -->\n).*?(<!-- end -->)", re.S)


def rows(task: str) -> list[dict[str, Any]]:
    """Committed rows: float first, then more bits before fewer."""
    path = EXAMPLES / task / "results.json"
    found = json.loads(path.read_text()).get("rows", []) if path.exists() else []
    order = {"float": 0, "ptq": 1, "qat": 2}
    return sorted(found, key=lambda r: (order[r["method"]], -r["bits"]["A"], -r["bits"]["mixing"], r["name"]))


def line(row: dict[str, Any]) -> list[str]:
    """Cells of one row."""
    bits = row["bits"]
    states = re.search(r"N = (\d+)", row["architecture"])
    ratios = row.get("times_less", {})
    kernel = str(bits["A"]) if bits["A"] == bits["C"] else f"{bits['A']} {bits['B']} {bits['C']} {bits['D']}"
    converters = str(bits["state"]) if bits["state"] == bits["adc"] else f"{bits['state']}, {bits['adc']}"
    return [
        row["method"] + (", trained on" if stem(row) == "twin" else ""),
        row["form"] + (", unstable" if row.get("unstable") else ""),
        kernel,
        converters,
        *(str(bits[name]) for name in ("act", "mixing", "coder")),
        states[1] if states else "",
        str(row["seed"]),
        *(percent(row[f"accuracy_{name}"]) for name in ("compiled", "torch", "val")),
        *(f"{ratios[name]:.1f}x" if name in ratios else "1" for name in ("ace", "size_bits", "adc")),
    ]


def percent(value: float | None) -> str:
    """With two digits; nothing where there is no such number."""
    return "" if value is None else f"{100 * value:.2f}"


def table(task: str) -> str:
    """Markdown, and under it what configurations of several seeds lose."""
    found = rows(task)
    counted = [counting(row) for row in found if "times_less_literal" in row]
    parts = [markdown(HEAD, [line(row) for row in found]), *losses(found)]
    return "".join([*parts, *(["\n", markdown(COUNTED, counted)] if counted else [])])


def markdown(head: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A table."""
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ("---",) * len(head), *cells))


def counting(row: dict[str, Any]) -> list[str]:
    """What a row takes less, ACE / size / ADC complexity, in every base of docs/metrics.md; bytes of constants in C."""
    bases = ("times_less_literal", "times_less", "times_less_equal_states")
    ratios = [" / ".join(f"{row[base][name]:.1f}x" for name in ("ace", "size_bits", "adc")) for base in bases]
    return [f"`{row['name']}`", *ratios, f"{row['c_constants_bytes']:,}" if "c_constants_bytes" in row else ""]


def losses(found: list[dict[str, Any]]) -> list[str]:
    """A line for every configuration of three seeds or more: what it loses against float models of the same seed."""
    lines = []
    for reference, words in REFERENCES.items():
        twins = {row["seed"]: row for row in found if row["method"] == "float" and stem(row) == reference}
        for name in sorted({stem(row) for row in found if row["method"] != "float"}):
            pairs = [(twins[r["seed"]], r) for r in found if stem(r) == name and r["seed"] in twins]
            if len(pairs) >= SEEDS:
                lines.append(f"\n`{name}` against {words} of the same seed, {len(pairs)} seeds: {loss(pairs)}.\n")
    return lines


def loss(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """Points lost, with 95 % confidence intervals: over seeds (Student's t), and over test items with these seeds."""
    lost = [100 * (twin["accuracy_torch"] - row["accuracy_compiled"]) for twin, row in pairs]
    each = ", ".join(f"{x:.2f}" for x in lost)
    text = f"loses {statistics.mean(lost):.2f} ± {interval(lost):.2f} points (95 %, by seed: {each}"
    if all("wrong" in row for pair in pairs for row in pair):
        items = np.mean([_wrong(row) - _wrong(twin) for twin, row in pairs], 0)
        text += f"; over test items, seeds as they are: ± {100 * interval(items.tolist()):.2f}"
    return text + ")"


def _wrong(row: dict[str, Any]) -> NDArray[np.float64]:
    """1 for every test item that is not recognised."""
    return np.bincount(np.array(row["wrong"].split(), int), minlength=row["n_test"]).astype(float)


def stem(row: dict[str, Any]) -> str:
    """The name of a row without its seed."""
    return str(row["name"].rsplit("-s", 1)[0])


def interval(values: list[float]) -> float:
    """Half of the 95 % confidence interval of their mean."""
    return float(student.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))


def page(text: str) -> str:
    """``text`` with every block of rows written anew."""
    return BLOCK.sub(lambda found: found[1] + table(found[2]) + found[3], text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))

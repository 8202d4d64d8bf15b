"""Count the committed models of all tasks again: every base of docs/metrics.md, and the constants of their C.

    python -m examples.studies.counting

Compiles every model of examples/*/models that has a row, writes the counts into the row, and then the tables of
docs/results.md. Nothing is trained or tested; minutes on one core, no data needed.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click

import ssmc
from examples.lib.folders import EXAMPLES
from examples.studies import results
from ssmc.analysis.bases import bases
from ssmc.analysis.qs4d_metrics import Qs4dModel, fp32_twin
from ssmc.emit_c.emit import emit
from ssmc.ir.program import Program

SHAPE = re.compile(r"(\d+) layers?, H = (\d+), N = (\d+)")
BASES = {"live": "times_less", "literal": "times_less_literal", "equal states": "times_less_equal_states"}


def twin_of(program: Program, parent: dict[str, Any]) -> Qs4dModel:
    """The unpruned float model, whose row is ``parent``."""
    found = SHAPE.search(parent["architecture"])
    assert found is not None
    layers, channels, states = map(int, found.groups())
    ends = {"d_in": program.input_size, "d_out": program.output_size}
    return fp32_twin(layers=layers, channels=channels, states=states, **ends)


def counts(path: Path, parent: dict[str, Any], states: list[int] | None, poles: str) -> dict[str, Any]:
    """The ratios of a model in every base, and the bytes of the constants of its C."""
    program = ssmc.compile(path, target="int", oracle=False, poles=poles).compiled.program
    found = bases(program, twin_of(program, parent), states)
    less = {BASES[base]: {name: round(r, 2) for name, r in each.less.items()} for base, each in found.items()}
    return {**less, "c_constants_bytes": emit(program, "model").flash_bytes}


def main() -> None:
    """Count every row that has a model."""
    for path in sorted(EXAMPLES.glob("*/results.json")):
        whole = json.loads(path.read_text())
        rows = whole.get("rows", [])
        parents = [row for row in rows if row["method"] == "float"]
        for row in rows:
            model = path.parent / "models" / f"{row['name']}.onnx"
            if row["method"] == "float" or not model.is_file():
                continue
            row |= counts(model, parents[0], row.get("states"), "keep" if row.get("unstable") else "check")
            click.echo(f"{path.parent.name} {row['name']}: literal {row['times_less_literal']}")
        path.write_text(json.dumps(whole, indent=2, sort_keys=True) + "\n")
    results.PAGE.write_text(results.page(results.PAGE.read_text()))


if __name__ == "__main__":
    main()

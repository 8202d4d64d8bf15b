"""Five placements of the kernels on every preset that stands for a chip or a design: energy, pace, accuracy over time.

\b
    python -m examples.spoken_digits.placements --preset taox64 --chips 6 --write
    python -m examples.spoken_digits.placements --preset neurram --model models/hardware-neurram-noise-aged.onnx --write

With as many arrays as the placement needs. Rows are kept in placements.json; --write puts the table of all of them
into docs/presets.md.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

import ssmc
from examples.spoken_digits.presets import DAY, HERE, MONTH, PAGE, percent, spaced, table
from ssmc.data import Samples, load_samples
from ssmc.hardware.file import load_hardware
from ssmc.hardware.model import Hardware
from ssmc.report.units import quantity
from ssmc.targets.aimc.lowering.kernel_places import PLACES
from ssmc.targets.aimc.simulation.monte_carlo import monte_carlo
from ssmc.targets.aimc.target import AimcTarget

BEGIN, END = "<!-- made by examples/spoken_digits/placements.py --write -->", "<!-- end of placements -->"
ROWS = HERE / "placements.json"
HEAD = (
    *("preset", "model", "placement", "energy", "of all digital", "steps/s"),
    *("chips × recordings", "ideal", "programmed", "1 day", "30 days"),
)
WIDTH = {"analog": 0, "analog-split": 1, "digital-poles": 2, "digital-states": 3, "digital": 4}


@click.command(help=__doc__)
@click.option("--preset", multiple=True, required=True, help="Presets to measure.")
@click.option("--model", default="model.onnx", show_default=True, help="ONNX file in this folder.")
@click.option("--place", multiple=True, type=click.Choice(PLACES[1:]), help="Only these. Default: all five.")
@click.option("--chips", default=20, show_default=True, help="Chips of every accuracy; 0: costs alone.")
@click.option("--limit", default=0, help="Only so many recordings, evenly spaced.")
@click.option("--write", is_flag=True, help="Into placements.json and docs/presets.md; other rows stay.")
def main(preset: tuple[str, ...], model: str, place: tuple[str, ...], chips: int, limit: int, write: bool) -> None:
    """Measure, and print the table."""
    samples = load_samples(HERE / "test.npz")
    samples = spaced(samples, limit) if limit else samples
    rows = kept()
    for name in preset:
        hw = load_hardware(name)
        hw = replace(hw, array=replace(hw.array, count=0))
        for where in place or PLACES[1:]:
            start = time.process_time()
            key = f"{name}, {Path(model).stem}, {where}"
            row = measured(HERE / model, hw, where, samples, chips)
            rows = kept() if write else rows
            rows[key] = row if chips else {**rows.get(key, {}), **row}
            click.echo(f"{key}: {rows[key]}, {time.process_time() - start:.0f} s of CPU", err=True)
            if write:
                ROWS.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", encoding="utf-8")
                before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
                PAGE.write_text(f"{before}{BEGIN}\n\n{shown(rows)}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
    click.echo(shown(rows))


def kept() -> dict[str, Any]:
    """The rows that were written."""
    return json.loads(ROWS.read_text(encoding="utf-8")) if ROWS.is_file() else {}


def measured(model: Path, hw: Hardware, place: Any, samples: Samples, chips: int) -> dict[str, Any]:
    """One row; without ``chips`` its costs alone."""
    bundle = ssmc.compile(model, AimcTarget(hw, place=place, packing="auto"), steps=samples.mean_steps, oracle=False)
    cost = bundle.cost(samples.mean_steps)
    row = {
        "energy_pj": cost["energy_pj"]["per_sequence"]["nominal"],
        "steps_per_s": cost["max_steps_per_s"]["nominal"],
    }
    if not chips:
        return row
    times = (0.0,) if hw.noise.device == "gaussian" else (0.0, DAY, MONTH)
    found = monte_carlo(bundle, samples, chips=chips, times_s=times)
    return row | {
        "chips": f"{chips} × {len(samples)}",
        "ideal": f"{100 * found.ideal_accuracy.value:.1f}",
        "accuracy": [percent(at.accuracy) for at in found.at],
    }


def shown(rows: dict[str, Any]) -> str:
    """The table: presets and models in order, the most analog placement first."""
    lines = []
    for key in sorted(rows, key=lambda key: (key.split(", ")[:2], WIDTH[key.split(", ")[2]])):
        row, (preset, model, place) = rows[key], key.split(", ")
        whole = rows.get(f"{preset}, {model}, digital")
        later = row.get("accuracy", ["not measured"] * 3)
        lines.append((
            *(preset, model, place, quantity("pj", row["energy_pj"])),
            "–" if whole is None else f"{row['energy_pj'] / whole['energy_pj']:.2f}",
            *(f"{row['steps_per_s']:,.0f}", row.get("chips", "–"), row.get("ideal", "–")),
            *later,
            *["no drift model"] * (3 - len(later)),
        ))  # fmt: skip
    return table(HEAD, lines)


if __name__ == "__main__":
    main()

"""The spoken-digits model on every crossbar preset: energy, pace, area, accuracy, and where digital would be better.

Every figure is computed now. `--write` puts the tables between the marks in docs/presets.md.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np

import ssmc
from ssmc.cli.progress import counting
from ssmc.data import Samples, load_samples
from ssmc.errors import ModelError
from ssmc.hardware.file import load_hardware, preset_names
from ssmc.hardware.model import Hardware
from ssmc.ir.operations import StateSpace
from ssmc.ir.program import Program
from ssmc.ir.serialize import Json
from ssmc.report.units import quantity
from ssmc.targets.aimc.choices.candidates import Candidates
from ssmc.targets.aimc.choices.place_and_pack import decide_places
from ssmc.targets.aimc.choices.variants import at_steps, compare
from ssmc.targets.aimc.lowering.kernel_places import PLACES
from ssmc.targets.aimc.simulation.monte_carlo import AtTime, MonteCarlo, monte_carlo
from ssmc.targets.aimc.simulation.statistics import Interval
from ssmc.targets.aimc.target import AimcCompiled, AimcTarget

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "presets.md"
BEGIN, END = "<!-- tables: made by examples/spoken_digits/presets.py --write -->", "<!-- end of tables -->"
NOT_MEASURED = "not measured"
DAY, MONTH = 86_400.0, 30 * 86_400.0
COST_HEAD = (
    "preset",
    "arrays",
    "used",
    "energy",
    "low to high",
    "max steps/s",
    "limited by",
    "latency",
    "area",
    "packing",
)
PLACE_HEAD = (*("preset", *PLACES[1:], "auto", "auto chooses", "steps/s analog", "steps/s digital"),)
ACCURACY_HEAD = (
    *("preset", "cells", "chips × recordings", "ideal", "programmed", "1 day", "30 days", "chips with a pole ≥ 1"),
    *("auto, programmed", "auto, 30 days"),
)


@dataclass(frozen=True)
class Rows:
    """One line of each table."""

    cost: tuple[str, ...]
    place: tuple[str, ...]
    accuracy: tuple[str, ...]


@click.command()
@click.option(
    "--chips", default=20, show_default=True, help="Chip instances per accuracy; bit-serial: half; 0: cost only."
)
@click.option("--limit", default=0, help="Only so many recordings, evenly spaced; bit-serial: a third of them.")
@click.option("--preset", multiple=True, help="Only these. Default: all.")
@click.option("--write", is_flag=True, help="Into docs/presets.md, preset by preset; the rows of others stay.")
def main(chips: int, limit: int, preset: tuple[str, ...], write: bool) -> None:
    """Print the tables as Markdown."""
    samples = load_samples(HERE / "test.npz")
    samples = spaced(samples, limit) if limit else samples
    rows: list[Rows] = []
    for name in preset or preset_names():
        rows.append(measure(name, samples, chips))
        if write:
            page = PAGE.read_text(encoding="utf-8")
            before, rest = page.split(BEGIN)
            text = tables(rows, samples, kept(page))
            PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
    click.echo(tables(rows, samples, {}))


def spaced(samples: Samples, count: int) -> Samples:
    """So many sequences evenly spaced: the file is sorted by label."""
    chosen = np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int)
    parts = [samples.sequence(index) for index in chosen.tolist()]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    return Samples(np.concatenate(parts), offsets, None if samples.label is None else samples.label[chosen])


def tables(rows: list[Rows], samples: Samples, old: dict[tuple[str, ...], list[tuple[str, ...]]]) -> str:
    """The three tables; rows of presets that were not measured now as they are in ``old``, by head."""
    text = [
        f"Per inference of {samples.mean_steps} steps; accuracy in percent: mean over chips and 95 % interval, chips "
        "and recordings resampled (of the ideal chip: Wilson)."
    ]
    for head, new in (
        (COST_HEAD, [row.cost for row in rows]),
        (PLACE_HEAD, [row.place for row in rows]),
        (ACCURACY_HEAD, [row.accuracy for row in rows]),
    ):
        lines = {row[0]: row for row in old.get(head, [])}
        lines |= {row[0]: row for row in new if NOT_MEASURED not in row or row[0] not in lines}
        text.append(table(head, [lines[name] for name in sorted(lines)]))
    return "\n\n".join(text)


def kept(page: str) -> dict[tuple[str, ...], list[tuple[str, ...]]]:
    """Rows of the tables of a page, by head."""
    found: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for part in page.split(BEGIN)[1].split(END)[0].split("\n\n"):
        lines = [tuple(cell.strip() for cell in line.strip("| ").split(" | ")) for line in part.strip().splitlines()]
        if part.strip().startswith("|"):
            found[lines[0]] = lines[2:]
    return found


def measure(name: str, samples: Samples, chips: int) -> Rows:
    """Compile for a preset, packed by the search, and run it; a chip that is too small says so."""
    steps = samples.mean_steps
    try:
        bundle = ssmc.compile(HERE / "model.onnx", AimcTarget(name, packing="auto"), steps=steps, oracle=False)
    except ModelError:
        bundle = ssmc.compile(
            HERE / "model.onnx", AimcTarget(unlimited(name), packing="auto"), steps=steps, oracle=False
        )
        refused = (name, "does not fit", *["–"] * (len(COST_HEAD) - 2))
        return Rows(
            refused,
            place_row(name, source_of(bundle), steps),
            (name, "does not fit", *["–"] * (len(ACCURACY_HEAD) - 2)),
        )
    cost = cost_row(name, bundle.cost(steps))
    return Rows(cost, place_row(name, source_of(bundle), steps), accuracy_row(name, bundle, samples, chips))


def source_of(bundle: ssmc.Bundle) -> Program:
    """The program before it was lowered."""
    assert isinstance(bundle.compiled, AimcCompiled)
    return bundle.compiled.source


def unlimited(name: str) -> Hardware:
    """A preset with as many arrays as a program needs."""
    hw = load_hardware(name)
    return replace(hw, array=replace(hw.array, count=0))


def cost_row(name: str, figures: Json) -> tuple[str, ...]:
    """What the compiled program costs."""
    energy = figures["energy_pj"]["per_sequence"]
    packing = figures["decisions"][-1]["chosen"].split("; but ")
    changed = "; some matrices otherwise" if len(packing) > 1 else ""
    sharing = figures["limited_by"].split(" + ")
    limit = sharing[0] if len(sharing) == 1 else f"{sharing[0].split()[0]} that {len(sharing)} matrices share"
    return (
        *(name, str(figures["arrays"]), f"{figures['utilisation']:.0%}", quantity("pj", energy["nominal"])),
        f"{quantity('pj', energy['low'])} to {quantity('pj', energy['high'])}",
        *(
            f"{figures['max_steps_per_s']['nominal']:,.0f}",
            limit,
            quantity("ns", figures["latency_ns"]["per_step"]["nominal"]),
        ),
        *(quantity("um2", figures["area_um2"]["nominal"]), packing[0] + changed),
    )


def place_row(name: str, source: Program, steps: int) -> tuple[str, ...]:
    """Energy of each placement; as many arrays as each needs."""
    hw = unlimited(name)
    candidates = Candidates(source, hw)
    variants = at_steps(compare(candidates), steps)
    energies = {key: value["energy_pj"]["per_sequence"]["nominal"] for key, value in variants.items()}
    pace = (f"{variants[key]['max_steps_per_s']['nominal']:,.0f}" for key in ("analog", "digital"))
    places, _ = decide_places(candidates, "auto")
    auto = AimcTarget(hw, place="auto").emit(source).cost(steps)["energy_pj"]["per_sequence"]["nominal"]
    kernels = [op.name for op in source.ops if isinstance(op, StateSpace)]
    chosen = Counter(places[name] for name in kernels)
    shown = ", ".join(f"{count} of {len(kernels)} kernels {place}" for place, count in chosen.items())
    dense = [name for name in places if name not in kernels]
    digital = sum(places[name] == "digital" for name in dense)
    spent = (quantity("pj", energies[place]) for place in PLACES[1:])
    return (name, *spent, quantity("pj", auto), f"{shown}, {digital} of {len(dense)} dense digital", *pace)


def accuracy_row(name: str, bundle: ssmc.Bundle, samples: Samples, chips: int) -> tuple[str, ...]:
    """Ideal, just programmed, and later where the preset's cells drift; then with the placement that saves energy."""
    hw = load_hardware(name)
    drifts = hw.noise.device != "gaussian"
    if not chips:
        return (name, hw.noise.device, *[NOT_MEASURED] * (len(ACCURACY_HEAD) - 2))
    if hw.dac.bit_serial:  # simulated bit by bit: a tenth of the speed
        chips, samples = -(-chips // 2), spaced(samples, -(-len(samples) // 3))
    found = look(name, bundle, samples, chips, (0.0, DAY, MONTH) if drifts else (0.0,))
    placed = AimcTarget(name, place="auto", packing="auto")
    auto = ssmc.compile(HERE / "model.onnx", placed, steps=samples.mean_steps, oracle=False)
    later = look(f"{name}, auto", auto, samples, chips, (0.0, MONTH) if drifts else (0.0,))
    none = ["no drift model"]
    times = [percent(at.accuracy) for at in found.at]
    ends = [percent(at.accuracy) for at in later.at]
    return (
        *(name, hw.noise.device, f"{chips} × {len(samples)}", percent(found.ideal_accuracy)),
        *times,
        *none * (3 - len(times)),
        f"{unstable(found.at[0])} of {chips}",
        *ends,
        *none * (2 - len(ends)),
    )


def look(name: str, bundle: ssmc.Bundle, samples: Samples, chips: int, times: tuple[float, ...]) -> MonteCarlo:
    """Many chips, with a bar."""
    click.echo(name, err=True)
    with counting(chips * len(times), "chips") as advance:
        return monte_carlo(bundle, samples, chips=chips, times_s=times, progress=advance)


def percent(found: Interval) -> str:
    """The mean and its interval."""
    return f"{100 * found.value:.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def unstable(at: AtTime) -> int:
    """Chips with a pole at or beyond 1 in the kernel that has most of them."""
    return max((kernel.unstable_chips for kernel in at.kernels.values()), default=0)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()

"""Few fitted states at lower rates: one quantized model of every seed, compiled and tested, and what it costs.

\b
    python -m examples.studies.fewer --task spoken_digits --data fsdd.npz --states 4 --rates 1,2,2 --epochs 60

Trains, exports, compiles and tests seed by seed. Stop it at any time: the same command goes on from the last whole
epoch, and leaves out the seeds whose rows of this command are there. Rows and models go to the results of the task, or
to OUT. Prints a table: accuracy on the test part, points lost against float, and how many times less the program takes
than a float model in every base of docs/metrics.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from examples.lib import options
from examples.lib.experiment import recipe_row
from examples.lib.parents import Task
from examples.lib.recipe import Recipe, Shape
from examples.lib.rows import Row
from examples.studies.results import interval
from examples.studies.tasks import TASKS, study_options

BASES = {"live": "times_less", "literal": "times_less_literal", "equal states": "times_less_equal_states"}
FIGURES = ("ace", "size_bits", "adc")
HEAD = ("seed", "held out", "test", "float", "trained on", *BASES)


def rows(folder: Path) -> list[Row]:
    """What results.json of ``folder`` has."""
    path = folder / "results.json"
    found: list[Row] = json.loads(path.read_text()).get("rows", []) if path.is_file() else []
    return found


def row_of_seed(task: Task, module: str, recipe: Recipe, seed: int, folder: Path) -> Row:
    """The row of this recipe and seed: the one of the same command that is there with its model, or a new one."""
    command, name = recipe.command(task, module, "qat", seed), f"{recipe.name('qat')}-s{seed}"
    for row in rows(folder):
        if row["name"] == name and row["command"] == command and (folder / "models" / f"{name}.onnx").is_file():
            click.echo(f"{name}: done")
            return row
    return recipe_row(task, module, recipe, seed, folder=folder)


def references(task: Task) -> dict[str, dict[int, float]]:
    """Test accuracy by seed: of the float model, and of the one that was trained on."""
    known = {row["name"]: row["accuracy_torch"] for row in rows(task.folder) if row["method"] == "float"}
    return {
        stem: {int(name.rsplit("-s", 1)[1]): value for name, value in known.items() if name.rsplit("-s", 1)[0] == stem}
        for stem in ("float", "twin")
    }


def table(found: list[Row], compared: dict[str, dict[int, float]]) -> str:
    """Markdown; ACE, size and ADC complexity by base in one cell."""
    lines = [HEAD, ("---",) * len(HEAD)]
    for row in found:
        accuracies = [
            row["accuracy_val"],
            row["accuracy_compiled"],
            *(each.get(row["seed"]) for each in compared.values()),
        ]
        times = [" / ".join(f"{row[key][figure]:.1f}x" for figure in FIGURES) for key in BASES.values()]
        lines.append((str(row["seed"]), *("" if a is None else f"{100 * a:.2f}" for a in accuracies), *times))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def losses(found: list[Row], compared: dict[str, dict[int, float]]) -> list[str]:
    """Mean points lost against each reference, over the seeds that have it, with the 95 % confidence interval."""
    lines = []
    for stem, known in compared.items():
        lost = [100 * (known[row["seed"]] - row["accuracy_compiled"]) for row in found if row["seed"] in known]
        if len(lost) > 1:
            mean = sum(lost) / len(lost)
            lines.append(f"loses {mean:.2f} ± {interval(lost):.2f} points against {stem}, {len(lost)} seeds")
    return lines


@click.command(help=__doc__)
@study_options
@click.option("--quant", type=options.FILE, default="examples/quant/fewer.toml", show_default=True, help="Bit widths.")
@options.recipe
@click.option(
    "--seeds", type=options.Numbers(), default="0,1,2,3,4", show_default=True, help="Float models to start from."
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder of rows and models.")
def main(name: str, data: Path, quant: Path, seeds: tuple[int, ...], out: Path | None, **chosen: Any) -> None:
    """One row for each seed, then the table."""
    task, module = TASKS[name](data), TASKS[name].__module__
    shape = Shape(chosen.pop("modes"), chosen.pop("states"), chosen.pop("rates"))
    shape.check(task)
    recipe = Recipe(quant, shape, **chosen)
    folder = out or recipe.folder(task)
    found = [row_of_seed(task, module, recipe, seed, folder) for seed in seeds]
    compared = references(task)
    click.echo(
        "\n".join([f"ACE / size / ADC complexity, {name}\n", table(found, compared), "", *losses(found, compared)])
    )


if __name__ == "__main__":
    main()

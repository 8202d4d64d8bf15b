"""``ssmc diff``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssmc.cli.progress import counting
from ssmc.cli.say import say
from ssmc.cli.types import COUNT, Finite, NewFile, Writing, budget_option

if TYPE_CHECKING:
    from ssmc.budgets import Budgets


@click.command("diff", cls=Writing, short_help="Compare two bundles, reports or baselines.")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Labelled sequences (.npz): run both bundles, ideal devices, and compare their accuracy too.",
)
@click.option("--markdown", is_flag=True, help="Write Markdown, for a pull request.")
@click.option("--html", type=NewFile(), help="Also write an HTML page to this file.")
@click.option("--rows", type=COUNT, default=20, show_default=True, help="Rows of each table at most.")
@click.option(
    "--fail-over",
    type=Finite(min=0),
    metavar="PERCENT",
    help="Exit with status 4 where a figure moved by more than PERCENT, or, with 0, where anything differs.",
)
@budget_option
def diff(
    old: Path,
    new: Path,
    data: Path | None,
    markdown: bool,
    html: Path | None,
    rows: int,
    fail_over: float | None,
    budgets: Budgets,
) -> None:
    """Say what differs between OLD and NEW: bundles (folders), report.json files, or baselines.

    Figures are sorted by how much they moved, energies by how much of the change they make; weights, options,
    hardware keys, kernels and mapping are listed where they differ. Costs of two bundles are compared for the number of
    steps that OLD was compiled for.

    \b
    Example:
      ssmc diff out-before out-after
      ssmc diff out-before out-after --data test.npz --html diff.html
      ssmc diff main/report.json out/report.json --markdown --fail-over 1
    """
    from ssmc.bundle.diff import difference, on_data, read_side
    from ssmc.bundle.files import write_file
    from ssmc.data import load_samples
    from ssmc.errors import GateError
    from ssmc.report.differences import as_html, as_markdown, as_text

    before = read_side(old)
    after, notes = read_side(new, before.steps), []
    if data is not None:
        samples = load_samples(data, budgets, before.bundle.compiled.program.inputs if before.bundle else ())
        with counting(2 * len(samples), "running") as advance:
            before, after, said = on_data(before, after, samples, advance)
        notes.append(said)
    found = difference(before, after, *notes)
    click.echo((as_markdown if markdown else as_text)(found, rows))
    if html is not None:
        write_file(html, as_html(found, rows).encode())
        say(f"wrote {html}")
    if fail_over is None:
        return
    moved = found.over(fail_over)
    if moved or (fail_over == 0 and not found.empty):
        names = ", ".join(change.key for change in moved[:4]) or "something else than a figure"
        fact = f"{len(moved)} figures moved by more than {fail_over:g} %: {names}"
        raise GateError("SSMC-C03", fact, "find the cause, or accept the change", str(new))

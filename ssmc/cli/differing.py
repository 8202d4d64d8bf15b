"""``ssmc diff``."""

from __future__ import annotations

from pathlib import Path

import click

from ssmc.cli.types import COUNT, Finite


@click.command("diff", short_help="Compare two bundles, reports or baselines.")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--markdown", is_flag=True, help="Write Markdown, for a pull request.")
@click.option("--rows", type=COUNT, default=20, show_default=True, help="Rows of each table at most.")
@click.option(
    "--fail-over",
    type=Finite(min=0),
    metavar="PERCENT",
    help="Exit with status 4 where a figure moved by more than PERCENT, or, with 0, where anything differs.",
)
def diff(old: Path, new: Path, markdown: bool, rows: int, fail_over: float | None) -> None:
    """Say what differs between OLD and NEW: bundles (folders), report.json files, or baselines.

    Figures are sorted by how much they moved, energies by how much of the change they make; weights, options,
    hardware keys, kernels and mapping are listed where they differ.

    \b
    Example:
      ssmc diff out-before out-after
      ssmc diff main/report.json out/report.json --markdown --fail-over 1
    """
    from ssmc.bundle.diff import difference, read_side
    from ssmc.errors import GateError
    from ssmc.report.differences import as_markdown, as_text

    found = difference(read_side(old), read_side(new))
    click.echo((as_markdown if markdown else as_text)(found, rows))
    if fail_over is None:
        return
    moved = found.over(fail_over)
    if moved or (fail_over == 0 and not found.empty):
        names = ", ".join(change.key for change in moved[:4]) or "something else than a figure"
        fact = f"{len(moved)} figures moved by more than {fail_over:g} %: {names}"
        raise GateError("SSMC-C03", fact, "find the cause, or accept the change", str(new))

"""``ssmc check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssmc.cli.progress import counting
from ssmc.cli.say import say
from ssmc.cli.types import NewFile, Writing, budget_option

if TYPE_CHECKING:
    from ssmc.budgets import Budgets
    from ssmc.bundle.check import Value


@click.command(cls=Writing, short_help="Compare accuracy and costs with a baseline.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Labelled sequences (.npz).")
@click.option(
    "--baseline", type=click.Path(path_type=Path), required=True, help="Baseline file (JSON): metrics and tolerances."
)
@click.option(
    "--update",
    is_flag=True,
    help="Write the baseline instead of comparing; an existing one keeps its metrics and tolerances.",
)
@click.option("--junit", type=NewFile(), help="Also write the result as JUnit XML.")
@budget_option
def check(bundle: Path, data: Path, baseline: Path, update: bool, junit: Path | None, budgets: Budgets) -> None:
    """Compare accuracy and costs of a BUNDLE with a baseline; exit status 4 if one leaves its tolerance.

    \b
    Example:
      ssmc check out --data test.npz --baseline baseline.json --update
      ssmc check out --data test.npz --baseline baseline.json --junit check.xml
    """
    from ssmc.bundle import check as gate
    from ssmc.bundle.files import write_file
    from ssmc.errors import GateError
    from ssmc.printable import printable

    old = gate.read_baseline(baseline) if baseline.exists() or not update else None
    metrics = _measure(bundle, data, budgets)
    if update:
        write_file(baseline, gate.baseline_text(gate.make_baseline(metrics, old)).encode())
        say(f"wrote {baseline}")
        return
    assert old is not None
    moved = gate.compare(metrics, old)
    if junit is not None:
        write_file(junit, gate.junit(metrics, moved, old, "ssmc check"))
    for name in gate.unlisted(metrics, old):
        click.echo(f"not gated: {printable(name)}")
    for item in moved:
        click.echo(f"moved: {item}")
    if moved:
        fact = f"{len(moved)} of {len(old['metrics'])} metrics moved: {', '.join(m.metric for m in moved[:4])}"
        raise GateError("SSMC-C01", fact, "find the cause, or accept the change with --update", str(baseline))
    click.echo(f"{len(old['metrics'])} metrics within tolerance")


def _measure(bundle: Path, data: Path, budgets: Budgets) -> dict[str, Value]:
    from ssmc.bundle.check import evaluate_steps, measure
    from ssmc.bundle.folder import load
    from ssmc.data import load_samples

    loaded = load(bundle)
    samples = load_samples(data, budgets, loaded.compiled.program.inputs)
    with counting(len(samples), "running") as advance:
        outputs = evaluate_steps(loaded, samples, progress=advance)
    return measure(loaded, samples, outputs)

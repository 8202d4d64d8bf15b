"""``ssmc compile``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssmc.cli.progress import stages
from ssmc.cli.say import say
from ssmc.cli.states import STATE_HELP, named_states
from ssmc.cli.types import DECIBEL, STEPS, Finite, Rate, budget_option, settings_option

if TYPE_CHECKING:
    from ssmc.budgets import Budgets
    from ssmc.bundle.folder import Bundle
    from ssmc.bundle.pruning import Budget
    from ssmc.targets.base import Target


@click.command("compile", short_help="Compile an ONNX model into a bundle.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--target", "-t", default="int", show_default=True, help="Target to compile for; 'ssmc targets' lists them."
)
@click.option(
    "--hardware", metavar="NAME|FILE", help="Hardware preset, or a hardware file in TOML (aimc). Default: taox64."
)
@settings_option
@click.option(
    "--place",
    type=click.Choice(["analog", "analog-split", "digital-poles", "digital-states", "digital", "auto"]),
    help="Where to run kernels and matrices (aimc): all on crossbars; kernels in two operations; their A, or A and B,"
    " in the digital unit; all digital; or per operation whatever is best by --minimise.",
)
@click.option(
    "--packing",
    type=click.Choice(["one", "diagonal", "multiplexed", "shared", "auto"]),
    help="How to pack kernels into arrays (aimc); 'auto', the default, searches for the best by --minimise.",
)
@click.option(
    "--minimise",
    type=click.Choice(["energy", "area", "interval", "product"]),
    help="Figure that 'auto' minimises (aimc). Default: energy.",
)
@click.option(
    "--rate",
    type=Rate(),
    metavar="STEPS/S",
    help="Sample rate that the chip must sustain (aimc); 0: no requirement.",
)
@click.option(
    "--ranges",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Sequences (.npz, labels ignored) for which to choose the ranges of converters that lose something (aimc).",
)
@click.option(
    "--noise-budget",
    type=Finite(min=0, max=100),
    metavar="POINTS",
    help="With --place auto, refuse placements that lose more accuracy on --data under programming noise (aimc).",
)
@click.option(
    "--data",
    "noise_data",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Labelled sequences (.npz) for --noise-budget (aimc).",
)
@click.option("--prefix", help="Prefix of all C identifiers and file names (c). Default: model.")
@click.option(
    "--output-lag",
    type=click.IntRange(0, 0),
    help="0: fuse kernels whose output reads the new state; the error is bounded (int, aimc). Default: exact, unfused.",
)
@click.option(
    "--option",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any option of the target, by the name that 'ssmc targets' lists. Repeatable.",
)
@click.option("--stabilize", is_flag=True, help="Move unstable poles to a stable grid point instead of refusing them.")
@click.option(
    "--target-sqnr",
    type=DECIBEL,
    metavar="DB",
    help="Give delta kernels the fewest ADC bits for which the predicted SQNR stays at or above DB.",
)
@click.option(
    "--prune-budget",
    type=Finite(min=0, max=100),
    metavar="POINTS",
    help="Prune modes and channels while accuracy on --prune-data falls by at most POINTS percentage points.",
)
@click.option(
    "--prune-data",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Labelled sequences (.npz) on which pruning measures accuracy.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    default="out",
    show_default=True,
    help="Folder in which to write the bundle.",
)
@click.option(
    "--steps",
    type=STEPS,
    default=100,
    show_default=True,
    help="Number of time steps for which the report gives costs.",
)
@click.option("--state", "state_pairs", multiple=True, metavar="IN:OUT", help=STATE_HELP)
@click.option("--oracle/--no-oracle", default=True, help="Run onnxruntime after every pass and compare.")
@click.option(
    "--dump-dir", type=click.Path(path_type=Path), help="Folder in which to write the graph after every pass."
)
@click.option("--stop-after", metavar="PASS", help="Stop after this pass and write only its graph, OUTPUT/model.onnx.")
@budget_option
def compile_(
    model: Path,
    target: str,
    pairs: tuple[str, ...],
    output: Path,
    steps: int,
    oracle: bool,
    dump_dir: Path | None,
    stop_after: str | None,
    stabilize: bool,
    target_sqnr: float | None,
    prune_budget: float | None,
    prune_data: Path | None,
    budgets: Budgets,
    state_pairs: tuple[str, ...],
    settings: tuple[str, ...],
    **options: object,
) -> None:
    """Compile an ONNX MODEL and write a bundle: program, weights, runnable ONNX, report.

    \b
    Example:
      ssmc compile model.onnx --target aimc --hardware taox64 -o out
      ssmc compile model.onnx --target aimc --set adc.bits=6 --set array.rows=128 --set array.columns=128
      ssmc compile model.onnx --prune-budget 1 --prune-data held_out.npz
      ssmc compile model.onnx --stop-after fold-constants -o stage
    """
    # numpy reads this as it loads: products of small blocks make threads of BLAS wait more than they work
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from ssmc.bundle import compile as compiling
    from ssmc.bundle.files import require_target_folder, require_unread
    from ssmc.bundle.options import target_with

    chosen = target_with(target, options | {"set": settings or None}, pairs)
    require_unread(output / "model.onnx", (model,))
    common: dict[str, Any] = {"oracle": oracle, "dump_dir": dump_dir, "budgets": budgets}
    common |= {"poles": "move" if stabilize else "refuse", "states": named_states(state_pairs)}
    if stop_after is not None:
        _stop(model, chosen, output, stop_after, prune_budget is not None or target_sqnr is not None, common)
        return
    require_target_folder(output)
    prune = _budget(prune_budget, prune_data, budgets, model)
    with stages("compiling") as stage:
        bundle = compiling.compile(
            model, chosen, steps=steps, target_sqnr=target_sqnr, prune=prune, progress=stage, **common
        )
    bundle.save(output)
    _tell(bundle)
    say(f"\nwrote {output}; look at {output / 'report.html'}")


def _stop(model: Path, target: Target, output: Path, stop_after: str, measured: bool, common: dict[str, Any]) -> None:
    """Write the graph after a pass alone; ``measured``: an option asks for what only a whole compile can judge."""
    from ssmc.bundle import compile as compiling
    from ssmc.bundle.files import write_file
    from ssmc.errors import UsageError

    if measured:
        fact = "--stop-after with --prune-budget or --target-sqnr"
        raise UsageError("SSMC-U15", fact, "leave --stop-after out")
    with stages("compiling") as stage:
        result = compiling.lower(model, target, stop_after=stop_after, progress=stage, **common)
    write_file(output / "model.onnx", compiling.onnx_bytes(result.model))
    say(f"graph after {stop_after}: {output / 'model.onnx'}")


def _tell(bundle: Bundle) -> None:
    """The report in short, the passes, and what the chip's figures are still of."""
    from ssmc.report.text import pipeline_table, report_text

    click.echo(next(report_text(bundle.report)))
    click.echo(f"\n{pipeline_table(bundle.report, bundle.trace)}")
    for line in bundle.report.cost.get("warnings", ()):
        click.echo(f"warning: {line}", err=True)


def _budget(points: float | None, data: Path | None, budgets: Budgets, model: Path) -> Budget | None:
    if points is None and data is None:
        return None
    from ssmc.bundle.pruning import Budget
    from ssmc.data import load_samples
    from ssmc.errors import UsageError
    from ssmc.importers.onnx_file import file_parts

    if points is None or data is None:
        fact = "--prune-budget and --prune-data go together"
        raise UsageError("SSMC-U15", fact, "give percentage points and labelled sequences, or neither")
    return Budget(points, load_samples(data, budgets, file_parts(model, budgets)))

"""``ssmc inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssmc.cli.types import COUNT, DECIBEL, budget_option

if TYPE_CHECKING:
    from ssmc.analysis.kernels import KernelAnalysis
    from ssmc.budgets import Budgets
    from ssmc.bundle.folder import Bundle
    from ssmc.data import Samples


@click.command(short_help="Show operations, code types, kernels and poles.")
@click.argument("path", metavar="MODEL|BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "--kernels", is_flag=True, help="Show only the kernels, channel by channel: poles, ranges, noise, ADC bits."
)
@click.option("--poles", is_flag=True, help="Also list every distinct pole of every kernel.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="With --kernels: sequences (.npz) to analyse on. Default: white noise.",
)
@click.option(
    "--samples",
    type=COUNT,
    default=32,
    show_default=True,
    help="Number of sequences of --data to use, from the first.",
)
@click.option(
    "--sqnr",
    type=DECIBEL,
    default=30.0,
    show_default=True,
    metavar="DB",
    help="Signal-to-noise ratio for which to report the fewest ADC bits.",
)
@click.option("--json", "as_json", is_flag=True, help="With --kernels: print JSON instead of tables.")
@budget_option
def inspect(
    path: Path,
    kernels: bool,
    poles: bool,
    data: Path | None,
    samples: int,
    sqnr: float,
    as_json: bool,
    budgets: Budgets,
) -> None:
    """Show the contents of a MODEL (.onnx) or a BUNDLE: operations, code types, kernels with their poles.

    A model is compiled for the integer target in memory, without the oracle; nothing is written.

    With --kernels: amplitudes of states and converters as shares of their ranges (l1: worst case, l2: typical), the
    signal-to-quantization-noise ratio that the white-noise model predicts, or the reason why that model is not valid
    for a channel, and the fewest ADC bits for the ratio of --sqnr.

    \b
    Example:
      ssmc inspect model.onnx
      ssmc inspect out --kernels --data test.npz
    """
    from ssmc.printable import printable
    from ssmc.report.facts import dump_json, plain
    from ssmc.report.text import channels_table, kernels_table, ops_table

    bundle = _bundle(path, budgets)
    analysis = _analysis(bundle, _few(data, samples, budgets), sqnr) if kernels else ()
    if kernels and as_json:
        click.echo(dump_json({"kernels": plain(bundle.report.kernels), "analysis": plain(analysis)}), nl=False)
        return
    blocks = [] if kernels else [ops_table(bundle.report)]
    blocks.append(kernels_table(bundle.report.kernels) or "no state-space kernels")
    blocks += [channels_table(kernel) for kernel in analysis]
    for facts in bundle.report.kernels if poles else ():
        title = f"poles of {printable(facts.name)} (im >= 0)"
        blocks.append("\n".join([title, *(f"  {re:+.4f} {im:+.4f}i" for re, im in facts.poles)]))
    click.echo("\n\n".join(blocks))


def _bundle(path: Path, budgets: Budgets) -> Bundle:
    import ssmc

    return ssmc.load(path) if path.is_dir() else ssmc.compile(path, oracle=False, poles="keep", budgets=budgets)


def _few(data: Path | None, count: int, budgets: Budgets) -> Samples | None:
    from ssmc.data import load_samples

    return None if data is None else load_samples(data, budgets).head(count)


def _analysis(bundle: Bundle, few: Samples | None, sqnr: float) -> tuple[KernelAnalysis, ...]:
    import numpy as np

    from ssmc.analysis.kernels import analyse
    from ssmc.ir.executor import check_input, kernel_inputs
    from ssmc.ir.operations import StateSpace

    program = bundle.compiled.program
    fed = {}
    if few is not None:
        x, lengths = few.batch(np.arange(len(few)))
        fed = kernel_inputs(program, (check_input(program, x), lengths))
    return tuple(analyse(program, op, fed.get(op.name), sqnr) for op in program.ops if isinstance(op, StateSpace))

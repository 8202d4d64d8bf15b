"""``ssmc inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ssmc.report.facts import Report


@click.command(short_help="Operations, code types, kernels, poles.")
@click.argument("path", metavar="MODEL|BUNDLE", type=click.Path(path_type=Path))
@click.option("--kernels", is_flag=True, help="Only the state-space kernels: form, bits, poles, stability margin.")
@click.option("--poles", is_flag=True, help="Also list every distinct pole.")
def inspect(path: Path, kernels: bool, poles: bool) -> None:
    """What a MODEL (.onnx) or a BUNDLE holds: operations, code types, kernels with their poles.

    A model is compiled for the integer target in memory, without the oracle; nothing is written.

    \b
    Example:
      ssmc inspect model.onnx
      ssmc inspect out --kernels
    """
    from ssmc.report.text import kernels_table, ops_table

    report = _facts(path)
    blocks = [] if kernels else [ops_table(report)]
    blocks.append(kernels_table(report.kernels) or "no state-space kernels")
    for kernel in report.kernels if poles else ():
        blocks.append(
            "\n".join([f"poles of {kernel.name} (im >= 0)", *(f"  {re:+.4f} {im:+.4f}i" for re, im in kernel.poles)])
        )
    click.echo("\n\n".join(blocks))


def _facts(path: Path) -> Report:
    from ssmc import bundle

    return bundle.load(path).report if path.is_dir() else bundle.compile(path, oracle=False).report

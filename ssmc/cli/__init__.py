"""The command line: one module per command, no logic here, heavy imports only inside the command that needs them."""

from __future__ import annotations

import click

import ssmc
from ssmc.cli import (
    check,
    compiling,
    differing,
    explain,
    exporting,
    hardware,
    inspecting,
    listing,
    noising,
    programming,
    quantizing,
    reducing,
    reporting,
    running,
    sweeping,
)
from ssmc.cli.failing import FailingGroup


@click.group(cls=FailingGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(ssmc.__version__, prog_name="ssmc")
def cli() -> None:
    """Compile quantized state-space models for the hardware that runs them.

    \b
    ssmc compile model.onnx --target aimc -o out     compile, check and report
    ssmc run out --data test.npz                     run the compiled model
    ssmc check out --data test.npz --baseline b.json compare accuracy and costs with a baseline
    ssmc diff out-before out-after                   what changed, the largest change first
    ssmc sweep points.toml --html points.html        many compilations, and what is best at equal cost

    Exit status: 0 done, 1 model not acceptable, 2 wrong use, 3 verification failed, 4 gate crossed, 70 our bug.
    """


for _command in (
    exporting.export,
    reducing.reduce,
    quantizing.quantize,
    compiling.compile_,
    running.run,
    noising.noise,
    programming.program,
    check.check,
    differing.diff,
    sweeping.sweep,
    inspecting.inspect,
    explain.explain,
    reporting.report,
    listing.passes,
    listing.targets,
    listing.supports,
    hardware.hardware,
):
    cli.add_command(_command)


def main() -> None:
    """Entry point of the console script."""
    cli(prog_name="ssmc")

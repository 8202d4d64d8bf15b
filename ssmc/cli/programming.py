"""``ssmc program``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssmc.cli.say import say
from ssmc.cli.types import COUNT, budget_option

if TYPE_CHECKING:
    from ssmc.budgets import Budgets


@click.command("program", short_help="Write what a laboratory programs into a chip.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Sequences (.npz) for the test vectors.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), required=True, help="Folder in which to write the files."
)
@click.option("--samples", type=COUNT, default=8, show_default=True, help="How many of the sequences to take.")
@budget_option
def program(bundle: Path, data: Path, output: Path, samples: int, budgets: Budgets) -> None:
    """Write what a laboratory needs to run a crossbar BUNDLE: conductances, converters, drives, and expected codes.

    \b
    Example:
      ssmc program out --data test.npz -o chip
    """
    from ssmc.bundle.files import require_target_folder, write_folder
    from ssmc.bundle.folder import load
    from ssmc.data import load_samples
    from ssmc.errors import UsageError
    from ssmc.targets.aimc.laboratory import laboratory
    from ssmc.targets.aimc.target import AimcCompiled

    require_target_folder(output)
    loaded = load(bundle)
    sequences = load_samples(data, budgets, loaded.compiled.program.inputs).head(samples)
    compiled = loaded.compiled
    if not isinstance(compiled, AimcCompiled):
        raise UsageError("SSMC-U12", f"target '{loaded.target}' has no devices to program", "compile for aimc")
    made = laboratory(compiled.lowered, compiled.tiles, compiled.hardware, sequences)
    write_folder(output, made.files())
    say(f"wrote {output}: {len(made.conductances)} arrays, {len(sequences)} sequences; see {output / 'README.md'}")

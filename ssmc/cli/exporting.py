"""``ssmc export``."""

from __future__ import annotations

import re
from pathlib import Path

import click

from ssmc.cli.say import say
from ssmc.cli.types import NewFile, Writing

LENGTH = re.compile(r"0*[1-9][0-9]{0,8}")


@click.command(cls=Writing, short_help="Export a torch model to ONNX.")
@click.argument("factory", metavar="MODULE:FACTORY")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="State dict to load, a file that torch.save wrote.")
@click.option(
    "--example",
    required=True,
    metavar="N,T[,D]",
    help="Shape of an example input: batch, time and features such as 2,40,32; 2,40 for token ids.",
)
@click.option(
    "--output",
    "-o",
    type=NewFile(),
    default="model.onnx",
    show_default=True,
    help="ONNX file to write.",
)
def export(factory: str, checkpoint: Path | None, example: str, output: Path) -> None:
    """Export a torch model to ONNX (needs torch: pip install torch onnxscript).

    MODULE:FACTORY names a function without arguments that returns the model. MODULE is an importable module
    (my_package.model:build) or a file (train.py:build).

    State-space layers that torch cannot export are swapped for scans: S4D, S4, S5, LRU, LMU, and what other adapters
    know (docs/models.md). The error of each, on random input, is printed, and refused above 1e-3. The file is compared
    with torch at another batch and length before it is written.

    \b
    Example:
      ssmc export train.py:build --checkpoint best.pt --example 2,40,32 -o model.onnx
    """
    from ssmc.errors import UsageError
    from ssmc.report.text import columns

    try:
        from ssmc.export.checkpoint import export_checkpoint
    except ModuleNotFoundError as missing:
        if missing.name not in {"torch", "onnxscript"}:
            raise
        raise UsageError("SSMC-U20", f"{missing.name} is not installed", "pip install torch onnxscript") from missing
    swaps = export_checkpoint(factory, checkpoint, _shape(example), output)
    rows = [(s.layer or "the model", s.kind, s.adapter, str(s.states), f"{s.error:.1e}", s.convention) for s in swaps]
    if rows:
        click.echo(columns(("layer", "class", "adapter", "states", "error", "convention"), rows))
    say(f"wrote {output}")


def _shape(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if len(parts) not in (2, 3) or not all(LENGTH.fullmatch(part.strip()) for part in parts):
        want = "give positive numbers: N,T,D such as 2,40,32, or N,T for token ids"
        raise click.BadParameter(want, param_hint="--example")
    return tuple(int(part) for part in parts)

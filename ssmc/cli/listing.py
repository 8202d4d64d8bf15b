"""``ssmc passes``, ``ssmc targets`` and ``ssmc supports``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ssmc.pipeline import Pass


@click.command(short_help="List the targets and their options.")
def targets() -> None:
    """List the targets and their options with default values.

    \b
    Example:
      ssmc targets
    """
    from ssmc.bundle.registry import REGISTRY
    from ssmc.report.text import columns

    click.echo(columns(("target", "description", "options"), [_row(name) for name in REGISTRY.names()]))


def _row(name: str) -> tuple[str, str, str]:
    """Name, what it is and options of a target; the error in place of the second where its package is broken."""
    from ssmc.bundle.registry import make_target, options_of
    from ssmc.errors import UsageError

    try:
        target = make_target(name)
    except UsageError as broken:
        return name, str(broken), ""
    line = (type(target).__doc__ or "").strip().splitlines()[0]
    return name, line, ", ".join(f"{key}={value}" for key, value in options_of(target).items())


@click.command(short_help="List the passes of a target.")
@click.option("--target", "-t", default="int", show_default=True, help="Target whose pipeline to list.")
@click.option(
    "--contracts", is_flag=True, help="Show the contract of every pass: what it requires, preserves and refuses."
)
def passes(target: str, contracts: bool) -> None:
    """List the passes of a target's pipeline, in order.

    \b
    Example:
      ssmc passes --target aimc
      ssmc passes --contracts
    """
    import inspect

    from ssmc.bundle.registry import make_target
    from ssmc.bundle.stages import with_checks
    from ssmc.report.text import columns

    pipeline = with_checks(make_target(target).pipeline(), "refuse")
    if contracts:
        blocks = [f"{p.name} (at most {p.effect.value})\n{inspect.cleandoc(type(p).__doc__ or '')}" for p in pipeline]
        click.echo("\n\n".join(blocks))
        return
    rows = [(p.name, p.effect.value, _levels(p), (type(p).__doc__ or "").strip().splitlines()[0]) for p in pipeline]
    click.echo(columns(("pass", "at most", "level", "description"), rows))


@click.command(short_help="List the operators that compile.")
def supports() -> None:
    """List the ONNX operators that compile, with their constraints.

    They are the rules of the pass fold-quantization: what recurrences and quantizers are read from is said beside
    ssmc::StateSpace and ssmc::Quant. "Quantized" is what 'ssmc quantize' makes it.

    \b
    Example:
      ssmc supports
    """
    from ssmc.passes.fold_quantization import supported
    from ssmc.report.text import columns

    click.echo(columns(("operator", "where"), supported()))


def _levels(step: Pass) -> str:
    """Level that the pass requires, and the one at which it leaves the graph where that is another."""
    required = "any" if step.requires is None else step.requires.value
    return required if step.level in (None, step.requires) else f"{required} to {step.level.value}"

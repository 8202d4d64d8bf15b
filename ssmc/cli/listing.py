"""``ssmc passes`` and ``ssmc targets``."""

from __future__ import annotations

import click


@click.command(short_help="List the targets and their options.")
def targets() -> None:
    """List the targets and their options with default values.

    \b
    Example:
      ssmc targets
    """
    from ssmc.bundle.registry import TARGETS, make_target, options_of
    from ssmc.report.text import columns

    rows = [
        (name, line, ", ".join(f"{k}={v}" for k, v in options_of(make_target(name)).items()))
        for name, (_, _, line) in TARGETS.items()
    ]
    click.echo(columns(("target", "description", "options"), rows))


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

    from ssmc.bundle.pruning import with_poles
    from ssmc.bundle.registry import make_target
    from ssmc.report.text import columns

    pipeline = with_poles(make_target(target).pipeline(), "refuse")
    if contracts:
        blocks = [f"{p.name} ({p.effect.value})\n{inspect.cleandoc(type(p).__doc__ or '')}" for p in pipeline]
        click.echo("\n\n".join(blocks))
        return
    rows = [(p.name, p.effect.value, (type(p).__doc__ or "").strip().splitlines()[0]) for p in pipeline]
    click.echo(columns(("pass", "effect", "description"), rows))

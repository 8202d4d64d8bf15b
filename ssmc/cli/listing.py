"""``ssmc passes`` and ``ssmc targets``."""

from __future__ import annotations

import click


@click.command(short_help="List the targets.")
def targets() -> None:
    """List the targets and their options.

    \b
    Example:
      ssmc targets
    """
    from ssmc.bundle.registry import REGISTRY
    from ssmc.report.text import columns

    click.echo(columns(("target", "what it is", "options"), [_row(name) for name in REGISTRY.names()]))


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
@click.option("--target", "-t", default="int", show_default=True, help="Whose pipeline.")
@click.option("--contracts", is_flag=True, help="With what each pass requires, preserves and refuses.")
def passes(target: str, contracts: bool) -> None:
    """List the passes of a target's pipeline, in order.

    \b
    Example:
      ssmc passes --target aimc
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
    click.echo(columns(("pass", "effect", "what it does"), rows))

"""``ssmc passes``, ``ssmc targets`` and ``ssmc hardware``."""

from __future__ import annotations

import click


@click.command(short_help="List the targets.")
def targets() -> None:
    """List the targets and their options.

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
    click.echo(columns(("target", "what it is", "options"), rows))


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

    from ssmc.bundle.registry import make_target
    from ssmc.report.text import columns

    pipeline = make_target(target).pipeline()
    if contracts:
        blocks = [f"{p.name} ({p.effect.value})\n{inspect.cleandoc(type(p).__doc__ or '')}" for p in pipeline]
        click.echo("\n\n".join(blocks))
        return
    rows = [(p.name, p.effect.value, (type(p).__doc__ or "").strip().splitlines()[0]) for p in pipeline]
    click.echo(columns(("pass", "effect", "what it does"), rows))


@click.command(short_help="List, check and show hardware files.")
@click.argument("hardware", metavar="[NAME|FILE]", required=False)
def hardware(hardware: str | None) -> None:
    """List the hardware presets, or check one or a TOML file of your own and show every key and where it is from.

    \b
    Example:
      ssmc hardware
      ssmc hardware taox64
      ssmc hardware my-chip.toml
    """
    from ssmc.report.text import columns
    from ssmc.targets.aimc.hardware import hardware_data, load_hardware, preset_names

    if hardware is None:
        click.echo(
            columns(("name", "what it is"), [(name, load_hardware(name).description) for name in preset_names()])
        )
        return
    loaded = load_hardware(hardware)
    tables = {name: table for name, table in hardware_data(loaded).items() if isinstance(table, dict)}
    rows = [
        (f"{name}.{key}", str(entry["value"]), _interval(entry), loaded.origins[f"{name}.{key}"])
        for name, table in tables.items()
        for key, entry in table.items()
    ]
    click.echo(f"{loaded.name}: {loaded.description}\n\n{columns(('key', 'value', 'low to high', 'from'), rows)}")


def _interval(entry: dict[str, object]) -> str:
    low, high = entry.get("low"), entry.get("high")
    return "" if low == high else f"{low} to {high}"

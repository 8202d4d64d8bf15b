"""``ssmc hardware``: list, show, validate, new."""

from __future__ import annotations

from pathlib import Path

import click

from ssmc.cli.say import say
from ssmc.cli.types import Finite, settings_option

NODE = "technology.node_nm"


class ShowByName(click.Group):
    """A group in which ``hardware NAME`` is short for ``hardware show NAME``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command, or ``show`` where the first word is none."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["show", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=ShowByName, invoke_without_command=True, short_help="List, show, check and write hardware files.")
@click.pass_context
def hardware(ctx: click.Context) -> None:
    """List, show, check and write hardware files: presets, or TOML files of your own (docs/hardware.md).

    \b
    Example:
      ssmc hardware list
      ssmc hardware show taox64
      ssmc hardware new my-chip.toml
      ssmc hardware validate my-chip.toml
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_)


@hardware.command("list", short_help="List the presets.")
def list_() -> None:
    """List the hardware presets, ssmc's own and those of installed packages.

    \b
    Example:
      ssmc hardware list
    """
    from ssmc.hardware.file import known_names
    from ssmc.report.text import columns

    click.echo(columns(("name", "description"), [(name, _described(name)) for name in known_names()]))


@hardware.command(short_help="Show every key, its interval and its source.")
@click.argument("hardware", metavar="NAME|FILE")
@click.option("--toml", is_flag=True, help="Print it as a hardware file.")
@settings_option
def show(hardware: str, toml: bool, settings: tuple[str, ...]) -> None:
    """Show every key of a preset or a hardware file: value, interval, and its source or the reason to assume it.

    \b
    Example:
      ssmc hardware show isaac128
      ssmc hardware show taox64 --set adc.bits=6 --toml
    """
    from ssmc.hardware.file import entries, load_hardware
    from ssmc.hardware.schema import file_text
    from ssmc.hardware.settings import with_settings
    from ssmc.printable import printable
    from ssmc.report.text import columns

    loaded = with_settings(load_hardware(hardware), settings)
    if toml:
        click.echo(file_text(loaded), nl=False)
        return
    rows = [
        (key, _shown(entry["value"]), _interval(entry), loaded.origins.get(key, ""))
        for key, entry in entries(loaded).items()
    ]
    title = printable(f"{loaded.name}: {loaded.description}")
    click.echo(f"{title}\n\n{columns(('key', 'value', 'low to high', 'from'), rows)}")


@hardware.command(short_help="Check keys, units and plausibility of a file.")
@click.argument("file", type=click.Path(path_type=Path))
def validate(file: Path) -> None:
    """Check a hardware FILE: report the first error, or how many of its values are assumed.

    \b
    Example:
      ssmc hardware validate my-chip.toml
    """
    from ssmc.hardware.file import load_hardware

    loaded = load_hardware(file)
    assumed = sum(origin.startswith("assumed") for origin in loaded.origins.values())
    say(f"{file}: good; {len(loaded.origins)} keys, {assumed} of them assumed")


@hardware.command(short_help="Write a hardware file: a template, or a preset changed.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--from", "source", metavar="NAME|FILE", help="Start from a preset or another file. Default: a template.")
@click.option("--node", type=Finite(min=1, max=1000), metavar="NM", help="The same as --set technology.node_nm=NM.")
@settings_option
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def new(file: Path, source: str | None, node: float | None, settings: tuple[str, ...], force: bool) -> None:
    """Write a hardware file: a template, or the chip of another file with some keys changed.

    Comments give the meaning and the range of every key. Figures that are for a key that you change (the energy of a
    conversion for the converter's bits) follow it where a law is known; the others are named, and marked in the file.

    \b
    Example:
      ssmc hardware new my-chip.toml
      ssmc hardware new my-chip.toml --from taox64 --set adc.bits=6 --set adc.energy_pj=10:20:30
    """
    from ssmc.errors import UsageError

    if file.exists() and not force:
        raise UsageError("SSMC-H10", "exists already", "choose another name, or --force", str(file))
    if node is not None and any(setting.partition("=")[0].strip() == NODE for setting in settings):
        raise UsageError("SSMC-H11", f"--node is the same as --set {NODE}", "give one of them")
    given = (*settings, *(() if node is None else (f"{NODE}={node:g}",)))
    text = _text(source, given)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as cause:
        fact = f"cannot be written ({type(cause).__name__})"
        raise UsageError("SSMC-H10", fact, "choose a folder that exists", str(file)) from cause
    say(f"wrote {file}; replace the values, then: ssmc hardware validate {file}")


def _text(source: str | None, settings: tuple[str, ...]) -> str:
    from ssmc.errors import UsageError
    from ssmc.hardware.file import load_hardware
    from ssmc.hardware.schema import file_text, template
    from ssmc.hardware.settings import with_settings

    if source is not None:
        return file_text(with_settings(load_hardware(source), settings))
    if settings:
        raise UsageError("SSMC-H11", "--set and --node change a chip", "say which with --from")
    return template()


def _described(name: str) -> str:
    """The preset's description; the error where the package that provides it is broken."""
    from ssmc.errors import UsageError
    from ssmc.hardware.file import load_hardware

    try:
        return load_hardware(name).description
    except UsageError as broken:
        return str(broken)


def _interval(entry: dict[str, object]) -> str:
    low, high = entry.get("low"), entry.get("high")
    return "" if low == high else f"{_shown(low)} to {_shown(high)}"


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)

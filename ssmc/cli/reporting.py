"""``ssmc report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssmc.cli.say import say
from ssmc.cli.types import NewFile, Writing

if TYPE_CHECKING:
    from ssmc.bundle.folder import Bundle


@click.command(cls=Writing, short_help="Print or redraw a bundle's report.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--html", type=NewFile(), help="Write the report as an HTML page to this file instead.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON instead of tables.")
def report(bundle: Path, html: Path | None, as_json: bool) -> None:
    """Print the report of a BUNDLE: passes, operations, kernels, cost.

    \b
    Example:
      ssmc report out
      ssmc report out --html report.html
    """
    from ssmc.bundle.folder import load
    from ssmc.errors import UsageError
    from ssmc.ir.serialize import DAMAGE

    loaded = load(bundle)
    try:
        _show(loaded, html, as_json)
    except DAMAGE as cause:  # what `ssmc compile` wrote it has drawn itself, so that the files are not what it wrote
        fact = f"the figures cannot be drawn ({type(cause).__name__}: {cause})"
        raise UsageError("SSMC-B04", fact, "compile the model again", str(bundle)) from cause


def _show(loaded: Bundle, html: Path | None, as_json: bool) -> None:
    from ssmc.bundle.files import write_file
    from ssmc.report.facts import dump_json
    from ssmc.report.html import render_html
    from ssmc.report.text import report_text

    if html is not None:
        write_file(html, render_html(loaded.report).encode())
        say(f"wrote {html}")
    elif as_json:
        click.echo(dump_json(loaded.report.to_json()), nl=False)
    else:
        click.echo("\n\n".join(report_text(loaded.report, loaded.trace)))

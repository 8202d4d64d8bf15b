"""``ssmc sweep``."""

from __future__ import annotations

from pathlib import Path

import click

from ssmc.cli.progress import counting
from ssmc.cli.say import say
from ssmc.cli.types import COUNT, NewFile, Writing


@click.command("sweep", cls=Writing, short_help="Compile many points, and show what is best at equal cost.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="DB",
    help="SQLite file that keeps the results. Default: FILE with the ending .sqlite.",
)
@click.option("--jobs", "-j", type=COUNT, default=1, show_default=True, help="Processes of this machine to use.")
@click.option("--dask", metavar="ADDRESS", default="", help="Dask scheduler whose workers to use instead.")
@click.option("--csv", "as_csv", type=NewFile(), help="Also write all figures as CSV to this file.")
@click.option("--html", type=NewFile(), help="Also write a page with Pareto plots to this file.")
@click.option("--list", "only_list", is_flag=True, help="Show the points of FILE without compiling any.")
def sweep(
    file: Path, output: Path | None, jobs: int, dask: str, as_csv: Path | None, html: Path | None, only_list: bool
) -> None:
    """Compile every point of a sweep FILE (TOML), measure accuracy, count costs, and keep the results in a database.

    A point that has a result is not done again: run the same command after an interruption, or with more points in the
    file. docs/sweep.md describes the file.

    \b
    Example:
      ssmc sweep converters.toml --jobs 2 --html converters.html
      ssmc sweep converters.toml --dask tcp://scheduler:8786 --csv converters.csv
    """
    from ssmc.bundle.files import require_unread, write_file
    from ssmc.report.text import columns
    from ssmc.sweep.page import as_csv as csv_text
    from ssmc.sweep.page import as_html, as_table
    from ssmc.sweep.run import run_sweep
    from ssmc.sweep.spec import read_sweep
    from ssmc.sweep.store import Store

    asked = read_sweep(file)
    if only_list:
        rows = [[str(point.get(key, "")) for key in asked.varied] for point in asked.points]
        click.echo(columns(asked.varied, rows) or "1 point")
        return
    database = output or file.with_suffix(".sqlite")
    read = (file, *map(Path, asked.stamps))
    require_unread(database, read)
    for path in (as_csv, html):
        if path is not None:
            require_unread(path, (database, *read))
    with Store(database) as store:
        known = len(asked.points) - len(store.open_points(asked))
        if known:
            say(f"{known} of {len(asked.points)} points have results in {store.path}", err=True)
        with counting(len(asked.points) - known, "points") as advance:
            run_sweep(asked, store, jobs=jobs, dask=dask, progress=lambda result: advance(1))
        results = store.results(asked)
    click.echo(as_table(asked, results))
    for path, text in ((as_csv, csv_text(asked, results)), (html, as_html(asked, results, file.stem))):
        if path is not None:
            write_file(path, text.encode())
            say(f"wrote {path}")

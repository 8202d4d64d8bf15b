"""``ssmc noise``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssmc.cli.progress import counting
from ssmc.cli.say import say
from ssmc.cli.types import COUNT, SEED, NewFile, Writing, budget_option

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ssmc.budgets import Budgets
    from ssmc.data import Samples
    from ssmc.hardware.conductances import NoiseModel
    from ssmc.targets.aimc.target import AimcCompiled

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


@click.command("noise", cls=Writing, short_help="Simulate accuracy on noisy chips and over time.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="Labelled sequences (.npz): x, or flat and offsets; label.",
)
@click.option("--chips", type=COUNT, default=20, show_default=True, help="Number of chip instances to simulate.")
@click.option(
    "--times", default="0,1d,30d", show_default=True, metavar="LIST", help="Times since programming, in s, m, h or d."
)
@click.option(
    "--seed",
    type=SEED,
    default=0,
    show_default=True,
    help="Seed of the first chip; the others count up.",
)
@click.option("--device", help="Cell model to use instead of the hardware file's, such as pcm or reram_wan.")
@click.option(
    "--sensitivity",
    "alone",
    is_flag=True,
    help="Instead, one effect of real devices at a time, the most harmful first; --chips of each.",
)
@click.option("--dask", metavar="ADDRESS", default="", help="Dask scheduler whose workers simulate the chips.")
@click.option("--json", "as_json", type=NewFile(), help="Also write the result as JSON to this file.")
@click.option("--html", type=NewFile(), help="Also write an HTML page with plots to this file.")
@budget_option
def noise(
    bundle: Path,
    data: Path,
    chips: int,
    times: str,
    seed: int,
    device: str | None,
    alone: bool,
    dask: str,
    as_json: Path | None,
    html: Path | None,
    budgets: Budgets,
) -> None:
    """Simulate a BUNDLE (aimc) on many noisy chips: accuracy with confidence intervals, clipping, poles.

    \b
    Example:
      ssmc noise out --data test.npz --chips 20 --times 0,1d,30d --html noise.html
      ssmc noise out --data test.npz --chips 5 --sensitivity
    """
    from ssmc.bundle.files import write_file
    from ssmc.bundle.folder import load
    from ssmc.data import load_samples
    from ssmc.report.facts import dump_json
    from ssmc.report.noise import noise_html, noise_text
    from ssmc.targets.aimc.simulation.monte_carlo import monte_carlo
    from ssmc.targets.aimc.target import on_chip

    moments = seconds(times)
    loaded = load(bundle)
    samples = load_samples(data, budgets, loaded.compiled.program.inputs)
    compiled = on_chip(loaded.compiled, loaded.target)
    if alone:
        _sensitivity(compiled, samples, chips, seed, as_json)
        return
    model = _model(compiled, device)
    with _workers(dask) as workers, counting(chips * len(moments), "chips") as advance:
        found = monte_carlo(
            loaded, samples, chips=chips, times_s=moments, noise=model, seed=seed, progress=advance, workers=workers
        )
    result = found.to_json()
    click.echo(noise_text(result))
    if as_json is not None:
        write_file(as_json, dump_json(result).encode())
        say(f"wrote {as_json}")
    if html is not None:
        write_file(html, noise_html(result).encode())
        say(f"wrote {html}")


@contextmanager
def _workers(dask: str) -> Iterator[Executor | None]:
    """Those of a Dask cluster; None without an address."""
    if not dask:
        yield None
        return
    from ssmc.cluster import dask_client

    with dask_client(dask) as client, client.get_executor() as workers:
        yield workers


def _sensitivity(compiled: AimcCompiled, samples: Samples, chips: int, seed: int, as_json: Path | None) -> None:
    from ssmc.bundle.files import write_file
    from ssmc.report.facts import dump_json
    from ssmc.report.noise import sensitivity_text
    from ssmc.targets.aimc.simulation.sensitivity import effects, sensitivity

    with counting(chips * len(list(effects(compiled.hardware))), "chips") as advance:
        rows = sensitivity(compiled, samples, chips=chips, seed=seed, progress=advance)
    click.echo(sensitivity_text(rows))
    if as_json is not None:
        write_file(as_json, dump_json({"schema": "ssmc.sensitivity/1", "effects": rows}).encode())
        say(f"wrote {as_json}")


def _model(compiled: AimcCompiled, device: str | None) -> NoiseModel:
    from ssmc.errors import UsageError
    from ssmc.hardware.conductances import noise_of
    from ssmc.hardware.devices import DEVICES

    if device is None:
        return noise_of(compiled.hardware)
    known = ("gaussian", *sorted(DEVICES))
    if device not in known:
        raise UsageError("SSMC-U14", f"no cell model '{device}'", f"use one of {', '.join(known)}", "--device")
    return noise_of(compiled.hardware, device=device)


def seconds(times: str) -> tuple[float, ...]:
    """``0,90s,1h,30d`` in seconds; a bare number is seconds."""
    out = []
    for word in (part.strip() for part in times.split(",")):
        number, unit = (word[:-1], word[-1]) if word[-1:] in UNITS else (word, "s")
        try:
            value = float(number) * UNITS[unit]
        except ValueError:
            value = -1.0
        if not 0 <= value < 1e12:
            raise click.BadParameter(f"'{word}' is no time; write such as 0, 90s, 5m, 2h, 30d", param_hint="--times")
        out.append(value)
    return tuple(out)

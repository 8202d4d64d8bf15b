"""``ssmc explain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssmc.cli.types import COUNT, STEPS, budget_option

if TYPE_CHECKING:
    from ssmc.budgets import Budgets
    from ssmc.targets.aimc.cost.explain import Row


@click.command(short_help="Break a cost down into instructions and hardware keys.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("metric", default="energy_pj")
@click.option("--op", default="", help="Show only the contributions of this operation.")
@click.option("--steps", type=STEPS, help="Number of time steps of the inference. Default: as compiled.")
@click.option(
    "--data", type=click.Path(path_type=Path), help="Sequences (.npz) on which to measure data-dependent energies."
)
@click.option(
    "--rows",
    type=COUNT,
    default=20,
    show_default=True,
    help="Number of contributions to show, largest first.",
)
@budget_option
def explain(
    bundle: Path, metric: str, op: str, steps: int | None, data: Path | None, rows: int, budgets: Budgets
) -> None:
    """Break METRIC of a crossbar BUNDLE down by instruction: count, key of the hardware file, and source of its value.

    METRIC is energy_pj, area_um2, latency_ns, initiation_interval_ns, max_steps_per_s, leakage_uw,
    programming_energy_pj, adc_conversions, cell_reads, dac_drives, digital_macs, memory_bits, or a key of
    the hardware file, such as adc.energy_pj, for everything that this key prices.

    \b
    Example:
      ssmc explain out
      ssmc explain out max_steps_per_s
      ssmc explain out adc.energy_pj --op blocks.0.ssm
      ssmc explain out array.read_energy_fj_per_cell --data test.npz
    """
    from ssmc.bundle.folder import load
    from ssmc.data import load_samples
    from ssmc.errors import UsageError
    from ssmc.report.text import columns
    from ssmc.targets.aimc.cost.explain import explain as trace
    from ssmc.targets.aimc.target import AimcCompiled

    loaded = load(bundle)
    if not isinstance(loaded.compiled, AimcCompiled):
        fact = f"target '{loaded.target}' has no hardware file"
        raise UsageError("SSMC-U13", fact, "compile with --target aimc", str(bundle))
    count = steps or int(loaded.report.cost["steps"])
    costs, inputs = loaded.compiled.costs, loaded.compiled.program.inputs
    if data is not None:
        costs = loaded.compiled.costs_on(load_samples(data, budgets, inputs))
    found = trace(costs, metric, count, op)
    if not found:
        whose = f"of '{op}'" if op else f"in the program; '{loaded.compiled.hardware.name}' may not give the key"
        remedy = "see 'ssmc inspect'" if op else "see 'ssmc hardware show'"
        raise UsageError("SSMC-U13", f"nothing of '{metric}' is {whose}", remedy, str(bundle))
    click.echo(_headline(metric, count, found, costs.step_timing.limited_by))
    head = ("operation", "instruction", "how", "nominal", "low to high", "share", "key", "from")
    click.echo(columns(head, _lines(metric, found[:rows], sum(row.nominal for row in found))))
    if len(found) > rows:
        click.echo(f"and {len(found) - rows} smaller ones; --rows shows more")


def _headline(metric: str, steps: int, found: tuple[Row, ...], limited_by: str) -> str:
    from ssmc.report.costs import shown
    from ssmc.report.units import quantity

    low, nominal, high = (sum(getattr(row, end) for row in found) for end in ("low", "nominal", "high"))
    match metric:
        case "max_steps_per_s":
            return (
                f"max steps per s: {quantity('n', 1e9 / nominal)}, limited by {limited_by}: {quantity('ns', nominal)}\n"
            )
        case "initiation_interval_ns":
            return f"initiation interval: {quantity('ns', nominal)}, limited by {limited_by}\n"
        case "latency_ns":
            return f"latency of one step: {quantity('ns', nominal)}, along the critical path\n"
    span = shown(_unit(metric), {"low": low, "nominal": nominal, "high": high})
    return f"{metric}: {span}, {steps} steps\n"


def _unit(metric: str) -> str:
    """The key whose unit the rows have."""
    if "." not in metric:
        return "area_um2" if metric == "area_um2" else metric
    return "area_um2" if "area" in metric else "energy_pj"


def _lines(metric: str, found: tuple[Row, ...], total: float) -> list[tuple[str, ...]]:
    from ssmc.report.units import quantity

    unit = "ns" if metric in ("latency_ns", "initiation_interval_ns", "max_steps_per_s") else _unit(metric)
    lines: list[tuple[str, ...]] = []
    for row in found:
        span = "" if row.low == row.high else f"{quantity(unit, row.low)} to {quantity(unit, row.high)}"
        share = f"{row.nominal / total:.1%}" if total else ""
        value = quantity(unit, row.nominal)
        lines.append(
            (row.op, row.instruction, row.how, value, span, share, ", ".join(row.keys), "; ".join(row.origins))
        )
    return lines

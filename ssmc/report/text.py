"""The report in a terminal: plain aligned tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ssmc.analysis.kernels import KernelAnalysis
from ssmc.ir.serialize import Json
from ssmc.printable import printable
from ssmc.report.costs import comparison_rows, constant_rows, metric_rows, total_rows
from ssmc.report.crossbar import basis_lines, decision_lines, schedule_lines
from ssmc.report.facts import Report, is_computed_exactly
from ssmc.report.kernels import KernelFacts
from ssmc.report.summary import summary


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns as wide as their widest entry; nothing where there are no rows."""
    if not rows:
        return ""
    every = [[printable(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in every) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in every]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def pipeline_table(report: Report, trace: Json | None = None) -> str:
    """What each pass did, with time and deviations where a trace is at hand."""
    timing = {row["name"]: row for row in (trace or {}).get("passes", [])}
    head = ("pass", "effect", "applied", "declined", "deviation", "moved", "bound", "ms")
    rows = [
        (p.name, p.effect, str(len(p.applied)), str(len(p.declined)), *_timing(timing.get(p.name)))
        for p in report.passes
    ]
    return columns(head, rows)


def _timing(row: Json | None) -> tuple[str, ...]:
    if row is None:
        return "", "", "", ""
    figures = (row.get(key) for key in ("deviation", "moved", "bound"))  # older traces have the first alone
    return *("-" if figure is None else f"{figure:.1e}" for figure in figures), f"{row['ms']:.1f}"


def declined_lines(report: Report) -> str:
    """One line for every place where a pass declined to act."""
    return "\n".join(printable(f"{p.name}: {node}: {reason}") for p in report.passes for node, reason in p.declined)


def ops_table(report: Report) -> str:
    """The operations with types, widths and exactness."""
    head = ("operation", "kind", "rate", "size", "codes", "weights", "sums", "requant", "exactness")
    rows = [
        (
            op.name,
            op.kind,
            op.rate,
            str(op.size),
            f"{op.bits} bit [{op.lo}, {op.hi}]" if op.bits else "real",
            f"{op.weights} x {op.weight_bits} bit" if op.weights else "",
            f"{op.accumulator_bits} bit" if op.accumulator_bits else "",
            ", ".join(f"{kind} {count}" for kind, count in op.requant.items()),
            op.exactness if is_computed_exactly(op.kind) else "",
        )
        for op in report.ops
    ]
    return columns(head, rows)


def kernels_table(kernels: Sequence[KernelFacts]) -> str:
    """The state-space kernels with their precision, poles and stability margin."""
    head = (
        "kernel",
        "form",
        "groups",
        "states",
        "weight",
        "state_dac",
        "adc",
        "register",
        "max|pole|",
        "margin",
        "slowest",
    )
    rows = [
        (
            *(k.name, k.form, str(k.groups), str(k.states)),
            *(f"{bits} bit" for bits in (k.weight_bits, k.state_dac_bits, k.adc_bits, k.register_bits)),
            *(f"{k.largest_pole:.6f}", f"{k.stability_margin:.6f}" + (" UNSTABLE" if k.unstable_groups else "")),
            f"{k.slowest_steps:.1f} steps" if k.slowest_steps else "-",
        )
        for k in kernels
    ]
    return columns(head, rows)


CHANNEL_HEAD = (
    *("channel", "form", "states", "|pole| min", "|pole| max", "margin"),
    *("register l1", "l2", "adc l1", "l2", "SQNR dB", "adc bits"),
)


def channel_rows(kernel: KernelAnalysis) -> list[tuple[str, ...]]:
    """Poles, ranges as shares of what registers and converters hold, and predicted noise, channel by channel."""
    return [
        (
            *(str(c.channel), c.form, str(c.states)),
            *(_or_dash(v, ".4f") for v in (c.fastest, c.slowest)),
            _or_dash(c.margin, ".5f"),
            *(_or_dash(v, ".2f") for v in (c.worst_register, c.typical_register, c.worst_adc, c.typical_adc)),
            *(f"{c.sqnr_db:.1f}" if c.sqnr_db is not None else f"not valid: {c.why}", _or_dash(c.adc_bits, "d")),
        )
        for c in kernel.channels
    ]


def channels_table(kernel: KernelAnalysis) -> str:
    """One kernel, channel by channel."""
    fed = "the data" if kernel.signal == "data" else "white codes, as loud as fits"
    title = f"{printable(kernel.name)}: ranges and noise for {fed}; adc bits for {kernel.target_db:g} dB"
    title = skipped_line(kernel) or title
    return f"{title}\n{columns(CHANNEL_HEAD, channel_rows(kernel))}"


def skipped_line(kernel: KernelAnalysis) -> str:
    """What the analysis of a kernel left out, and why; empty where it left out nothing."""
    return printable(f"{kernel.name}: ranges and noise were not analysed: {kernel.skipped}") if kernel.skipped else ""


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def cost_tables(report: Report) -> Iterator[str]:
    """Totals, and figures that do not grow with the number of steps."""
    yield columns(("counted", "one step", f"{report.cost.get('steps', 0)} steps"), total_rows(report.cost))
    yield columns(("figure", "value"), constant_rows(report.cost))
    yield columns(("real time", "value"), schedule_lines(report.cost))
    yield columns(("what the figures rest on", ""), basis_lines(report.cost))
    yield "\n".join(decision_lines(report.cost))


def comparison_table(report: Report) -> str:
    """The alternatives side by side, per inference."""
    return columns(("figure", *sorted(report.comparison)), comparison_rows(report.comparison))


def metrics_table(report: Report) -> str:
    """ACE, size and ADC complexity in both countings."""
    return columns(("metric", "counting", "fp32", "this model", "less by"), metric_rows(report.metrics))


def report_text(report: Report, trace: Json | None = None) -> Iterator[str]:
    """The blocks of the whole report, in order."""
    name = printable(f"{report.model['name'] or 'model'} on {report.target['name']}")
    yield "\n".join([name, *(f"  {value:>12}  {label}  {note}".rstrip() for value, label, note in summary(report))])
    yield from filter(None, [pipeline_table(report, trace), declined_lines(report), ops_table(report)])
    yield from filter(
        None,
        [
            kernels_table(report.kernels),
            *map(skipped_line, report.analysis),
            *cost_tables(report),
            comparison_table(report),
            metrics_table(report),
        ],
    )

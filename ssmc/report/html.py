"""``report.html``: one self-contained page without scripts or network, drawn from the report's data alone."""

from __future__ import annotations

from collections.abc import Iterator

from ssmc.analysis.kernels import KernelAnalysis
from ssmc.ir.serialize import Json
from ssmc.report.costs import breakdowns, comparison_rows, constant_rows, metric_rows, nominal, spans, total_rows
from ssmc.report.crossbar import crossbar_sections
from ssmc.report.facts import OpFacts, PassFacts, Report, is_computed_exactly
from ssmc.report.kernels import KernelFacts
from ssmc.report.markup import Cell, badge, cards, escape, folded, page, section, table
from ssmc.report.summary import summary
from ssmc.report.svg import bars, pole_plot, pole_zoom
from ssmc.report.text import CHANNEL_HEAD, channel_rows, skipped_line
from ssmc.report.units import NAMES, number, quantity, unit_of, words

OPEN_LIST = 3
UNSET = {"", "()", "None", "0", "0.0"}
METRICS_HEAD = ("metric", "counting", "fp32", "this model", "less by")


def render_html(report: Report) -> str:
    """The whole page."""
    title = f"{report.model['name'] or 'model'} on {report.target['name']}"
    parts = [
        _pipeline(report),
        _operations(report),
        _kernels(report),
        _noise(report),
        _cost(report),
        *crossbar_sections(report.cost),
        _comparison(report),
        _metrics(report),
    ]
    footer = (
        f"Compiled by ssmc {report.ssmc}. Drawn from report.json; timings and the deviation measured after each pass "
        "are in trace.json."
    )
    return page(title, _subtitle(report), cards(summary(report)), *parts, footer=footer)


def _subtitle(report: Report) -> str:
    model = report.model
    every = model.get("output_every_steps", 1)
    rate = model["output_rate"] if every == 1 else f"{every} steps"
    given = ((words(key), value) for key, value in sorted(report.target.items()) if key != "name")
    options = ", ".join(f"{key} {value}" for key, value in given if value not in UNSET)
    text = f"{model['input_size']} inputs per step, {model['output_size']} outputs per {rate}"
    return f"{text} · {options}" if options else text


def _pipeline(report: Report) -> str:
    if not report.passes:
        return ""
    head = ("pass", "effect", "applied to", "declined, and why")
    lead = (
        "The passes in order. An exact pass keeps the meaning, a bounded one moves it by less than a stated bound, a "
        "lossy one was asked for and is judged by accuracy; trace.json has what onnxruntime measured of each."
    )
    return section("Pipeline", lead, table(head, [_pass_row(p) for p in report.passes]))


def _pass_row(facts: PassFacts) -> tuple[Cell, ...]:
    declined = [f"{node}: {reason}" for node, reason in facts.declined]
    return facts.name, badge(facts.effect, facts.effect), _listed(facts.applied), _listed(tuple(declined))


def _listed(items: tuple[str, ...]) -> Cell:
    if not items:
        return "–"
    return ", ".join(items) if len(items) <= OPEN_LIST else folded(f"{len(items)} places", items)


def _operations(report: Report) -> str:
    head = ("operation", "kind", "rate", "size", "output codes", "weights", "sums", "requantized by", "exactness")
    rows = [_op_row(op) for op in report.ops]
    lead = (
        "The integer program. Proven: equal to the real-valued meaning, rounded half to even, for every reachable "
        "accumulator; bounded(x): within x output codes of it before rounding, what converters round of partial sums "
        "included. Sums: bits, sign included, "
        "that no partial sum can pass, whatever the input."
    )
    return section("Operations", lead, table(head, rows, numeric=(3,)))


def _op_row(op: OpFacts) -> tuple[Cell, ...]:
    codes = f"{op.bits} bit [{op.lo}, {op.hi}]" if op.bits else "real"
    zero = f", {op.zero_weights / op.weights:.0%} zero" if op.zero_weights else ""
    weights = f"{number(op.weights)} × {op.weight_bits} bit{zero}" if op.weights else "–"
    requant = ", ".join(f"{kind} {count}" for kind, count in op.requant.items()) or "–"
    exact = badge(op.exactness, "bounded" if op.bound else "proven") if is_computed_exactly(op.kind) else "–"
    sums = f"{op.accumulator_bits} bit" if op.accumulator_bits else "–"
    return op.name, op.kind, op.rate, number(op.size), codes, weights, sums, requant, exact


def _kernels(report: Report) -> str:
    if not report.kernels:
        return ""
    head = (
        "kernel",
        "form",
        "H × states",
        "weight",
        "state DAC",
        "ADC",
        "register",
        "largest |λ|",
        "margin",
        "slowest",
        "",
    )
    lead = (
        "Poles of the quantized matrices, exact up to float eigenvalues. The margin is 1 − |λ| of the weakest pole; "
        "the slowest mode decays by 1/e in that many steps."
    )
    rows = [_kernel_row(k) for k in report.kernels]
    plots = "".join(
        f"<div><h3>{escape(k.name)}</h3>{pole_plot(k.poles, f'poles of {k.name}')}"
        f"{pole_zoom(k.poles, f'poles of {k.name} near 1')}</div>"
        for k in report.kernels
    )
    return section("Kernels", lead, table(head, rows, numeric=range(3, 10)), f'<div class="pair">{plots}</div>')


def _noise(report: Report) -> str:
    """Ranges and predicted noise per channel, folded by kernel."""
    lead = (
        "For white input codes as loud as fits. Register and ADC: worst case (l1, at most 1 proves that nothing "
        "overflows) and standard deviation (l2) as shares of what they hold. SQNR: predicted by white converter noise "
        "(Lyapunov equation), where the model's own test calls it valid; ADC bits: the fewest that reach the target."
    )
    parts = [
        f"<details><summary>{escape(_noise_summary(kernel))}</summary>"
        f"{table(CHANNEL_HEAD, channel_rows(kernel), numeric=range(2, 12))}</details>"
        for kernel in report.analysis
    ]
    return section("Ranges and noise", lead, *parts)


def _noise_summary(kernel: KernelAnalysis) -> str:
    if kernel.skipped:
        return skipped_line(kernel)
    known = sorted(c.sqnr_db for c in kernel.channels if c.sqnr_db is not None)
    span = f", predicted SQNR {known[0]:.1f} to {known[-1]:.1f} dB" if known else ""
    return f"{kernel.name}: valid in {len(known)} of {len(kernel.channels)} channels{span}"


def _kernel_row(k: KernelFacts) -> tuple[Cell, ...]:
    widths = (f"{bits} bit" for bits in (k.weight_bits, k.state_dac_bits, k.adc_bits, k.register_bits))
    verdict = badge(f"{k.unstable_groups} unstable", "unstable") if k.unstable_groups else badge("stable", "stable")
    slowest = f"{k.slowest_steps:.1f} steps" if k.slowest_steps else "–"
    margin = f"{k.stability_margin:.5f}"
    return k.name, k.form, f"{k.groups} × {k.states}", *widths, f"{k.largest_pole:.5f}", margin, slowest, verdict


def _cost(report: Report) -> str:
    totals, fixed = total_rows(report.cost), constant_rows(report.cost)
    if not totals and not fixed:
        return ""
    heads = ("counted", "one step", f"{number(report.cost['steps'])} steps")
    lead = (
        "Totals of one step and of one inference. Latency, interval and totals are three kinds of number; where a key "
        "of the hardware file is uncertain, the figure is nominal (low to high)."
    )
    charts = f'<div class="charts">{"".join(_charts(report.cost))}</div>'
    tables = table(heads, totals, numeric=(1, 2)), table(("figure", "value"), fixed, numeric=(1,))
    return section("Cost", lead, *tables, charts, *_details(report.cost))


def _charts(cost: Json) -> Iterator[str]:
    for title, key, values in breakdowns(cost):
        drawing = bars(values, key, title, share=unit_of(key) != "ns")
        yield f"<figure><h3>{escape(title)}</h3>{drawing}</figure>"


def _details(cost: Json) -> Iterator[str]:
    """The lists of the cost, folded: components, critical path, what became of each matrix."""
    for name in ("matrices", "critical_path", "components"):
        rows = cost.get(name, [])
        if rows:
            keys = sorted({key for row in rows for key in row}, key=_column)
            cells = [[quantity(key, row.get(key, "")) for key in keys] for row in rows]
            inner = table([words(key) for key in keys], cells)
            yield f"<details><summary>{escape(words(name))}: {len(rows)} rows</summary>{inner}</details>"


def _column(key: str) -> tuple[int, str]:
    """Names first, in their order, then the figures."""
    return NAMES.index(key) if key in NAMES else len(NAMES), key


def _comparison(report: Report) -> str:
    if not report.comparison:
        return ""
    names = [words(name) for name in sorted(report.comparison)]
    rows = comparison_rows(report.comparison)
    lead = "The same program mapped in other ways, per inference; the cheapest is not always the one chosen."
    energies = {name: _energy(report.comparison[name]) for name in sorted(report.comparison)}
    chart = bars({n: e for n, e in energies.items() if e}, "energy_pj", "energy per inference", share=False)
    return section(
        "Comparison",
        lead,
        f"<h3>energy per inference</h3>{chart}",
        f'<div class="wraps">{table(("figure", *names), rows, numeric=range(1, len(names) + 1))}</div>',
    )


def _energy(variant: Json) -> float | None:
    return nominal(spans(variant).get("energy_pj", {}).get("per_sequence"))


def _metrics(report: Report) -> str:
    rows = metric_rows(report.metrics)
    if not rows:
        return ""
    lead = (
        "Figures that the literature compares by, against the same model with every width at 32 bits, in two "
        "countings: that of QS4D, for comparison, and ours, which counts every matrix as it is."
    )
    return section("Metrics", lead, table(METRICS_HEAD, rows, numeric=(2, 3, 4)))

"""A Monte Carlo result (schema ``ssmc.noise/1``) as text and as a page with a plot; drawn from its JSON alone."""

from __future__ import annotations

from collections.abc import Sequence

from ssmc.ir.serialize import Json
from ssmc.report.markup import cards, escape, page, section, table
from ssmc.report.noise_plots import accuracy_plot, clip_maps, duration, pole_plot
from ssmc.report.text import columns

TIME_HEAD = ("since programming", "mean over chips", "95 % interval", "worst chip", "best chip", "as the ideal chip")
POLE_HEAD = (
    "kernel",
    "since programming",
    "ideal largest |pole|",
    "on chips",
    "poles at or beyond 1",
    "chips with any",
)
POLE_LEAD = (
    "Largest |pole| of the matrices as written: a dot is a chip, red at or beyond 1, the short bar the ideal chip. "
    "Beyond 1 a state grows until its register clips."
)
CLIP_LEAD = (
    "Conversions outside the converter's range. The maps show the last time, all chips: a cell is a column of the "
    "matrix (groups down, outputs across), darker where more of its conversions clip; hover for the share."
)
CLIP_HEAD = ("matrix", "since programming", "ideal", "noisy", "worst column", "there")


def noise_text(result: Json) -> str:
    """Three tables."""
    word = "accuracy" if result["labelled"] else "agreement with the ideal chip"
    ideal = result["ideal_accuracy"]
    head = (
        f"{len(result['at'][0]['chips'])} chips of '{result['hardware']}', {result['sequences']} sequences, "
        f"{result['steps']} steps; {word}, ideal {ideal['value']:.4f} ({ideal['low']:.4f} to {ideal['high']:.4f})"
    )
    blocks = [columns(TIME_HEAD, time_rows(result)), columns(POLE_HEAD, pole_rows(result)), *warnings(result)]
    return "\n\n".join([head, *(block for block in [*blocks, columns(CLIP_HEAD, clip_rows(result))] if block)])


def sensitivity_text(rows: Sequence[Json]) -> str:
    """One effect a line, the most harmful first."""
    head = ("effect alone", "size", "accuracy", "95 % interval", "lost", "size from")
    shown = [
        (
            row["effect"],
            row["size"],
            f"{row['accuracy']['value']:.4f}",
            f"{row['accuracy']['low']:.4f} to {row['accuracy']['high']:.4f}",
            f"{100 * row['lost']:.1f} points",
            row["source"],
        )
        for row in rows
    ]
    return f"ideal {rows[0]['ideal']:.4f}\n\n{columns(head, shown)}"


def warnings(result: Json) -> list[str]:
    """What the poles mean, at the first time that any chip has one at or beyond 1."""
    for at in result["at"]:
        found = {op: kernel for op, kernel in at["kernels"].items() if kernel["unstable_chips"]}
        if not found:
            continue
        of = len(at["chips"])
        share = sum(sum(k["unstable_poles"]) for k in found.values()) / sum(k["of"] * of for k in found.values())
        worst = max(max(kernel["chips"]) for kernel in found.values())
        return [
            f"Unstable: {of - stable_chips(at)} of {of} chips have poles at or beyond 1 ({duration(at['time_s'])} "
            f"after programming), in {', '.join(found)}: {share:.1%} of their poles, the largest {worst:.3f}. Rounding "
            "apart, such a state does not forget: it runs into the limits of its register and stays there. What is "
            "measured here says nothing about longer sequences."
        ]
    return []


def time_rows(result: Json) -> list[tuple[str, ...]]:
    """Accuracy per time."""
    rows: list[tuple[str, ...]] = []
    for at in result["at"]:
        mean, chips = at["accuracy"], [chip["value"] for chip in at["chips"]]
        interval = f"{mean['low']:.4f} to {mean['high']:.4f}"
        ends = f"{min(chips):.4f}", f"{max(chips):.4f}"
        rows.append((duration(at["time_s"]), f"{mean['value']:.4f}", interval, *ends, f"{at['agreement']:.4f}"))
    return rows


def pole_rows(result: Json) -> list[tuple[str, ...]]:
    """Poles per kernel and time."""
    rows: list[tuple[str, ...]] = []
    for at in result["at"]:
        for op, kernel in at["kernels"].items():
            count = len(kernel["chips"])
            beyond = f"{sum(kernel['unstable_poles']) / count:.1f} of {kernel['of']} a chip"
            spread = f"{min(kernel['chips']):.4f} to {max(kernel['chips']):.4f}"
            chips = f"{kernel['unstable_chips']} of {count}"
            rows.append((op, duration(at["time_s"]), f"{kernel['ideal']:.5f}", spread, beyond, chips))
    return rows


def clip_rows(result: Json) -> list[tuple[str, ...]]:
    """Clipped conversions per matrix and time."""
    return [
        (
            op,
            duration(at["time_s"]),
            "" if clips["ideal_share"] is None else f"{clips['ideal_share']:.3%}",
            f"{clips['share']:.3%}",
            f"group {clips['worst_column'][0]}, output {clips['worst_column'][1]}",
            f"{clips['worst_share']:.2%}",
        )
        for at in result["at"]
        for op, clips in at["clips"].items()
    ]


def noise_html(result: Json) -> str:
    """One self-contained page."""
    title = f"Noise on {result['hardware']}"
    first = result["at"][0]
    kind = "accuracy" if result["labelled"] else "agreement with the ideal chip"
    stable = f"{stable_chips(first)} of {len(first['chips'])}"
    figures = (
        (f"{result['ideal_accuracy']['value']:.1%}", f"ideal {kind}", f"{result['sequences']} sequences"),
        (f"{first['accuracy']['value']:.1%}", duration(first["time_s"]), f"{len(first['chips'])} chips"),
        *later_figure(result),
        (stable, "chips with all poles inside 1", duration(first["time_s"])),
    )
    lead = "A dot is a chip; the bar is the mean with its 95 % interval (chips and sequences resampled); dashed: ideal."
    model = [(key, str(value)) for key, value in sorted(result["noise"].items()) if value]
    return page(
        title,
        "",
        cards(figures),
        section(kind.capitalize(), lead, accuracy_plot(result), table(TIME_HEAD, time_rows(result))),
        section("Poles", POLE_LEAD, _poles(result)),
        section("Clipping", CLIP_LEAD, _clips(result)),
        section("Noise model", "What was not ideal (docs/noise.md).", table(("key", "value"), model)),
    )


def stable_chips(at: Json) -> int:
    """Chips whose poles, of every kernel, lie inside the unit circle."""
    worst = [max(values) for values in zip(*(kernel["chips"] for kernel in at["kernels"].values()), strict=True)]
    return sum(value < 1 for value in worst) if worst else len(at["chips"])


def later_figure(result: Json) -> list[tuple[str, str, str]]:
    """The last time, where there is more than one."""
    last = result["at"][-1]
    if len(result["at"]) == 1:
        return []
    return [(f"{last['accuracy']['value']:.1%}", f"after {duration(last['time_s'])}", "mean over chips")]


def _poles(result: Json) -> str:
    rows = pole_rows(result)
    if not rows:
        return ""
    notes = "".join(f'<p class="warning">{escape(text)}</p>' for text in warnings(result))
    return notes + pole_plot(result) + table(POLE_HEAD, rows)


def _clips(result: Json) -> str:
    rows = clip_rows(result)
    if not rows:
        return ""
    maps = "".join(f"<figure><h3>{escape(name)}</h3>{drawing}</figure>" for name, drawing in clip_maps(result))
    return (f'<div class="charts">{maps}</div>' if maps else "") + table(CLIP_HEAD, rows)

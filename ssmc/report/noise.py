"""A Monte Carlo result (schema ``ssmc.noise/1``) as text and as a page with a plot; drawn from its JSON alone."""

from __future__ import annotations

from html import escape
from importlib.resources import files

from ssmc.ir.serialize import Json
from ssmc.report.markup import card, section, table
from ssmc.report.text import columns

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 260, 56, 34, 14
STEPS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
TIME_HEAD = ("since programming", "mean over chips", "95 % interval", "worst chip", "best chip", "as the ideal chip")
POLE_HEAD = (
    "kernel",
    "since programming",
    "ideal largest |pole|",
    "on chips",
    "poles at or beyond 1",
    "chips with any",
)
CLIP_HEAD = ("matrix", "since programming", "ideal", "noisy", "worst column", "there")


def duration(seconds: float) -> str:
    """``at once``, ``90 s``, ``30 d``."""
    for size, unit in STEPS:
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s" if seconds else "at once"


def noise_text(result: Json) -> str:
    """Three tables."""
    word = "accuracy" if result["labelled"] else "agreement with the ideal chip"
    ideal = result["ideal_accuracy"]
    head = (
        f"{len(result['at'][0]['chips'])} chips of '{result['hardware']}', {result['sequences']} sequences, "
        f"{result['steps']} steps; {word}, ideal {ideal['value']:.4f} ({ideal['low']:.4f} to {ideal['high']:.4f})"
    )
    blocks = [columns(TIME_HEAD, time_rows(result)), columns(POLE_HEAD, pole_rows(result))]
    return "\n\n".join([head, *(block for block in [*blocks, columns(CLIP_HEAD, clip_rows(result))] if block)])


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


def accuracy_plot(result: Json) -> str:
    """Every chip a dot, the mean with its interval, the ideal chip a line; times side by side."""
    at = result["at"]
    values = [result["ideal_accuracy"]["value"], *(chip["value"] for moment in at for chip in moment["chips"])]
    low = max(0.0, min([*values, *(moment["accuracy"]["low"] for moment in at)]) - 0.02)
    high = min(1.0, max([*values, *(moment["accuracy"]["high"] for moment in at)]) + 0.01)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * float((high - value) / max(high - low, 1e-9))

    pitch = (WIDTH - LEFT) / len(at)
    parts = [_rule(y(low + (high - low) * k / 4), low + (high - low) * k / 4) for k in range(5)]
    ideal = y(result["ideal_accuracy"]["value"])
    parts.append(f'<path class="circle" stroke-dasharray="5 4" d="M {LEFT} {ideal:.1f} H {WIDTH}"/>')
    for index, moment in enumerate(at):
        centre = LEFT + pitch * (index + 0.5)
        parts += [
            f'<circle class="pole" cx="{centre + pitch * 0.5 * _jitter(k):.1f}" cy="{y(chip["value"]):.1f}" r="3.2"/>'
            for k, chip in enumerate(moment["chips"])
        ]
        mean = moment["accuracy"]
        parts.append(
            f'<path d="M {centre:.1f} {y(mean["low"]):.1f} V {y(mean["high"]):.1f}" stroke="currentColor" '
            f'stroke-width="2"/><circle cx="{centre:.1f}" cy="{y(mean["value"]):.1f}" r="5" fill="currentColor"/>'
            f'<text x="{centre:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{escape(duration(moment["time_s"]))}</text>'
        )
    return (
        f'<svg class="poles" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="accuracy over time since programming">{"".join(parts)}</svg>'
    )


def _rule(y: float, value: float) -> str:
    text = f'<text class="value" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.1%}</text>'
    return f'<path class="axis" d="M {LEFT} {y:.1f} H {WIDTH}"/>{text}'


def _jitter(index: int) -> float:
    """Golden-ratio sequence in -0.5 .. 0.5: dots side by side, the same every time."""
    return (0.5 + 0.6180339887 * index) % 1 - 0.5


def noise_html(result: Json) -> str:
    """One self-contained page."""
    title = f"Noise on {result['hardware']}"
    first, last = result["at"][0], result["at"][-1]
    kind = "accuracy" if result["labelled"] else "agreement with the ideal chip"
    cards = (
        card(f"{result['ideal_accuracy']['value']:.1%}", f"ideal {kind}", f"{result['sequences']} sequences"),
        card(f"{first['accuracy']['value']:.1%}", duration(first["time_s"]), f"{len(first['chips'])} chips"),
        card(f"{last['accuracy']['value']:.1%}", f"after {duration(last['time_s'])}", "mean over chips"),
    )
    lead = "A dot is a chip; the bar is the mean with its 95 % interval (chips and sequences resampled); dashed: ideal."
    model = [(key, str(value)) for key, value in sorted(result["noise"].items()) if value]
    body = (
        section(kind.capitalize(), lead, accuracy_plot(result), table(TIME_HEAD, time_rows(result)))
        + section("Poles", "Of the matrices as written; 1 is the border of stability.", _poles(result))
        + section("Clipping", "Conversions outside the converter's range, share of all.", _clips(result))
        + section("Noise model", "What was not ideal (docs/noise.md).", table(("key", "value"), model))
    )
    css = files("ssmc.report").joinpath("style.css").read_text(encoding="utf-8")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>\n{css}'
        f'</style></head>\n<body><main><header><h1>{escape(title)}</h1></header><div class="cards">{"".join(cards)}'
        f"</div>\n{body}</main></body></html>\n"
    )


def _poles(result: Json) -> str:
    rows = pole_rows(result)
    return table(POLE_HEAD, rows) if rows else ""


def _clips(result: Json) -> str:
    rows = clip_rows(result)
    return table(CLIP_HEAD, rows) if rows else ""

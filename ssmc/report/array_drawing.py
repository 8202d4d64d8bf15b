"""One crossbar array as SVG: blocks, written cells, drivers and converters."""

from __future__ import annotations

from itertools import groupby

from ssmc.ir.serialize import Json
from ssmc.report.markup import escape

SIDE = 260.0
GAP = 10
HUES = 8


def figure(layout: Json, matrices: list[str]) -> str:
    """A drawing with its title and what it consists of."""
    names = ", ".join(dict.fromkeys(block["matrix"] for block in layout["blocks"]))
    title, columns = f"{layout['arrays']} × {names}", layout["columns"]
    served = min(layout["adc_columns"], columns)
    converters = -(-columns // served)
    note = (
        f"{layout['rows']} × {columns} cells, {layout['utilisation']:.0%} used; {layout['rows']} drivers, "
        f""
        f"{converters} converter{'s, interleaved,' if converters > 1 else ''} of {served} columns; "
        f"{_turns(layout['blocks'])}"
    )
    return f"<figure><h3>{escape(title)}</h3>{array_svg(layout, matrices, title)}<p>{escape(note)}</p></figure>"


def _turns(blocks: list[Json]) -> str:
    waves = len({block["wave"] for block in blocks})
    if len(blocks) == 1:
        return "one block"
    return f"{len(blocks)} blocks, {f'driven in {waves} turns' if waves > 1 else 'driven at once'}"


def array_svg(layout: Json, matrices: list[str], title: str) -> str:
    """One array: blocks (colour by matrix, shade by wave), written cells, drivers, converters, reference column."""
    scale = SIDE / max(layout["rows"], layout["columns"])
    width, height = layout["columns"] * scale, layout["rows"] * scale
    blocks = "".join(_block(block, matrices.index(block["matrix"]), scale) for block in layout["blocks"])
    edge = (layout["columns"] - layout["reference_columns"]) * scale
    reference = f'<path class="axis" d="M {edge:.1f} 0 V {height:.1f}"/>' if layout["reference_columns"] else ""
    return (
        f'<svg class="array" viewBox="{-GAP} -1 {width + GAP + 1:.1f} {height + GAP + 1:.1f}" '
        f'width="{width + GAP + 1:.0f}" height="{height + GAP + 1:.0f}" role="img" aria-label="{escape(title)}">'
        f'<rect class="outline" x="0" y="0" width="{width:.1f}" height="{height:.1f}"/>'
        f"{blocks}{_cells(layout['written'], width, height)}{_parts(layout['blocks'], scale)}{reference}"
        f"{_periphery(layout, scale, width, height)}</svg>"
    )


def _block(block: Json, index: int, scale: float) -> str:
    x, y, w, h = (block[key] * scale for key in ("column", "row", "columns", "rows"))
    hue, opacity = 360 * (index % HUES) // HUES, 0.85 - 0.5 * (block["wave"] % 4) / 4
    span = f"rows {block['row']}+{block['rows']}, columns {block['column']}+{block['columns']}, wave {block['wave']}"
    return (
        f'<rect class="block" x="{x:.2f}" y="{y:.2f}" width="{w:.2f}" height="{h:.2f}" fill="hsl({hue} 55% 60%)" '
        f'fill-opacity="{opacity:.2f}"><title>{escape(block["matrix"])}: {span}</title></rect>'
    )


def _cells(written: list[str], width: float, height: float) -> str:
    """Runs of equal shade in a row, as one path per shade."""
    w, h = width / len(written[0]), height / len(written)
    runs: dict[str, list[str]] = {}
    for line, digits in enumerate(written):
        start = 0
        for digit, group in groupby(digits):
            length = len(list(group))
            if digit != "0":
                box = f"M {start * w:.1f} {line * h:.1f} h {length * w:.1f} v {h:.1f} h {-length * w:.1f} z"
                runs.setdefault(digit, []).append(box)
            start += length
    return "".join(
        f'<path class="cell" fill-opacity="{0.07 * int(digit):.2f}" d="{" ".join(boxes)}"/>'
        for digit, boxes in sorted(runs.items())
    )


def _parts(blocks: list[Json], scale: float) -> str:
    """Where the states of a kernel end among rows and columns."""
    lines = []
    for block in blocks:
        x, y, w, h = (block[key] * scale for key in ("column", "row", "columns", "rows"))
        if 0 < block["state_rows"] < block["rows"]:
            lines.append(f"M {x:.1f} {y + block['state_rows'] * scale:.1f} h {w:.1f}")
        if 0 < block["state_columns"] < block["columns"]:
            lines.append(f"M {x + block['state_columns'] * scale:.1f} {y:.1f} v {h:.1f}")
    return f'<path class="part" d="{" ".join(lines)}"/>' if lines else ""


def _periphery(layout: Json, scale: float, width: float, height: float) -> str:
    """A bar of drivers, and a bar per converter under the columns it serves."""
    span = min(layout["adc_columns"], layout["columns"]) * scale
    count = -(-layout["columns"] // layout["adc_columns"])
    gap = min(2.0, span / 4)
    bars = (
        f"M {k * span + gap / 2:.1f} {height + 4:.1f} H {min((k + 1) * span, width) - gap / 2:.1f} v 5 "
        f"H {k * span + gap / 2:.1f} z"
        for k in range(count)
    )
    return (
        f'<rect class="drivers" x="{-GAP + 1}" y="0" width="4" height="{height:.1f}"/>'
        f'<path class="converters" d="{" ".join(bars)}"/>'
    )

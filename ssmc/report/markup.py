"""The few HTML shapes the report is made of. Every text is escaped here and nowhere else."""

from __future__ import annotations

import html as standard
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

from ssmc.printable import printable


def escape(text: str) -> str:
    """Text for an element or an attribute, without hidden characters."""
    return standard.escape(printable(text))  # noqa: TID251 (the one place)


@dataclass(frozen=True)
class Html:
    """Markup that is already escaped."""

    text: str


Cell = str | Html


def html(cell: Cell) -> str:
    """Escaped text, or markup as it is."""
    return cell.text if isinstance(cell, Html) else escape(cell)


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]], *, numeric: Sequence[int] = ()) -> str:
    """A table; columns in ``numeric`` are set to the right. Where it is wider than the window, arrow keys scroll it."""
    right = set(numeric)

    def cell(tag: str, column: int, value: Cell) -> str:
        return f"<{tag}{' class=n' if column in right else ''}>{html(value)}</{tag}>"

    top = "".join(cell("th", i, name) for i, name in enumerate(head))
    body = "".join(f"<tr>{''.join(cell('td', i, value) for i, value in enumerate(row))}</tr>" for row in rows)
    name = escape(f"table: {', '.join(head[:3])}")
    frame = f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">'
    return f"{frame}<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def section(title: str, lead: str, *parts: str) -> str:
    """A titled part of the page with one sentence on how to read it; nothing where there are no parts."""
    inner = "".join(parts)
    if not inner:
        return ""
    anchor = title.lower().replace(" ", "-")
    return f'<section id="{escape(anchor)}"><h2>{escape(title)}</h2><p class="lead">{escape(lead)}</p>{inner}</section>'


def page(title: str, lead: str, *parts: str, footer: str = "") -> str:
    """A whole page with its style: no scripts, no network."""
    css = files("ssmc.report").joinpath("style.css").read_text(encoding="utf-8")
    below = f"<p>{escape(lead)}</p>" if lead else ""
    end = f"<footer>{escape(footer)}</footer>" if footer else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>\n{css}</style></head>\n<body><main>"
        f"<header><h1>{escape(title)}</h1>{below}</header>{''.join(parts)}{end}</main></body></html>\n"
    )


def cards(figures: Iterable[tuple[str, ...]]) -> str:
    """Summary figures side by side, each as `card` takes it."""
    return f'<div class="cards">{"".join(card(*figure) for figure in figures)}</div>\n'


def card(value: str, label: str, note: str = "") -> str:
    """One summary figure."""
    small = f"<small>{escape(note)}</small>" if note else ""
    return f'<div class="card"><b>{escape(value)}</b><span>{escape(label)}</span>{small}</div>'


def badge(text: str, kind: str) -> Html:
    """A coloured word."""
    return Html(f'<span class="badge {escape(kind)}">{escape(text)}</span>')


def folded(summary: str, items: Iterable[str]) -> Html:
    """A list behind its count; opens without a script."""
    entries = "".join(f"<li>{escape(item)}</li>" for item in items)
    return Html(f"<details><summary>{escape(summary)}</summary><ul>{entries}</ul></details>")

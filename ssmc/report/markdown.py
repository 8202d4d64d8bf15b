"""``report.md``: the tables of the terminal, for a pull request or a notebook."""

from __future__ import annotations

from ssmc.report.facts import Report
from ssmc.report.text import report_text


def render_markdown(report: Report) -> str:
    """A heading, then every block as it is."""
    title, *blocks = report_text(report)
    head, _, figures = title.partition("\n")
    fenced = (f"```text\n{block}\n```" for block in (figures, *blocks) if block)
    return "\n\n".join([f"# {head}", *fenced]) + "\n"

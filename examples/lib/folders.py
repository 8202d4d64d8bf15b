"""Folders of the examples."""

from __future__ import annotations

from pathlib import Path

EXAMPLES = Path(__file__).parents[1]  # each task keeps its results and models in its own folder here
RUNS = Path("runs")  # checkpoints, in the working directory

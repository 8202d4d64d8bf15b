"""The gate of detect.c in Python, number for number: where words begin and end in a stream of frames."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HEADER = Path(__file__).with_name("detect.h")
FLOOR, BEFORE, QUIET, LEAST = (
    int(number) for number in re.findall(r"#define DETECT_\w+ (\d+)", HEADER.read_text(encoding="utf-8"))
)

Frames = NDArray[np.int16]


def words(frames: Frames) -> list[tuple[int, int]]:
    """First and last loud frame of every word in frames (T, samples)."""
    level = np.abs(frames.astype(np.int64)).sum(1)
    return [(first, last) for first, last in _spans(level) if last - first + 1 >= LEAST]


def _spans(level: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    floor, first, last, quiet = int(level[:FLOOR].sum()), -1, 0, 0
    loud, still_loud = FLOOR * level > 2 * floor, 2 * FLOOR * level >= 3 * floor
    for t in range(FLOOR, len(level)):
        if first < 0 and loud[t]:
            first, quiet = t, 0
        if first < 0:
            continue
        quiet, last = (0, t) if still_loud[t] else (quiet + 1, last)
        if quiet == QUIET:
            yield first, last
            first = -1

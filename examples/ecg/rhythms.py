"""Single-lead ECG of 9 to 61 seconds: normal, atrial fibrillation, other rhythm, noisy (PhysioNet/CinC 2017)."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.lib.ragged import Part, Ragged, Sequence

FRAME = 4  # samples of 10 ms
LOUDEST = 4000  # counts; 1000 are 1 mV
LONGEST = 750  # training crops, in frames: 30 s
PARTS = {"train": 0, "val": 1, "test": 2}


class Rhythms(Ragged):
    """cinc2017_af_100hz.npz: ecg, offsets, label, split."""

    def __init__(self, path: Path, batch: int = 32) -> None:
        with np.load(path, allow_pickle=False) as data:
            ecg, offsets, label, split = data["ecg"], data["offsets"], data["label"].astype(np.int64), data["split"]
        items = [frames(ecg[a:b]) for a, b in pairwise(offsets)]
        train, val, test = (
            Part(tuple(items[i] for i in np.flatnonzero(split == number)), label[split == number])
            for number in PARTS.values()
        )
        super().__init__(train, val, test, batch)

    def augment(self, x: Sequence, rng: np.random.Generator) -> Sequence:
        """A random 30 s, a gain of -3..3 dB."""
        start = int(rng.integers(0, max(1, len(x) - LONGEST + 1)))
        varied = x[start : start + LONGEST] * 10 ** (rng.uniform(-3, 3) / 20)
        return np.clip(np.rint(varied), -LOUDEST, LOUDEST).astype(np.int16)


def frames(ecg: NDArray[np.int16]) -> Sequence:
    """(T, 4): median removed, clipped at 4 mV; an incomplete last frame is dropped."""
    steps = len(ecg) // FRAME
    level = ecg[: steps * FRAME] - np.median(ecg)
    return np.clip(np.rint(level), -LOUDEST, LOUDEST).astype(np.int16).reshape(steps, FRAME)

"""Twelve spoken Arabic command words: one second of raw 8 kHz audio, in frames of 32 samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.lib.dense import Dense, Epoch, Part
from examples.lib.speech import FRAME, PEAK

SPEEDS = (0.88, 1.12)
PARTS = {"train": 0, "val": 1, "test": 2}

Wave = NDArray[np.float64]


class Augmented(Epoch):
    """Random speed (0.88..1.12), start (up to 125 ms either way), gain (-8..0 dB), white noise (-60..-34 dB)."""

    def augment(self, part: Part) -> Part:
        """Every clip by its own random numbers."""
        wave = part.x.reshape(len(part), -1).astype(np.float64)
        wave = resampled(wave, self.rng.uniform(*SPEEDS, len(wave)), self.rng.uniform(-1000, 1000, len(wave)))
        wave *= 10 ** (self.rng.uniform(-8, 0, (len(wave), 1)) / 20)
        wave += self.rng.standard_normal(wave.shape) * PEAK * 10 ** (self.rng.uniform(-60, -34, (len(wave), 1)) / 20)
        return Part(np.clip(np.rint(wave), -PEAK, PEAK).reshape(part.x.shape).astype(np.int16), part.label)


def resampled(wave: Wave, speed: Wave, delay: Wave) -> Wave:
    """Each wave (n, T) played ``speed`` times as fast around its middle, ``delay`` samples later; silence around it."""
    t = np.arange(wave.shape[1])
    middle = t.mean()
    each = zip(wave, speed, delay, strict=True)
    return np.stack([np.interp(middle + (t - d - middle) * s, t, x, left=0, right=0) for x, s, d in each])


class Words(Dense):
    """asc12_8khz.npz: audio (n, 8000), label, split (official; contributors are disjoint)."""

    epoch = Augmented

    def __init__(self, path: Path, batch: int = 32) -> None:
        with np.load(path, allow_pickle=False) as data:
            x, label, split = frames(data["audio"]), data["label"].astype(np.int64), data["split"]
        train, val, test = (Part(x[split == number], label[split == number]) for number in PARTS.values())
        super().__init__(train, val, test, batch)


def frames(audio: NDArray[np.int16]) -> NDArray[np.int16]:
    """(n, 250, 32), each clip scaled to a peak of 32767."""
    peak = np.maximum(np.abs(audio.astype(np.float64)).max(1, keepdims=True), 1)
    return np.rint(audio * (PEAK / peak)).astype(np.int16).reshape(len(audio), -1, FRAME)

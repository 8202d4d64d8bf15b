"""Spoken digits as frames: preparation, splits, augmentation and batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from examples.lib.speech import FRAME, PEAK
from ssmc.data import Samples
from ssmc.qat.data import Batch

HELD_OUT = range(5, 10)  # recordings of each speaker and digit for choosing the model; 0..4 are the official test part

Audio = NDArray[np.float64]


@dataclass(frozen=True)
class Split:
    """Raw recordings of one part of the data."""

    audio: tuple[NDArray[np.int16], ...]
    label: NDArray[np.uint8]
    speaker: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.audio)


def load_splits(path: Path) -> dict[str, Split]:
    """train, val and test of an npz with audio, offsets, label, speaker, index and is_test."""
    with np.load(path, allow_pickle=False) as data:
        arrays = {name: data[name] for name in ("audio", "offsets", "label", "speaker", "index", "is_test")}
    test = arrays["is_test"]
    val = ~test & np.isin(arrays["index"], HELD_OUT)
    return {name: _split(arrays, chosen) for name, chosen in (("train", ~test & ~val), ("val", val), ("test", test))}


def _split(arrays: dict[str, NDArray[np.generic]], chosen: NDArray[np.bool_]) -> Split:
    items = np.flatnonzero(chosen)
    offsets, audio = arrays["offsets"], arrays["audio"]
    return Split(
        tuple(audio[offsets[i] : offsets[i + 1]] for i in items), arrays["label"][items], arrays["speaker"][items]
    )


def frames(audio: Audio | NDArray[np.int16]) -> NDArray[np.int16]:
    """(T, 32) frames of the recording scaled to a peak of 32767; an incomplete last frame is dropped."""
    scaled = np.rint(audio * (PEAK / max(1.0, np.abs(audio.astype(np.float64)).max())))
    steps = len(scaled) // FRAME
    return scaled[: steps * FRAME].reshape(steps, FRAME).astype(np.int16)


def augment(audio: NDArray[np.int16], rng: np.random.Generator) -> NDArray[np.float32]:
    """Random speed (0.88..1.12), start, gain (-8..0 dB under full scale) and white noise (-60..-34 dB); (T, 32)."""
    speed = rng.uniform(0.88, 1.12)
    wave = np.interp(np.arange(0, len(audio) - 1, speed), np.arange(len(audio)), audio)
    cut = int(rng.integers(0, max(1, len(wave) // 10)))
    wave = np.concatenate([np.zeros(rng.integers(0, 20 * FRAME)), wave[rng.integers(0, cut + 1) :]])
    wave = wave / max(1.0, np.abs(wave).max()) * 10 ** (rng.uniform(-8, 0) / 20)
    wave += rng.standard_normal(len(wave)) * 10 ** (rng.uniform(-60, -34) / 20)
    steps = len(wave) // FRAME
    return np.clip(np.rint(wave[: steps * FRAME] * PEAK), -PEAK, PEAK).reshape(steps, FRAME).astype(np.float32)


def pad(items: list[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    """(N, T, 32) zero-padded at the end, and lengths (N)."""
    lengths = torch.tensor([len(x) for x in items])
    batch = torch.zeros(len(items), int(lengths.max()), FRAME)
    for row, x in zip(batch, items, strict=True):
        row[: len(x)] = torch.from_numpy(x)
    return batch, lengths


def training_batches(split: Split, size: int, rng: np.random.Generator) -> list[tuple[Tensor, Tensor, Tensor]]:
    """One augmented epoch (x, lengths, label) in batches of similar length, in random order."""
    items = [augment(x, rng) for x in split.audio]
    rough = np.array([len(x) for x in items]) * rng.uniform(0.85, 1.15, len(items))
    order = np.argsort(rough)
    chunks = [order[i : i + size] for i in range(0, len(order) - size // 2, size)]
    rng.shuffle(chunks)  # type: ignore[arg-type]
    return [
        (*pad([items[i] for i in chunk]), torch.from_numpy(split.label[chunk].astype(np.int64))) for chunk in chunks
    ]


def evaluation_batches(split: Split, size: int = 50) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The split as it is, sorted by length."""
    items = [frames(x).astype(np.float32) for x in split.audio]
    order = np.argsort([len(x) for x in items], kind="stable")
    for start in range(0, len(order), size):
        chunk = order[start : start + size]
        yield *pad([items[i] for i in chunk]), torch.from_numpy(split.label[chunk].astype(np.int64))


def samples(split: Split) -> Samples:
    """The split as a program takes it: int16 frames."""
    items = [frames(x) for x in split.audio]
    offsets = np.concatenate([[0], np.cumsum([len(x) for x in items])]).astype(np.int64)
    return Samples(np.concatenate(items), offsets, split.label.astype(np.int64))


def write_npz(split: Split, path: Path) -> None:
    """``flat`` (sum_T, 32) int16 frames as the model takes them, ``offsets``, ``label``, ``speaker``."""
    found = samples(split)
    np.savez_compressed(path, flat=found.flat, offsets=found.offsets, label=split.label, speaker=split.speaker)


class Recordings:
    """fsdd.npz; satisfies ``examples.lib.parents.TaskData``."""

    def __init__(self, path: Path, batch: int = 32) -> None:
        self.batch = batch
        self.splits = load_splits(path)

    def training(self, rng: np.random.Generator) -> list[Batch]:
        """One augmented epoch."""
        return [*training_batches(self.splits["train"], self.batch, rng)]

    def validation(self) -> Iterator[Batch]:
        """Held-out recordings of the training part."""
        return evaluation_batches(self.splits["val"])

    def testing(self) -> Iterator[Batch]:
        """The official test part."""
        return evaluation_batches(self.splits["test"])

    def calibration(self) -> list[Tensor]:
        """128 recordings, evenly over the training part."""
        audio = self.splits["train"].audio
        chosen = np.linspace(0, len(audio) - 1, 128).astype(int)
        return [torch.from_numpy(frames(audio[i]).astype(np.float32))[None] for i in chosen]

    def samples(self) -> Samples:
        """The test part, for a program."""
        return samples(self.splits["test"])

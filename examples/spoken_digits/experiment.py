"""Spoken digits from raw audio: float S4D, post-training quantization, quantization-aware fine-tuning.

\b
    python -m examples.spoken_digits.experiment --data fsdd.npz --method float
    python -m examples.spoken_digits.experiment --data fsdd.npz --method qat --quant examples/quant/headline.toml
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

from examples.experiment import options, run, speech_model
from examples.parents import Task
from examples.spoken_digits.recordings import (
    evaluation_batches,
    frames,
    load_splits,
    training_batches,
)
from ssmc.data import Samples
from ssmc.qat.training import Batch, Phase

FLOAT = (Phase("float", 80, 4e-3, 1e-3),)
QAT = (Phase("qat", 120, 2e-3, 2e-4, distil=0.5, keep="last"),)


class Recordings:
    """fsdd.npz; satisfies ``examples.parents.TaskData``."""

    def __init__(self, path: Path, batch: int = 32) -> None:
        self.batch = batch
        self.splits = load_splits(path)

    def training(self, rng: np.random.Generator) -> list[Batch]:
        """One augmented epoch."""
        return [*training_batches(self.splits["train"], self.batch, rng)]

    def validation(self) -> Iterator[Batch]:
        """Held-out recordings of the training part."""
        return evaluation_batches(self.splits["val"])

    def testing(self) -> Iterable[Batch]:
        """The official test part."""
        return evaluation_batches(self.splits["test"])

    def calibration(self) -> list[Tensor]:
        """128 recordings, evenly over the training part."""
        audio = self.splits["train"].audio
        chosen = np.linspace(0, len(audio) - 1, 128).astype(int)
        return [torch.from_numpy(frames(audio[i]).astype(np.float32))[None] for i in chosen]

    def samples(self) -> Samples:
        """The test part, for a program."""
        items = [frames(x) for x in self.splits["test"].audio]
        offsets = np.concatenate([[0], np.cumsum([len(x) for x in items])]).astype(np.int64)
        return Samples(np.concatenate(items), offsets, self.splits["test"].label.astype(np.int64))


def task(path: Path) -> Task:
    """35,146 parameters, the shape of the demo's model."""
    return Task("spoken_digits", "fsdd.npz", Recordings(path), speech_model(10), FLOAT, QAT)


@click.command(help=__doc__)
@options
def main(data: Path, **options: Any) -> None:
    """One row of results."""
    run(task(data), "examples.spoken_digits.experiment", **options)


if __name__ == "__main__":
    main()

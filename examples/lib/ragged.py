"""Data sets of sequences of many lengths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssmc.data import Samples
from ssmc.qat.data import Batch

EVALUATED = 50  # sequences at once

Sequence = NDArray[np.int16]


@dataclass(frozen=True)
class Part:
    """Sequences (T, d) of integers, label (n,)."""

    x: tuple[Sequence, ...]
    label: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, items: NDArray[np.int64]) -> Batch:
        """Zero-padded at the end, with lengths."""
        chosen = [torch.from_numpy(self.x[i].astype(np.float32)) for i in items]
        lengths = torch.tensor([len(x) for x in chosen])
        return torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True), lengths, torch.from_numpy(self.label[items])

    def batches(self, size: int) -> Iterator[Batch]:
        """All, sorted by length."""
        order = np.argsort([len(x) for x in self.x], kind="stable")
        for start in range(0, len(order), size):
            yield self.batch(order[start : start + size])


class Ragged:
    """Three parts of a data set; satisfies ``examples.lib.parents.TaskData``."""

    def __init__(self, train: Part, val: Part, test: Part, batch: int) -> None:
        self.train, self.val, self.test, self.batch = train, val, test, batch

    def augment(self, x: Sequence, rng: np.random.Generator) -> Sequence:
        """As it is; subclasses vary it."""
        return x

    def training(self, rng: np.random.Generator) -> list[Batch]:
        """One augmented epoch in batches of similar length, in random order."""
        varied = Part(tuple(self.augment(x, rng) for x in self.train.x), self.train.label)
        rough = np.array([len(x) for x in varied.x]) * rng.uniform(0.85, 1.15, len(varied))
        order = np.argsort(rough)
        chunks = [order[i : i + self.batch] for i in range(0, len(order) - self.batch + 1, self.batch)]
        rng.shuffle(chunks)  # type: ignore[arg-type]
        return [varied.batch(chunk) for chunk in chunks]

    def validation(self) -> Iterator[Batch]:
        """The held-out part."""
        return self.val.batches(EVALUATED)

    def testing(self) -> Iterator[Batch]:
        """The test part."""
        return self.test.batches(EVALUATED)

    def calibration(self) -> list[Tensor]:
        """64 sequences one by one, evenly over the training part."""
        chosen = np.linspace(0, len(self.train) - 1, 64).astype(int)
        return [torch.from_numpy(self.train.x[i].astype(np.float32))[None] for i in chosen]

    def samples(self) -> Samples:
        """The test part, for a program."""
        offsets = np.concatenate([[0], np.cumsum([len(x) for x in self.test.x])]).astype(np.int64)
        return Samples(np.concatenate(self.test.x), offsets, self.test.label)

"""Data sets of sequences of one length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssmc.data import Samples
from ssmc.qat.data import Batch

EVALUATED = 250  # sequences at once


@dataclass(frozen=True)
class Part:
    """x (n, T, d) integers, label (n,)."""

    x: NDArray[np.int16]
    label: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, which: slice | NDArray[np.int64]) -> Part:
        return Part(self.x[which], self.label[which])

    def batch(self) -> Batch:
        """Everything, as a model takes it."""
        return torch.from_numpy(self.x.astype(np.float32)), None, torch.from_numpy(self.label)

    def batches(self, size: int) -> Iterator[Batch]:
        """In order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size].batch()


class Epoch(Sequence[Batch]):
    """Batches of ``part`` in the given order, made when asked for; an incomplete last one is left out."""

    def __init__(self, part: Part, order: NDArray[np.int64], size: int, rng: np.random.Generator) -> None:
        self.part, self.order, self.size, self.rng = part, order, size, rng

    def __len__(self) -> int:
        return len(self.order) // self.size

    def __getitem__(self, index: int) -> Batch:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.augment(self.part[self.order[index * self.size : (index + 1) * self.size]]).batch()

    def augment(self, part: Part) -> Part:
        """As it is; subclasses vary it."""
        return part


class Dense:
    """Three parts of a data set; satisfies ``examples.lib.parents.TaskData``."""

    epoch = Epoch

    def __init__(self, train: Part, val: Part, test: Part, batch: int) -> None:
        self.train, self.val, self.test, self.batch = train, val, test, batch

    def training(self, rng: np.random.Generator) -> Epoch:
        """One epoch in random order."""
        return self.epoch(self.train, rng.permutation(len(self.train)), self.batch, rng)

    def validation(self) -> Iterator[Batch]:
        """The held-out part."""
        return self.val.batches(EVALUATED)

    def testing(self) -> Iterator[Batch]:
        """The test part."""
        return self.test.batches(EVALUATED)

    def calibration(self) -> list[Tensor]:
        """128 sequences, evenly over the training part."""
        items = np.linspace(0, len(self.train) - 1, 128).astype(int)
        return [batch[0] for batch in self.train[items].batches(32)]

    def samples(self) -> Samples:
        """The test part, for a program."""
        n, steps, features = self.test.x.shape
        offsets = np.arange(n + 1, dtype=np.int64) * steps
        return Samples(self.test.x.reshape(-1, features), offsets, self.test.label)

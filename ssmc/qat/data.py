"""Data of one's own for `Trainer`: arrays, or the loaders and generators that a project has already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from numbers import Integral
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

LARGEST = 1 << 63  # no class, seed or size is as large
Batch = tuple[Tensor, Tensor | None, Tensor]  # x (N, T, d), lengths (N) or None where all are T, target (N, ...)


class Batches(Protocol):
    """Batches of one epoch, whose number is known."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...


class Data(Protocol):
    """What a model is trained on; never the test part."""

    def training(self, rng: np.random.Generator) -> Batches:
        """One epoch, shuffled and augmented from ``rng``; always the same number of batches."""

    def validation(self) -> Iterable[Batch]:
        """Held-out data, for choosing between epochs."""


class Arrays:
    """Sequences in memory, a share of them held out.

    Args:
        x: float sequences (n, T, d).
        target: classes (n), numbers (n, p), or one of either a step, (n, T) and (n, T, p).
        lengths: steps of every sequence that are data (n); None: all T.
        batch: sequences a batch.
        held_out: share of the sequences that `validation` gives, chosen by ``seed``.
        augment: changes x (N, T, d) of a training batch, with the generator of the epoch.

    Raises:
        ValueError: arrays that do not fit each other, or too few sequences to hold some out.
    """

    def __init__(
        self,
        x: ArrayLike,
        target: ArrayLike,
        lengths: ArrayLike | None = None,
        *,
        batch: int = 32,
        held_out: float = 0.2,
        seed: int = 0,
        augment: Callable[[NDArray[np.float32], np.random.Generator], NDArray[np.float32]] | None = None,
    ) -> None:
        x, target = _array("x", x), _array("target", target)
        lengths = None if lengths is None else _array("lengths", lengths)
        if x.ndim != 3 or target.shape[:1] != x.shape[:1] or (lengths is not None and lengths.shape != x.shape[:1]):
            shapes = f"x {x.shape}, target {target.shape}, lengths {None if lengths is None else lengths.shape}"
            raise ValueError(f"{shapes}: give x (n, T, d) and as many targets and lengths")
        if 0 in x.shape:
            raise ValueError(f"x is {x.shape}: give at least one sequence, step and feature")
        if 0 in target.shape:
            raise ValueError(f"target is {target.shape}: give at least one class or number a sequence")
        require_whole("batch", batch, 1)
        require_whole("seed", seed, 0)
        if not 0 < held_out < 1:
            raise ValueError(f"held_out is {held_out}: give a share between 0 and 1")
        self.x, self.batch, self.augment = _single("x", x), batch, augment
        self.target = _classes(target) if target.dtype.kind in "biu" else _single("target", target)
        self.lengths = None if lengths is None else np.asarray(lengths, np.int64)
        if lengths is not None and not (lengths.min() >= 1 and lengths.max() <= x.shape[1]):
            raise ValueError(f"lengths are {lengths.min()} to {lengths.max()}: give 1 to {x.shape[1]}")
        if lengths is not None and (lengths != self.lengths).any():
            raise ValueError("lengths has fractions: give whole numbers of steps")
        order, kept = np.random.default_rng(seed).permutation(len(x)), round(held_out * len(x))
        if not 0 < kept < len(x):
            raise ValueError(f"{len(x)} sequences leave {kept} to hold out: give more, or another share")
        self.held, self.taught = np.sort(order[:kept]), order[kept:]

    def training(self, rng: np.random.Generator) -> Sequence[Batch]:
        """All sequences that are not held out, shuffled; the last batch may be smaller."""
        order = rng.permutation(self.taught)
        return [self._batch(order[at : at + self.batch], rng) for at in range(0, len(order), self.batch)]

    def validation(self) -> list[Batch]:
        """The sequences that are held out."""
        return [self._batch(self.held[at : at + self.batch], None) for at in range(0, len(self.held), self.batch)]

    def _batch(self, rows: NDArray[np.int64], rng: np.random.Generator | None) -> Batch:
        x = self.x[rows]
        if rng is not None and self.augment is not None:
            x = np.ascontiguousarray(self.augment(x, rng), np.float32)
        lengths = None if self.lengths is None else torch.from_numpy(self.lengths[rows])
        return torch.from_numpy(x), lengths, torch.from_numpy(self.target[rows])


def _array(name: str, values: ArrayLike) -> NDArray[Any]:
    """Numbers as an array.

    Raises:
        ValueError: something else, or nested lists of unequal length.
    """
    try:
        found = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} has rows of unequal length: pad them to the longest, and give lengths") from None
    if found.dtype.kind not in "biuf":
        raise ValueError(f"{name} holds no numbers: give floats, or classes as whole numbers from 0")
    return found


def require_whole(name: str, value: object, least: int) -> None:
    """Refuse what is no whole number from ``least``.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, Integral) or not least <= int(value) < LARGEST:
        raise ValueError(f"{name} is {value}: give a whole number from {least}")


def _single(name: str, values: NDArray[Any]) -> NDArray[np.float32]:
    """As float32.

    Raises:
        ValueError: a number is not finite, or not in float32.
    """
    with np.errstate(over="ignore"):
        found = np.asarray(values, np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has numbers that are not finite: leave these sequences out, or mend them")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} has numbers beyond 3.4e38, the largest of float32: scale them")
    return found


def _classes(target: NDArray[Any]) -> NDArray[np.int64]:
    """As int64.

    Raises:
        ValueError: a class that is too large.
    """
    if int(target.max()) >= LARGEST:
        raise ValueError(f"target has the class {target.max()}: number them from 0")
    return np.asarray(target, np.int64)


class Loaders:
    """Loaders of batches (x, target) or (x, lengths, target): a ``torch.utils.data.DataLoader``, a list, a generator.

    Args:
        training: the loader of an epoch, or a function that makes one: ``lambda: my_generator()``.
        validation: the same of held-out data.
        steps: batches an epoch; needed where the training loader does not tell its length.

    Raises:
        ValueError: the number of batches is not known, or 0.
    """

    def __init__(
        self,
        training: Iterable[Sequence[Tensor]] | Callable[[], Iterable[Sequence[Tensor]]],
        validation: Iterable[Sequence[Tensor]] | Callable[[], Iterable[Sequence[Tensor]]],
        steps: int | None = None,
    ) -> None:
        if steps is None and not hasattr(training, "__len__"):
            raise ValueError("the loader does not tell how many batches an epoch has: give steps")
        self._training, self._validation = training, validation
        self.steps = len(training) if steps is None else steps  # type: ignore[arg-type]
        if self.steps < 1:
            raise ValueError(
                f"an epoch has {self.steps} batches: give a loader that is not empty, or steps of 1 or more"
            )

    def training(self, rng: np.random.Generator) -> Batches:
        """The loader's next epoch; loaders that shuffle by torch's generator are seeded by the trainer."""
        return _Epoch(self._training, self.steps)

    def validation(self) -> Iterable[Batch]:
        """The held-out batches."""
        return map(as_batch, _opened(self._validation))


class _Epoch:
    """``steps`` batches of a loader."""

    def __init__(self, loader: object, steps: int) -> None:
        self.loader, self.steps = loader, steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        count = 0
        for batch in islice(_opened(self.loader), self.steps):
            count += 1
            yield as_batch(batch)
        if count < self.steps:
            anew = "; a generator ends once: give a function" if isinstance(self.loader, Iterator) else ""
            raise ValueError(f"the loader ended after {count} of {self.steps} batches{anew}")


def _opened(loader: object) -> Iterable[Sequence[Tensor]]:
    found: Iterable[Sequence[Tensor]] = loader() if callable(loader) else loader  # type: ignore[assignment]
    return found


def as_batch(batch: Sequence[Tensor]) -> Batch:
    """A batch of (x, target) or (x, lengths, target) with all three.

    Raises:
        ValueError: it holds something else.
    """
    held = list(batch) if isinstance(batch, tuple | list) else []
    if len(held) not in (2, 3) or not all(isinstance(part, Tensor) for part in held):
        kinds = ", ".join(type(part).__name__ for part in held)
        raise ValueError(
            f"a batch is {type(batch).__name__} ({kinds}): give tensors (x, target) or (x, lengths, target)"
        )
    return held[0], None if len(held) == 2 else held[1], held[-1]


def require_batch(x: Tensor, lengths: Tensor | None, target: Tensor, features: int | None) -> None:
    """Refuse what a model would not take, or silently compute something else for.

    Raises:
        ValueError: x is not (N, T, ``features``) of float32 with steps, a length is not 1..T, or targets are not N.
    """
    if x.ndim != 3 or x.shape[1] < 1:
        raise ValueError(f"x is {tuple(x.shape)}: give sequences (N, T, d) with at least one step")
    if x.dtype == torch.float64:
        raise ValueError("x is float64: give float32, x.float()")
    if lengths is not None and (lengths.shape != (len(x),) or lengths.min() < 1 or lengths.max() > x.shape[1]):
        raise ValueError(f"lengths are {tuple(lengths.tolist())}: give {len(x)} from 1 to {x.shape[1]}")
    if features is not None and x.shape[2] != features:
        raise ValueError(f"x is {tuple(x.shape)}: the model takes {features} features a step (ModelConfig.d_input)")
    if target.shape[:1] != x.shape[:1]:
        raise ValueError(f"x is {tuple(x.shape)}, targets are {tuple(target.shape)}: give one for each of {len(x)}")

"""Data files: npz without pickle, the sequences of a task and, where known, their labels.

Two layouts (semantics.md §2). Padded: ``x`` (n, T, d), or (n, T) of integers (token ids), optionally ``lengths`` (n,).
Ragged: ``flat`` (total, d) and ``offsets`` (n + 1,), sequence i being ``flat[offsets[i]:offsets[i + 1]]``. Either may
hold ``label`` (n,). A model that joins several inputs takes their columns side by
side, or an array for each by its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssmc.budgets import DEFAULT, Budgets
from ssmc.errors import UsageError
from ssmc.ir.rounding import IntArray
from ssmc.npz import member_names, read_npz
from ssmc.reading import read_regular

RealArray = NDArray[np.generic]
MEMBERS = ("x", "lengths", "flat", "offsets", "label")
Inputs = tuple[tuple[str, int], ...]
MOST_CLASSES = 1 << 31
LAYOUT = "store x (n, T, d), or flat (total, d) and offsets (n + 1,), and optionally label (n,)"


@dataclass(frozen=True)
class Samples:
    """n sequences of real feature vectors.

    Attributes:
        flat: (total, d), all sequences one after the other.
        offsets: (n + 1,), where each begins and the last ends.
        label: (n,) class numbers, or None.
    """

    flat: RealArray
    offsets: IntArray
    label: IntArray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __str__(self) -> str:
        return f"{len(self)} sequences"

    @property
    def features(self) -> int:
        """Size d of one step."""
        return int(self.flat.shape[1])

    @property
    def lengths(self) -> IntArray:
        """True steps of every sequence, (n,)."""
        return np.diff(self.offsets)

    @property
    def mean_steps(self) -> int:
        """Steps of an average sequence, rounded up."""
        return int(-(-int(self.lengths.sum()) // max(len(self), 1)))

    def sequence(self, index: int) -> RealArray:
        """Sequence ``index``, (T, d)."""
        return self.flat[self.offsets[index] : self.offsets[index + 1]]

    def batch(self, indices: IntArray) -> tuple[RealArray, IntArray]:
        """Zero-padded sequences (len(indices), T, d) and their lengths."""
        lengths = self.lengths[indices]
        padded = np.zeros((len(indices), int(lengths.max(initial=0)), self.features), self.flat.dtype)
        for row, index in enumerate(indices.tolist()):
            padded[row, : lengths[row]] = self.sequence(index)
        return padded, lengths

    def batches(self, size: int) -> Iterator[IntArray]:
        """Indices of at most ``size`` sequences at a time, similar lengths together."""
        order = np.argsort(self.lengths, kind="stable")
        for start in range(0, len(order), size):
            yield order[start : start + size]

    def evenly(self, count: int) -> IntArray:
        """Indices of at most ``count`` sequences, evenly over all."""
        return np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).astype(np.int64))

    def take(self, chosen: IntArray) -> Samples:
        """Some sequences, by their indices."""
        flat = np.concatenate([self.sequence(int(i)) for i in chosen])
        offsets = np.concatenate([[0], np.cumsum(self.lengths[chosen])]).astype(np.int64)
        return Samples(flat, offsets, None if self.label is None else self.label[chosen])

    def spread(self, count: int) -> Samples:
        """At most ``count`` sequences, evenly over all."""
        return self.take(self.evenly(count))

    def head(self, count: int) -> Samples:
        """The first ``count`` sequences."""
        count = min(count, len(self))
        label = None if self.label is None else self.label[:count]
        return Samples(self.flat[: self.offsets[count]], self.offsets[: count + 1], label)


def load_samples(path: str | Path, budgets: Budgets = DEFAULT, inputs: Inputs = ()) -> Samples:
    """Read a data file.

    ``inputs`` are names and numbers of columns of inputs that the model joins: the file may have an array for each.

    Raises:
        UsageError: SSMC-D10 no such file, SSMC-D11 not an npz of plain arrays, SSMC-D12 arrays missing,
            SSMC-D13 shapes or offsets that do not fit, SSMC-D14 not real numbers, SSMC-D15 labels that do not fit,
            SSMC-D16 no step in the whole file, SSMC-U07 more bytes than the budget.
    """
    file = Path(path)
    data = read_regular(file, "SSMC-D10", budgets, "data_bytes", "give the path of an .npz file")
    name = file.name
    arrays = _arrays(data, budgets, name, inputs)
    if "x" in arrays:
        flat, offsets = _flatten(arrays["x"], arrays.get("lengths"), name)
    else:
        flat, offsets = arrays["flat"], _whole(arrays["offsets"], "offsets", name)
    flat = flat[:, None] if flat.ndim == 1 else flat
    _check_layout(flat, offsets, name)
    if not len(flat):
        fact = "holds no sequence" if len(offsets) == 1 else f"its {len(offsets) - 1} sequences have no steps"
        raise UsageError("SSMC-D16", fact, "give at least one sequence with a step", name)
    return Samples(flat, offsets, _labels(arrays.get("label"), len(offsets) - 1, name))


def _arrays(data: bytes, budgets: Budgets, name: str, inputs: Inputs) -> dict[str, RealArray]:
    try:
        arrays = read_npz(data, {*MEMBERS, *(key for key, _ in inputs)}, budgets)
    except ValueError as cause:
        first = str(cause).partition(". ")[0]  # numpy goes on to recommend what is unsafe
        raise UsageError("SSMC-D11", f"not readable as npz without pickle ({first})", LAYOUT, name) from cause
    if inputs and all(key in arrays for key, _ in inputs):
        arrays["flat" if "offsets" in arrays else "x"] = _side_by_side(arrays, inputs, name)
    if "x" in arrays or {"flat", "offsets"} <= arrays.keys():
        return arrays
    each = f", or an array for each input ({', '.join(key for key, _ in inputs)})" if inputs else ""
    raise UsageError("SSMC-D12", f"holds {', '.join(member_names(data)) or 'nothing'}", f"{LAYOUT}{each}", name)


def _side_by_side(arrays: dict[str, RealArray], inputs: Inputs, name: str) -> RealArray:
    """The columns of every input, (n, T, d) or (total, d)."""
    parts = [arrays[key] for key, _ in inputs]
    sizes = [size for _, size in inputs]
    apart = [part.shape[-1] if part.ndim > 1 else 1 for part in parts]
    if len({part.shape[:-1] for part in parts}) > 1 or apart != sizes:
        fact = ", ".join(f"{key} {arrays[key].shape}" for key, _ in inputs)
        remedy = f"give arrays of equal n and T, with {', '.join(map(str, sizes))} columns"
        raise UsageError("SSMC-D13", f"the inputs' arrays do not fit: {fact}", remedy, name)
    return np.concatenate(parts, -1)


def _flatten(x: RealArray, lengths: RealArray | None, name: str) -> tuple[RealArray, IntArray]:
    """Padded (n, T, d) to flat and offsets; integers (n, T) are token ids, one a step."""
    x = x[..., None] if x.ndim == 2 and x.dtype.kind in "iu" else x
    if x.ndim != 3:
        raise UsageError("SSMC-D13", f"x has shape {x.shape}", "x is (samples, steps, features)", name)
    n, steps = x.shape[:2]
    true = np.full(n, steps, np.int64) if lengths is None else _whole(lengths, "lengths", name)
    if true.shape != (n,) or (true < 0).any() or (true > steps).any():
        raise UsageError("SSMC-D13", f"lengths do not fit x of shape {x.shape}", "give one length a sample", name)
    inside = np.arange(steps) < true[:, None]
    return x[inside], np.concatenate([[0], np.cumsum(true)]).astype(np.int64)


def _check_layout(flat: RealArray, offsets: IntArray, name: str) -> None:
    if flat.dtype.kind not in "fiu":
        raise UsageError("SSMC-D14", f"sequences have dtype {flat.dtype}", "store real numbers", name)
    rising = offsets.ndim == 1 and len(offsets) > 0 and bool((np.diff(offsets) >= 0).all())
    if flat.ndim != 2 or not rising or offsets[0] != 0 or offsets[-1] != len(flat):
        fact = f"flat {flat.shape} and offsets {offsets.shape} do not describe sequences"
        raise UsageError("SSMC-D13", fact, "offsets rise from 0 to len(flat), one more than there are sequences", name)


def _labels(label: RealArray | None, n: int, name: str) -> IntArray | None:
    if label is None:
        return None
    if label.shape != (n,) or label.dtype.kind not in "iu":
        fact = f"label is {label.dtype} {label.shape}, there are {n} sequences"
        raise UsageError("SSMC-D15", fact, "give one class number a sequence", name)
    if n and not 0 <= int(label.min()) <= int(label.max()) < MOST_CLASSES:
        fact = f"labels go from {label.min()} to {label.max()}"
        raise UsageError("SSMC-D15", fact, "number the classes from 0", name)
    return label.astype(np.int64)


def _whole(value: RealArray, what: str, name: str) -> IntArray:
    if value.dtype.kind not in "iu":
        raise UsageError("SSMC-D13", f"{what} has dtype {value.dtype}", "store whole numbers", name)
    return value.astype(np.int64)

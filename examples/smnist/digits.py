"""Sequential MNIST: 784 pixels one after the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.lib.dense import Dense, Part

HELD_OUT = 5000  # last of the 60,000 training images, for choosing the model
MIDDLE = 128  # pixel value that is presented as 0


class Digits(Dense):
    """mnist.npz: x_train, y_train, x_test, y_test."""

    def __init__(self, path: Path, batch: int = 64) -> None:
        with np.load(path, allow_pickle=False) as data:
            train, test = (_part(data[f"x_{name}"], data[f"y_{name}"]) for name in ("train", "test"))
        held = len(train) - HELD_OUT
        super().__init__(train[:held], train[held:], test, batch)


def _part(x: NDArray[np.uint8], label: NDArray[np.uint8]) -> Part:
    return Part(x.reshape(len(x), 784, 1).astype(np.int16) - MIDDLE, label.astype(np.int64))

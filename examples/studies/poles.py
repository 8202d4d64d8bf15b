"""How far the modes of the committed float models are from 1: |lambda - 1|, by which delta form makes noise smaller.

python -m examples.studies.poles
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from examples.lib.folders import EXAMPLES
from ssmc.qat.kernel import discretise

FASTEST_DELTA = 1 / math.sqrt(2)  # where mixed form becomes direct


def distances(task: str) -> NDArray[np.float32]:
    """|lambda - 1| of every mode of every layer and seed."""
    found = []
    for path in sorted((EXAMPLES / task / "models").glob("float-s*.npz")):
        with np.load(path, allow_pickle=False) as stored:
            layers = [name.removesuffix("log_dt") for name in stored.files if name.endswith("log_dt")]
            for layer in layers:
                poles = (torch.from_numpy(stored[layer + name]) for name in ("log_dt", "log_A_real", "A_imag"))
                found.append(discretise(*poles)[0].abs().flatten().numpy())
    return np.concatenate(found)


if __name__ == "__main__":
    for task in sorted({path.parent.parent.name for path in EXAMPLES.glob("*/models/float-s*.npz")}):
        each = distances(task)
        fast = 100 * np.mean(each > FASTEST_DELTA)
        print(f"{task}: {len(each)} modes, median |lambda - 1| {np.median(each):.2f}, {fast:.0f} % above 1/sqrt 2")

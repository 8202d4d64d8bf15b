"""What every mode and every channel of a kernel contributes to its output, on data: the predicted damage of a cut.

With R the read-out of the linear kernel (`ssmc.analysis.linear`), mode m contributes ``sum_(i in m) F_i R_i`` to an
output; its energy is the mean square of that over all steps, in squared output codes. A channel's is the mean square
of its output around its resting value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmc.analysis.blocks import components
from ssmc.analysis.linear import linear_kernel
from ssmc.analysis.qs4d_metrics import driven_states
from ssmc.analysis.run import padded, reference
from ssmc.ir.operations import StateSpace
from ssmc.ir.rounding import FloatArray, IntArray

NONE = -1


@dataclass(frozen=True)
class Energies:
    """Modes and channels of a kernel of H groups.

    Attributes:
        mode: (H, n), number of the mode that each state belongs to, -1 for pruned ones.
        modes: (H, K), energy of each mode, summed over the outputs of its group.
        channels: (H, p), energy of each output.
    """

    mode: IntArray
    modes: FloatArray
    channels: FloatArray


def energies(op: StateSpace, sequences: Sequence[IntArray]) -> Energies:
    """Energies on input codes, sequences (T, H, m)."""
    kernel, mode = linear_kernel(op), modes(op)
    member = (mode[..., None] == np.arange(max(int(mode.max(initial=0)) + 1, 1))).astype(np.float64)
    by_mode, by_channel = np.zeros((len(mode), member.shape[-1])), np.zeros(kernel.output_power.shape)
    count = 0
    for u, lengths in padded(sequences):
        run = reference(kernel, u, lengths, op.register0.astype(np.float64))
        inside = (np.arange(u.shape[2]) < lengths[:, None])[None, :, :, None]
        by_channel += ((run.output - kernel.bias_output[:, None, None] * inside) ** 2).sum((1, 2))
        flat = run.readout.reshape(len(mode), -1, op.n_state)
        for row in range(op.n_output):
            by_mode += (((flat * kernel.F[:, None, row]) @ member) ** 2).sum(1)
        count += int(lengths.sum())
    return Energies(mode, by_mode / max(count, 1), by_channel / max(count, 1))


def modes(op: StateSpace) -> IntArray:
    """Number (H, n) of the mode of every live state: states that A couples, directly or not, are one."""
    n, live = op.n_state, driven_states(op)
    coupled: NDArray[np.bool_] = op.matrix.codes[:, :n, :n] != 0
    label = components(coupled & live[:, :, None] & live[:, None, :])
    found = np.full(live.shape, NONE, np.int64)
    for group, on in enumerate(live):
        found[group, on] = np.unique(label[group, on], return_inverse=True)[1]
    return found

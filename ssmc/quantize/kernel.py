"""A kernel in integer codes: of all candidates those whose quantized run comes nearest to the float output."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from ssmc.errors import ModelError
from ssmc.ir.rounding import FloatArray
from ssmc.quantize.bases import EQUAL_NOISE, Kernel
from ssmc.quantize.candidates import Bases, InCodes, side_by_side
from ssmc.quantize.config import QuantizeConfig, signed_range
from ssmc.quantize.read_out import read_out_codes
from ssmc.quantize.runs import QuantizedKernel, normal_equations, outputs, thinning
from ssmc.quantize.steps import best_step

MOST_SEQUENCES = 16
MOST_STEPS = 1000
#: of the error's power, 2 dB: what is worth the fewer codes of modes, and for equal noise the structure of the others,
#: which lose less on data that they were not chosen on
LEAVE_CLEARLY = 0.64
LEAVE_OTHERS = 0.9


@dataclass(frozen=True)
class Chosen:
    """A kernel in codes, and the coordinates of its states: modal, Schur, balanced, ..."""

    kernel: QuantizedKernel
    basis: str


@dataclass(frozen=True)
class _Tried:
    states: InCodes
    left: FloatArray

    def improved(self, other: _Tried) -> _Tried:
        """Group by group the one that leaves less."""
        take = other.left < self.left
        return _Tried(self.states.mixed(other.states, take), np.where(take, other.left, self.left))


@dataclass(frozen=True)
class _Basis:
    name: str
    states: InCodes
    left: float


def quantize_kernel(kernel: Kernel, fed: list[FloatArray], u_step: FloatArray, config: QuantizeConfig) -> Chosen:
    """Quantize for inputs ``fed`` (T, G, m) that are converted in steps of ``u_step`` (G, m).

    Raises:
        ModelError: SSMC-S04, a pole on or outside the unit circle; SSMC-S11, no basis keeps the poles inside.
    """
    y = outputs(kernel, fed)
    some = range(0, len(fed), -(-len(fed) // MOST_SEQUENCES))
    heard = [fed[i][:MOST_STEPS] for i in some], [y[i][:MOST_STEPS] for i in some]
    bases = Bases(kernel, fed, config)
    best: _Basis | None = None
    for factor in range(1 + max(config.activation_bits - config.kernel_bits, 0)):
        found = _best_basis(bases.candidates(u_step * 2**factor), *heard, config)
        if found is None or (best is not None and found.left >= best.left):
            break
        best = found
    if best is None:
        fact = f"with {config.kernel_bits} bits a pole of it lies outside of the unit circle in every basis"
        raise ModelError("SSMC-S11", fact, "give more --kernel-bits", kernel.name)
    codes, steps, _ = read_out_codes(best.states, *_equations(best.states, fed, y, config), config)
    heard_y = np.concatenate(y)[:: thinning([len(u) for u in fed])]
    return Chosen(_with_outputs(best.states.kernel, codes, steps, heard_y, config), best.name)


def _best_basis(
    tried: Iterable[tuple[str, Iterable[list[InCodes]]]],
    fed: list[FloatArray],
    y: list[FloatArray],
    config: QuantizeConfig,
) -> _Basis | None:
    """The basis that leaves least, the first one unless a later one is worth its codes; None where none is stable."""
    best: _Basis | None = None
    for name, candidates in tried:
        found = _best(candidates, fed, y, config)
        left = float(found.left.sum())
        if not np.isfinite(left):
            continue
        clearly = best is not None and (best.name == "modal" or name == EQUAL_NOISE)
        if best is None or left < best.left * (LEAVE_CLEARLY if clearly else LEAVE_OTHERS):
            best = _Basis(name, found.states, left)
    return best


def _best(
    candidates: Iterable[list[InCodes]], fed: list[FloatArray], y: list[FloatArray], config: QuantizeConfig
) -> _Tried:
    """Group by group what leaves least, up to the first steps that are too coarse for all of them."""
    best: _Tried | None = None
    for some in candidates:
        before = best
        for states, left in zip(some, _left(some, fed, y, config), strict=True):
            tried = _Tried(states, left)
            best = tried if best is None else best.improved(tried)
        if before is not None and best is not None and not (best.left < before.left).any():
            break
    if best is None:
        raise ValueError("no candidates")
    return best


def _left(some: list[InCodes], fed: list[FloatArray], y: list[FloatArray], config: QuantizeConfig) -> FloatArray:
    """Squared error (len(some), G) of the output, before its own converter; infinite for groups that are not stable."""
    together, count = side_by_side(some), len(some)
    fed, wanted = ([np.tile(x, (1, count, 1)) for x in sequences] for sequences in (fed, y))
    _, _, left = read_out_codes(together, *_equations(together, fed, wanted, config), config)
    energy = sum((out**2).sum((0, 2)) for out in wanted)
    return np.where(together.stable, np.maximum(energy + left.sum(1), 0), np.inf).reshape(count, -1)


def _equations(
    states: InCodes, fed: list[FloatArray], y: list[FloatArray], config: QuantizeConfig
) -> tuple[FloatArray, FloatArray]:
    return normal_equations(states.kernel, fed, y, signed_range(config.activation_bits))


def _with_outputs(
    kernel: QuantizedKernel, codes: FloatArray, omega: FloatArray, y: FloatArray, config: QuantizeConfig
) -> QuantizedKernel:
    """The kernel read by ``codes`` (G, p, n + m) in steps ``omega`` (G, p), with converters for outputs like ``y``."""
    together = config.granularity == "tensor"
    y_step = best_step(y.reshape(-1) if together else y, *kernel.adc, 0 if together else 2, config.power_of_two)
    y_step = np.broadcast_to(y_step, omega.shape)
    W = np.concatenate([kernel.W, codes.astype(np.int64)], 1)
    return replace(kernel, W=W, ratio=np.concatenate([kernel.ratio, omega / y_step], 1), y_step=y_step)

"""Ways to write the states of a kernel in integer codes: every basis, both forms, finer and coarser steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssmc.ir.rounding import FloatArray
from ssmc.quantize.bases import Kernel, dense_bases, is_modal, modal
from ssmc.quantize.config import QuantizeConfig, signed_range
from ssmc.quantize.damage import spectrum
from ssmc.quantize.modes import Modes, dense
from ssmc.quantize.rows import Driven, driven, row_codes
from ssmc.quantize.runs import QuantizedKernel, float_run
from ssmc.quantize.states import MOST_REGISTER_BITS, Seen, StateCodes, state_codes

COARSER_STEPS = 2
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class InCodes:
    """States in codes, and what is to be read from them.

    Attributes:
        kernel: without outputs.
        read_out: [C, D] in real output per code of the rows, (G, p, n + m).
        stable: (G,), the codes' poles lie inside the unit circle.
    """

    kernel: QuantizedKernel
    read_out: FloatArray
    stable: Mask

    def mixed(self, other: InCodes, take: Mask) -> InCodes:
        """``other`` in the groups ``take`` (G,)."""
        mine, theirs = self.kernel, other.kernel
        names = ("W", "ratio", "shift", "keep")
        fields: dict[str, Any] = {name: _where(take, getattr(theirs, name), getattr(mine, name)) for name in names}
        register = max(mine.register, theirs.register, key=lambda limits: limits[1])
        kernel = replace(mine, register=register, **fields)
        return InCodes(kernel, _where(take, other.read_out, self.read_out), _where(take, other.stable, self.stable))


def bases(
    kernel: Kernel, fed: list[FloatArray], u_step: FloatArray, config: QuantizeConfig
) -> Iterator[tuple[str, Iterator[list[InCodes]]]]:
    """Names of bases, and candidates in each: lists in order of steps, from fine to coarse; the sparsest basis first.

    A kernel that is written as modes stays as it is.

    Raises:
        ModelError: SSMC-S04, a pole on or outside the unit circle.
    """
    modes = modal(kernel)
    if modes is not None:
        yield "modal", _modal(modes, fed, u_step, config)
    if not is_modal(kernel):
        seen = driven(kernel, fed, u_step)
        for name, T, turned in dense_bases(kernel, seen.power):
            yield name, _rows(turned, seen.turned(T), config)


def _factors(config: QuantizeConfig) -> list[float]:
    """How much coarser than its own bits a state's step may be: A's and B's codes share a step, and C's and D's."""
    spare = config.state_bits - min(config.kernel_bits, config.activation_bits)
    return [float(1 << k) for k in range(COARSER_STEPS + max(spare, 0))]


def _modal(modes: Modes, fed: list[FloatArray], u_step: FloatArray, config: QuantizeConfig) -> Iterator[list[InCodes]]:
    states, increments, _ = float_run(modes, fed)
    seen = Seen(states, increments, spectrum(fed), u_step)
    factors = _factors(config)
    found = {
        delta: [state_codes(modes, seen, config, delta, factor) for factor in factors]
        for delta in ((True, False) if config.form == "auto" else (config.form == "delta",))
    }
    for start in range(len(factors)):
        best = {delta: _least_damage(codes[start:]) for delta, codes in found.items()}
        if config.form != "auto":
            ((delta, only),) = best.items()
            yield [_in_codes(modes, only, np.full(only.damage.shape, delta), u_step, config)]
            continue
        one, other = best[True], best[False]
        either = one.damage < other.damage
        masks = (either, np.ones_like(either), np.zeros_like(either))
        yield [_in_codes(modes, _chosen(one, other, mask), mask, u_step, config) for mask in masks]


def _least_damage(codes: list[StateCodes]) -> StateCodes:
    best = codes[0]
    for other in codes[1:]:
        best = _chosen(other, best, other.damage < best.damage)
    return best


def _chosen(one: StateCodes, other: StateCodes, mask: Mask) -> StateCodes:
    """``one`` for the modes of ``mask`` (G, K), else ``other``."""
    pairs = zip((*one.codes, one.damage), (*other.codes, other.damage), strict=True)
    A, B, omega, sigma, shift, damage = (_where(mask, x, z) for x, z in pairs)
    return StateCodes(A, B, omega, sigma, shift, damage)


def _where(mask: Mask, x: NDArray[Any], z: NDArray[Any]) -> NDArray[Any]:
    return np.where(mask.reshape(*mask.shape, *[1] * (x.ndim - mask.ndim)), x, z)


def _in_codes(modes: Modes, codes: StateCodes, delta: Mask, u_step: FloatArray, config: QuantizeConfig) -> InCodes:
    C = (modes.C * codes.sigma[:, None, :, None]).reshape(*modes.D.shape[:2], -1)
    W = dense(codes.A, codes.B, modes.C[:, :0], modes.D[:, :0])
    ratio, shift, keep = (np.repeat(x, 2, 1) for x in (codes.omega / codes.sigma, codes.shift, delta.astype(float)))
    kernel = _kernel(W, ratio, shift, keep > 0, u_step, config)
    return InCodes(kernel, np.concatenate([C, modes.D * u_step[:, None]], 2), np.ones(len(C), bool))


def _rows(kernel: Kernel, seen: Driven, config: QuantizeConfig) -> Iterator[list[InCodes]]:
    forms = {"delta": (True,), "direct": (False,), "auto": (True, False)}[config.form]
    for factor in _factors(config):
        found = []
        for delta in forms:
            codes = row_codes(kernel, seen, config, delta, factor)
            W = np.concatenate([codes.A, codes.B], 2)
            keep = np.full(codes.sigma.shape, delta)
            in_codes = _kernel(W, codes.omega / codes.sigma, codes.shift, keep, seen.u_step, config)
            read_out = np.concatenate([kernel.C * codes.sigma[:, None], kernel.D * seen.u_step[:, None]], 2)
            found.append(InCodes(in_codes, read_out, codes.stable))
        yield found


def _kernel(
    W: FloatArray, ratio: FloatArray, shift: FloatArray, keep: Mask, u_step: FloatArray, config: QuantizeConfig
) -> QuantizedKernel:
    """States in codes W (G, n, n + m) that move by ``ratio`` (G, n) steps a code, without outputs."""
    widest = min(MOST_REGISTER_BITS, config.state_bits + int((shift * keep).max(initial=0)))
    return QuantizedKernel(
        W=W.astype(np.int64),
        ratio=ratio * np.exp2(shift),
        shift=shift.astype(np.int64),
        keep=keep.astype(np.int64),
        u_step=u_step,
        y_step=np.zeros((len(W), 0)),
        dac=signed_range(config.state_bits),
        adc=signed_range(config.adc_bits),
        register=signed_range(max(widest, config.adc_bits)),
    )

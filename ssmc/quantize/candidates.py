"""Ways to write the states of a kernel in integer codes: every basis, both forms, finer and coarser steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssmc.ir.rounding import FloatArray
from ssmc.quantize.bases import EQUAL_NOISE, Kernel, dense_bases, is_modal, modal
from ssmc.quantize.config import Form, QuantizeConfig, signed_range
from ssmc.quantize.damage import spectrum
from ssmc.quantize.modes import Modes, dense
from ssmc.quantize.rows import Driven, driven, row_codes
from ssmc.quantize.runs import QuantizedKernel, float_run
from ssmc.quantize.states import MOST_REGISTER_BITS, Seen, StateCodes, StateSteps, state_codes, state_steps

COARSER_STEPS = 2
WORTH_WHILE = 0.99  # of the predicted damage: steps that save less end the search
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
        register = _wider(mine.register, theirs.register)
        kernel = replace(mine, register=register, **fields)
        return InCodes(kernel, _where(take, other.read_out, self.read_out), _where(take, other.stable, self.stable))


def side_by_side(some: list[InCodes]) -> InCodes:
    """All as one kernel of so many times the groups, which runs over data in one go."""
    kernels = [one.kernel for one in some]
    names = ("W", "ratio", "shift", "keep", "u_step", "y_step")
    fields: dict[str, Any] = {name: np.concatenate([getattr(k, name) for k in kernels]) for name in names}
    kernel = replace(kernels[0], register=_wider(*(k.register for k in kernels)), **fields)
    read_out, stable = (np.concatenate([getattr(one, name) for one in some]) for name in ("read_out", "stable"))
    return InCodes(kernel, read_out, stable)


class _Turned(NamedTuple):
    """A kernel in other coordinates, and its states on the data."""

    kernel: Kernel
    seen: Driven
    steps: StateSteps


class Bases:
    """The coordinates that a kernel's states may have, and the kernel in them on data (T, G, m) each.

    A kernel that is written as modes stays as it is.

    Raises:
        ModelError: SSMC-S04, a pole on or outside the unit circle.
    """

    def __init__(self, kernel: Kernel, fed: list[FloatArray], config: QuantizeConfig) -> None:
        self.config = config
        self.modes = modal(kernel)
        if self.modes is not None:
            states, increments, _ = float_run(self.modes, fed)
            self.seen = Seen(state_steps(states, increments, config), spectrum(fed))
        self.others: dict[str, list[_Turned]] = {}
        if not is_modal(kernel):
            seen = driven(kernel, fed)
            for name, T, turned in dense_bases(kernel, seen.power):
                here = seen.turned(T)
                self.others.setdefault(name, []).append(_Turned(turned, here, here.steps(config)))

    def candidates(self, u_step: FloatArray) -> Iterator[tuple[str, Iterator[list[InCodes]]]]:
        """Names of bases, the sparsest first, and candidates in each: lists in order of steps, from fine to coarse."""
        if self.modes is not None:
            yield "modal", _modal(self.modes, self.seen, u_step, self.config)
        for name, turned in self.others.items():
            if name != EQUAL_NOISE or self.config.form != "delta":  # a claim on states that are rounded every step
                yield name, _rows(turned, u_step, self.config, "direct" if name == EQUAL_NOISE else self.config.form)


def _wider(*ranges: tuple[int, int]) -> tuple[int, int]:
    return max(ranges, key=lambda limits: limits[1])


def _factors(config: QuantizeConfig) -> list[float]:
    """How much coarser than its own bits a state's step may be: A's and B's codes share a step, and C's and D's."""
    spare = config.state_bits - min(config.kernel_bits, config.activation_bits)
    return [float(1 << k) for k in range(COARSER_STEPS + max(spare, 0))]


def _from_fine_to_coarse(
    modes: Modes, seen: Seen, u_step: FloatArray, config: QuantizeConfig, delta: bool
) -> list[StateCodes]:
    """Codes in coarser and coarser steps, as long as the next ones promise less damage in some modes."""
    found: list[StateCodes] = []
    before = np.inf
    for factor in _factors(config):
        found.append(state_codes(modes, seen, u_step, config, delta, factor))
        least = float(_least_damage(found).damage.sum())
        if least > WORTH_WHILE * before:
            break
        before = least
    return found


def _modal(modes: Modes, seen: Seen, u_step: FloatArray, config: QuantizeConfig) -> Iterator[list[InCodes]]:
    forms = (True, False) if config.form == "auto" else (config.form == "delta",)
    found = {delta: _from_fine_to_coarse(modes, seen, u_step, config, delta) for delta in forms}
    for start in range(max(len(codes) for codes in found.values())):
        best = {delta: _least_damage(codes[min(start, len(codes) - 1) :]) for delta, codes in found.items()}
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


def _rows(turned: list[_Turned], u_step: FloatArray, config: QuantizeConfig, form: Form) -> Iterator[list[InCodes]]:
    forms = {"delta": (True,), "direct": (False,), "auto": (True, False)}[form]
    for factor in _factors(config):
        found = []
        for (kernel, seen, steps), delta in product(turned, forms):
            codes = row_codes(kernel, seen, steps, u_step, config, delta, factor)
            W = np.concatenate([codes.A, codes.B], 2)
            keep = np.full(codes.sigma.shape, delta)
            in_codes = _kernel(W, codes.omega / codes.sigma, codes.shift, keep, u_step, config)
            read_out = np.concatenate([kernel.C * codes.sigma[:, None], kernel.D * u_step[:, None]], 2)
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

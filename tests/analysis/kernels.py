"""Random quantized kernels, and input codes to feed them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ssmc.analysis.linear import linear_kernel
from ssmc.analysis.observe import observe
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import StateSpace
from ssmc.ir.requant import make_requant
from ssmc.ir.rounding import FloatArray, IntArray

INPUT_TOP = 127
REACH = 10**7


@dataclass(frozen=True)
class Recipe:
    """What a random kernel is like; ``deviations`` of the signal fill each converter."""

    form: str
    modes: int
    bits: int
    weight_bits: int
    free: bool
    deviations: float
    slowest: float
    groups: int = 8


def random_recipe(rng: np.random.Generator) -> Recipe:
    """Any of them."""
    form = str(rng.choice(["delta", "direct"]))
    return Recipe(
        form,
        modes=int(rng.integers(1, 5)),
        bits=int(rng.choice([4, 6, 8, 8, 10])),
        weight_bits=int(rng.choice([6, 8])),
        free=bool(rng.random() < 0.5),
        deviations=float(rng.choice([3, 4, 5])),
        slowest=2.5 if form == "delta" else 2.0,
    )


def random_codes(rng: np.random.Generator, kind: str, groups: int, steps: int, count: int) -> list[IntArray]:
    """Input codes (T, H, 1): ``white``, ``lowpass`` (pole 0.9) or ``sines``."""
    spread = float(rng.choice([0.25, 0.12])) * INPUT_TOP
    sequences = []
    for _ in range(count):
        w = rng.standard_normal((steps, groups, 1))
        if kind == "lowpass":
            for t in range(1, steps):
                w[t] = 0.9 * w[t - 1] + np.sqrt(1 - 0.81) * w[t]
        if kind == "sines":
            angle = np.arange(steps)[:, None, None] * rng.uniform(0.02, 1, (1, groups, 1))
            w = np.sin(angle + rng.uniform(0, 6, (1, groups, 1))) * rng.uniform(0.3, 1.5)
        sequences.append(np.clip(np.rint(w * spread), -INPUT_TOP - 1, INPUT_TOP).astype(np.int64))
    return sequences


def random_kernel(rng: np.random.Generator, recipe: Recipe, sequences: list[IntArray]) -> StateSpace | None:
    """A kernel whose converters fit those sequences; None where rounding its coefficients made it unstable."""
    draft = _draft(rng, recipe, float(np.std(sequences[0])))
    probe = linear_kernel(_operation(draft, recipe, np.full(recipe.groups, 2.0**-20)))
    if not (np.abs(np.linalg.eigvals(probe.A)).max(-1) < 1 - 1e-4).all():
        return None
    deviation = np.sqrt(observe(probe, sequences[:2], np.zeros(probe.A.shape[:2])).signal[:, 0]) * 2**20
    wanted = _top(recipe.bits) / (4 * deviation + 1e-9)
    return _operation(draft, recipe, wanted if recipe.free else np.exp2(np.floor(np.log2(wanted))))


@dataclass(frozen=True)
class _Draft:
    codes: IntArray
    ratio: FloatArray
    shift: IntArray


def _top(bits: int) -> int:
    return (1 << (bits - 1)) - 1


def _draft(rng: np.random.Generator, recipe: Recipe, drive: float) -> _Draft:
    """Codes (H, n+1, n+1), ratio of the state rows (H, n) and shift (H, n); converters from white-input statistics."""
    size = recipe.groups, recipe.modes
    decay = 1 - 10 ** rng.uniform(-recipe.slowest, -0.3, size)
    pole = decay * np.exp(1j * rng.uniform(0, 1, size) * rng.choice([1, 3]))
    delta, n, limit = recipe.form == "delta", 2 * recipe.modes, _top(recipe.weight_bits)
    state = drive / np.sqrt(1 - decay**2)
    step = np.hypot(np.abs(pole - 1) * state, drive) if delta else state
    dac, adc = (recipe.deviations * x / _top(recipe.bits) for x in (state, step))
    shift = np.floor(np.log2(dac / np.minimum(adc, dac))).astype(np.int64) if delta else np.zeros(size, np.int64)
    change, turn = (pole - 1 if delta else pole) * dac, np.exp(1j * rng.uniform(0, 2 * np.pi, size))
    top = np.maximum.reduce([np.abs(v) for v in (change.real, change.imag, turn.real, turn.imag)])
    omega = top / limit if recipe.free else np.exp2(np.ceil(np.log2(top / limit)))
    ratio = omega / (dac / np.exp2(shift))
    codes = np.zeros((recipe.groups, n + 1, n + 1), np.int64)
    for j in range(recipe.modes):
        a, b = np.rint(change[:, j] / omega[:, j]), np.rint(turn[:, j] / omega[:, j])
        codes[:, 2 * j, 2 * j], codes[:, 2 * j, 2 * j + 1], codes[:, 2 * j, n] = a.real, -a.imag, b.real
        codes[:, 2 * j + 1, 2 * j], codes[:, 2 * j + 1, 2 * j + 1], codes[:, 2 * j + 1, n] = a.imag, a.real, b.imag
    codes[:, n] = rng.integers(-limit, limit + 1, (recipe.groups, n + 1))
    ratio = ratio if recipe.free else np.exp2(np.rint(np.log2(ratio)))
    return _Draft(codes, np.repeat(ratio, 2, 1), np.repeat(shift, 2, 1))


def _operation(draft: _Draft, recipe: Recipe, output: FloatArray) -> StateSpace:
    ratio = np.concatenate([draft.ratio, output[:, None]], 1).ravel()
    exact = [Fraction(float(r)).limit_denominator(1 << 20) if recipe.free else Fraction(float(r)) for r in ratio]
    top, one = _top(recipe.bits), np.ones_like(draft.shift)
    register = (top + 1) << draft.shift
    return StateSpace(
        "kernel", ("u",), "y", Matrix(draft.codes),
        make_requant(exact, [Fraction(0)] * len(exact), -top - 1, top, (-REACH, REACH)),
        keep=one * (recipe.form == "delta"), shift=draft.shift,
        dac_lo=-(top + 1) * one, dac_hi=top * one, register_lo=-register, register_hi=register - 1, register0=0 * one,
    )  # fmt: skip

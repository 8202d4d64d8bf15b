"""The search leaves exponents out, and chooses what a look at every one would choose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ssmc.conversion.converter_steps import Columns, best_shared, window_error
from ssmc.hardware.model import Hardware
from ssmc.ir.rounding import FloatArray, IntArray
from ssmc.targets.aimc.lowering import shared_exponents as module
from ssmc.targets.aimc.lowering.shared_exponents import shared_exponents


def columns_of(rng: np.random.Generator, count: int, points: int) -> Columns:
    """Sums with tails, off centre, each of its own size; ends beyond what is expected."""
    values = rng.standard_t(3, (count, points)) * np.exp2(rng.uniform(0, 12, (count, 1)))
    values = np.rint(values + rng.normal(0, 1, (count, 1)) * np.abs(values).max(1, keepdims=True))
    free = np.full(count, np.inf)
    weights = rng.choice([0.25, 1.0, 4.0], (count, points)) if rng.integers(2) else rng.uniform(0.1, 9, (count, 1))
    return Columns(values, weights, (values.min(1) * 1.5, values.max(1) * 1.5), (-free, free))


def errors_of_all(found: list[Columns], hw: Hardware) -> FloatArray:
    """Of every exponent, (pieces, C, E)."""
    widest = max(float((columns.ends[1] - columns.ends[0]).max()) for columns in found)
    count = max(int(widest).bit_length() - hw.adc.bits, 0) + 2
    none = np.zeros(len(found[0].points))
    each = [[window_error(columns, none + 2.0**e, none, hw)[1] for e in range(count)] for columns in found]
    return np.stack(each).transpose(0, 2, 1)


@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("bits", [3, 6, 8])
@pytest.mark.parametrize("seed", range(8))
def test_the_choice_is_that_of_a_look_at_all(offset: bool, bits: int, seed: int, taox64: Hardware) -> None:
    hw = replace(taox64, adc=replace(taox64.adc, bits=bits, offset=offset))
    rng = np.random.default_rng(seed)
    found = [columns_of(rng, 24, 33) for _ in range(1 + seed % 3)]
    sets: IntArray = rng.integers(0, 9, (len(found), 24)) if seed % 2 else np.arange(24 * len(found)).reshape(-1, 24)
    errors = errors_of_all(found, hw)
    best = best_shared(errors.reshape(-1, errors.shape[2]), sets.ravel()).reshape(sets.shape)
    assert (shared_exponents(found, sets, hw) == best).all()


def test_most_are_left_out(taox64: Hardware, monkeypatch: pytest.MonkeyPatch) -> None:
    hw = replace(taox64, adc=replace(taox64.adc, bits=5))
    found = [columns_of(np.random.default_rng(0), 50, 40)]
    looked: list[int] = []

    def counted(columns: Columns, *rest: object) -> object:
        looked.append(len(columns.points))
        return window_error(columns, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "window_error", counted)
    shared_exponents(found, np.arange(50)[None], hw)
    assert sum(looked) < errors_of_all(found, hw).size / 2


@pytest.mark.parametrize("offset", [False, True])
def test_the_bound_is_below_the_error(offset: bool, taox64: Hardware) -> None:
    hw = replace(taox64, adc=replace(taox64.adc, bits=4, offset=offset))
    columns = columns_of(np.random.default_rng(5), 60, 41)
    errors = errors_of_all([columns], hw)[0]
    bounds = [module._bound(columns, module._gaps(columns), np.full(60, 15.0 * 2**e)) for e in range(errors.shape[1])]
    assert (np.stack(bounds, 1) <= errors * (1 + 1e-9)).all()
    assert (np.stack(bounds) > 0).any()

"""Fewer converter bits for increments: poles stay, the ratio asked for is reached, the rest is declined."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import onnx
import pytest

from ssmc.analysis.kernels import analyse
from ssmc.analysis.linear import poles
from ssmc.bundle.stages import with_checks
from ssmc.importers.onnx_file import import_model
from ssmc.ir.kernel_nodes import KernelConstants
from ssmc.ir.operations import StateSpace
from ssmc.ir.program import Program
from ssmc.ir.read_program import read_program
from ssmc.passes.allocate_adc_bits import AllocateAdcBits, bound_of, coarser
from ssmc.pipeline import Effect, run_pipeline
from ssmc.quantize import QuantizeConfig, quantize
from ssmc.targets.integer.target import IntegerTarget
from tests.compiling import lower
from tests.passes.test_prune_structure import recurrence
from tests.quantize.floats import float_model
from tests.quantize.test_quantize import samples, save


def kernel(program: Program) -> StateSpace:
    (op,) = (op for op in program.ops if isinstance(op, StateSpace))
    return op


def test_without_a_target_nothing_happens() -> None:
    step = AllocateAdcBits()
    result = step.run(lower(recurrence([[2]], [[1, 1]], [[1]]), "fold-quantization").model)
    assert (result.applied, result.effect) == ((), Effect.EXACT)


def test_the_direct_form_is_declined() -> None:
    result = AllocateAdcBits(10.0).run(lower(recurrence([[2]], [[1, 1]], [[1]]), "fold-quantization").model)
    assert result.applied == ()
    assert result.effect is Effect.EXACT
    assert [d.reason for d in result.declined] == ["a direct state's code is its trained read-out"]


def test_scales_and_poles_are_invariant_and_ranges_shrink() -> None:
    ranges = {"lo": -128.0, "hi": 127.0, "reg_lo": -2048.0, "reg_hi": 2047.0, "r0": 0.0}
    given = {**ranges, "step": 0.5, "unit": 16.0, "offset": 4.0}
    k = KernelConstants(**{field.name: np.array([[given.get(field.name, 1.0)]]) for field in fields(KernelConstants)})
    new = coarser(k, np.array([3.0]))
    assert new["step"] * new["unit"] == k.step * k.unit
    assert new["offset"] * new["step"] == k.offset * k.step
    assert (new["lo"], new["hi"], new["unit"]) == (-16, 15, 2)
    assert (new["reg_lo"], new["reg_hi"]) == (-256, 255)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    """A float kernel after training, every mode in delta form with more converter bits than it needs."""
    config = QuantizeConfig(form="delta", state_bits=8, adc_bits=10)
    return quantize(save(float_model(), tmp_path_factory.mktemp("float")), samples(), config).model


@pytest.mark.parametrize("target", [10.0, 20.0])
def test_fewer_bits_still_reach_the_target_as_predicted(target: float, quantized: onnx.ModelProto) -> None:
    before = lower(quantized, "fold-quantization").model
    was = kernel(read_program(before))
    result = AllocateAdcBits(target).run(before)
    program = read_program(result.model)
    now = kernel(program)
    assert result.applied
    assert (result.effect, result.bound) == (Effect.BOUNDED, bound_of(target))
    assert now.shift.sum() < was.shift.sum()
    assert now.register_bits <= was.register_bits
    for a, b in zip(poles(was), poles(now), strict=True):
        assert np.allclose(np.sort(a), np.sort(b), rtol=0, atol=1e-12)
    for facts in analyse(program, now).channels:
        assert facts.sqnr_db is None or facts.sqnr_db >= target


def test_the_bound_is_four_times_the_noise_that_the_target_allows() -> None:
    assert [bound_of(db) for db in (0.0, 12.0, 20.0, 60.0)] == pytest.approx([1.0, 1.0, 0.4, 0.25], abs=0.01)


@pytest.mark.parametrize("target", [10.0, 20.0])
def test_the_output_moves_by_less_than_the_bound(target: float, quantized: onnx.ModelProto) -> None:
    passes = with_checks(IntegerTarget().pipeline(), "refuse", target)
    record = next(r for r in run_pipeline(import_model(quantized), passes).records if r.name == AllocateAdcBits.name)
    assert record.moved is not None
    assert 0 < record.moved < bound_of(target) == record.bound

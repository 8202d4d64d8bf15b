from __future__ import annotations

import numpy as np
import pytest

from ssmc.ir.executor import Executor
from ssmc.ir.functions import attach_functions
from ssmc.ir.operations import StateSpace
from ssmc.ir.read_program import read_program
from ssmc.passes.fuse_kernel import FuseKernel
from ssmc.pipeline import Effect
from tests.compiling import lower, ops_of
from tests.graphs import Spec, sample


def fused(spec: Spec, step: FuseKernel) -> tuple[StateSpace, StateSpace, np.ndarray, np.ndarray, object]:
    """Kernel and outputs before and after."""
    model = lower(spec, "prune-structure").model
    x = sample(spec, steps=20)
    old = read_program(model)
    before = Executor(old).run(x)
    result = step.run(model)
    attach_functions(result.model)
    new = read_program(result.model)
    kernels = [next(op for op in program.ops if isinstance(op, StateSpace)) for program in (old, new)]
    return kernels[0], kernels[1], before, Executor(new).run(x), result


@pytest.mark.parametrize("form", ["direct", "delta"])
def test_two_matrices_become_one(form: str) -> None:
    spec = Spec(seed=1, form=form, layout="joint", states=3, channels=2)
    old, new, before, after, result = fused(spec, FuseKernel())
    assert old.output_matrix is not None
    assert new.output_matrix is None
    assert np.array_equal(new.matrix.codes, np.concatenate([old.matrix.codes, old.output_matrix.codes], 1))
    assert (new.n_state, new.n_input, new.n_output) == (old.n_state, old.n_input, old.n_output)
    assert np.array_equal(before, after)
    assert result.applied == ("l0.scan",)
    assert result.effect is Effect.EXACT


def test_post_update_outputs_are_declined_with_the_reason() -> None:
    spec = Spec(seed=2, after=True)
    old, new, before, after, result = fused(spec, FuseKernel())
    assert old.output_after
    assert new.output_after
    assert new.output_matrix is not None
    assert result.applied == ()
    assert [d.node for d in result.declined] == ["l0.scan"]
    assert "after the update" in result.declined[0].reason
    assert np.array_equal(before, after)


@pytest.mark.parametrize("form", ["direct", "delta"])
def test_output_lag_0_fuses_them_within_a_bound(form: str) -> None:
    """R(r') and keep R(r) + q / unit differ by at most three roundings of a half: 1.5 read-out codes a state."""
    spec = Spec(seed=3, form=form, after=True, layout="joint", code_bits=8, weight_bits=6, gate=False, pool="none")
    old, new, _, _, result = fused(spec, FuseKernel(output_lag=0, weight_bits=16))
    assert new.output_matrix is None
    assert not new.output_after
    assert result.effect is Effect.BOUNDED
    assert ops_of(result.model).count("Kernel") == 1
    assert old.output_matrix is not None
    assert old.output_requant is not None
    rng = np.random.default_rng(0)
    registers = rng.integers(old.register_lo // 4, old.register_hi // 4 + 1, (500, *old.keep.shape))
    u = rng.integers(-20, 21, (500, old.keep.shape[0], old.n_input))
    moved, expected = old.step(registers, u)
    assert np.array_equal(new.step(registers, u)[0], moved)
    ratio = np.array([float(r) for r in old.output_requant.ratio]).reshape(old.keep.shape[0], -1)
    bound = 1.5 * np.abs(old.output_matrix.codes[..., : old.n_state]).sum(-1) * np.abs(ratio) + 1.01
    increments = moved - old.keep * registers
    edges = (old.requant.lo.reshape(old.keep.shape), old.requant.hi.reshape(old.keep.shape))
    inside = ((edges[0] < increments) & (increments < edges[1])).all(-1, keepdims=True)  # saturation has no such bound
    difference = np.abs(new.step(registers, u)[1] - expected) * inside
    assert inside.mean() > 0.2
    assert (difference <= bound).all()
    assert difference.max() > 0


def test_output_lag_0_is_bounded_beforehand() -> None:
    assert FuseKernel.effect is Effect.BOUNDED
    assert FuseKernel(output_lag=0, weight_bits=6).options() == {"output_lag": 0, "weight_bits": 6}


def test_more_weight_bits_come_nearer() -> None:
    spec = Spec(seed=5, after=True, layout="joint", code_bits=8, gate=False, residual=False, norm=False, pool="none")
    errors = []
    for bits in (3, 8):
        _, _, before, after, _ = fused(spec, FuseKernel(output_lag=0, weight_bits=bits))
        errors.append(float(np.abs(after - before).mean()))
    assert errors[1] < errors[0]

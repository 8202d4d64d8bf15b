"""Streaming: stepping is running, the state is a value, padding changes nothing, integers only inside."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmc.errors import UsageError
from ssmc.ir.executor import Executor
from ssmc.ir.operations import Dequantize, Mean, Quantize
from ssmc.ir.program import Program
from ssmc.ir.quant import Codes, QuantType
from ssmc.targets.integer.target import IntegerTarget
from tests.compiling import program_of
from tests.graphs import Spec, sample
from tests.strategies import specs

POOLS = ["mean", "last", "none"]


def stepped(executor: Executor, x: np.ndarray) -> np.ndarray:
    """Outputs of single steps."""
    state = executor.init(len(x))
    outputs = [executor.step(state, x[:, t]) for t in range(x.shape[1])]
    final = executor.finish(state)
    if final is not None:
        assert outputs == [None] * x.shape[1]
        return final
    return np.stack([y for y in outputs if y is not None], 1)


@settings(max_examples=12)
@given(specs(layers=1), st.integers(1, 8))
def test_steps_are_a_run(spec: Spec, steps: int) -> None:
    executor, x = Executor(program_of(spec)), sample(spec, steps=steps)
    assert np.array_equal(stepped(executor, x), executor.run(x))


@settings(max_examples=12)
@given(specs(layers=1, spelling="round"), st.integers(1, 7))
def test_a_saved_state_goes_on(spec: Spec, stop: int) -> None:
    executor, x = Executor(program_of(spec)), sample(spec, steps=8)
    state = executor.init(len(x))
    before = [executor.step(state, x[:, t]) for t in range(stop)]
    saved = state.copy()
    for t in range(8):  # the original goes elsewhere
        executor.step(state, -x[:, t])
    after = [executor.step(saved, x[:, t]) for t in range(stop, 8)]
    final = executor.finish(saved)
    whole = executor.run(x)
    assert np.array_equal(final if final is not None else np.stack([*before, *after], 1), whole)  # type: ignore[arg-type]


@pytest.mark.parametrize("pool", POOLS)
@settings(max_examples=6)
@given(data=st.data())
def test_padding_never_changes_a_result(pool: str, data: st.DataObject) -> None:
    spec = data.draw(specs(layers=1, spelling="minmax", pool=pool))
    executor, x = Executor(program_of(spec)), sample(spec, batch=4, steps=7)
    lengths = np.array(data.draw(st.lists(st.integers(1, 7), min_size=4, max_size=4)))
    padded = x.copy()
    for n, length in enumerate(lengths):
        padded[n, length:] = 1e6
    together = executor.run(padded, lengths)
    for n, length in enumerate(lengths):
        alone = executor.run(x[n : n + 1, :length])[0]
        mine = together[n] if pool != "none" else together[n, :length]
        assert np.array_equal(mine, alone)
        if pool == "none":
            assert np.isnan(together[n, length:]).all()


@pytest.mark.parametrize("pool", POOLS)
def test_a_sample_that_has_ended_keeps_its_state(pool: str) -> None:
    spec = Spec(seed=2, pool=pool, form="delta")
    executor, x = Executor(program_of(spec)), sample(spec, batch=3)
    state = executor.init(3)
    for t in range(4):
        executor.step(state, x[:, t])
    before = state.copy()
    executor.step(state, x[:, 4], active=np.array([True, False, True]))
    assert state.length.tolist() == [5, 4, 5]
    for kind in ("registers", "accumulators"):
        for name, value in getattr(state, kind).items():
            assert np.array_equal(value[1], getattr(before, kind)[name][1])
    assert any(not np.array_equal(value[0], before.registers[name][0]) for name, value in state.registers.items())


@pytest.mark.parametrize("pool", POOLS)
def test_samples_do_not_see_each_other(pool: str) -> None:
    spec = Spec(seed=2, pool=pool, form="delta")
    executor, x = Executor(program_of(spec)), sample(spec, batch=5)
    assert np.array_equal(executor.run(x), np.concatenate([executor.run(x[n : n + 1]) for n in range(5)]))


@pytest.mark.parametrize("pool", POOLS)
def test_one_step_of_one_sample(pool: str) -> None:
    spec = Spec(seed=3, pool=pool, classes=2)
    x = sample(spec, batch=1, steps=1)
    y = Executor(program_of(spec)).run(x)
    assert y.shape == ((1, 1, 2) if pool == "none" else (1, 2))
    assert np.isfinite(y).all()


def test_the_future_does_not_change_the_past() -> None:
    spec = Spec(seed=4, pool="none", layers=2)
    executor, x = Executor(program_of(spec)), sample(spec, steps=10)
    changed = x.copy()
    changed[:, 6:] *= -3
    a, b = executor.run(x), executor.run(changed)
    assert np.array_equal(a[:, :6], b[:, :6])
    assert not np.array_equal(a[:, 6:], b[:, 6:])


@pytest.mark.parametrize("form", ["direct", "delta"])
def test_only_integers_inside(form: str) -> None:
    spec = Spec(seed=6, form=form, pool="mean")
    program = program_of(spec)
    executor, x = Executor(program), sample(spec)
    state = executor.init(len(x))
    for t in range(x.shape[1]):
        trace = executor.step_codes(state, x[:, t])
        for name, codes in trace.items():
            quant = program.values[name].quant
            assert codes.dtype == np.int64
            assert codes.shape == (len(x), program.values[name].size)
            assert quant.lo <= codes.min()
            assert codes.max() <= quant.hi
    for name, codes in executor.finish_codes(state).items():
        assert codes.dtype == np.int64
        assert codes.shape == (len(x), program.values[name].size)
    assert all(register.dtype == np.int64 for register in state.registers.values())


def test_registers_stay_in_range_under_any_input() -> None:
    spec = Spec(seed=7, form="delta", states=3)
    program = program_of(spec)
    executor = Executor(program)
    state = executor.init(2)
    for sign in (1, 1, 1, 1, -1, -1, -1, -1) * 4:
        executor.step(state, np.full((2, spec.features), sign * 1e9))
    kernel = next(op for op in program.ops if op.name in state.registers)
    register = state.registers[kernel.name]
    assert (register >= kernel.register_lo).all()
    assert (register <= kernel.register_hi).all()


@pytest.mark.parametrize("length", [1, 2, 3, 6, 7])
def test_a_mean_divides_by_the_true_length_exactly(length: int) -> None:
    code = QuantType(-8, 7, np.ones(()))
    ratio = (Fraction(1, 2), Fraction(3))
    ops = (
        Quantize("q", ("x",), "c", code),
        Mean("mean", ("c",), "m", ratio, -8, 7),
        Dequantize("out", ("m",), "y", np.ones(())),
    )
    values = {"c": Codes(2, code, "step"), "m": Codes(2, code, "sequence")}
    executor = Executor(Program("x", 2, "y", 2, ops, values))
    rng = np.random.default_rng(length)
    for _ in range(20):
        x = rng.integers(-8, 8, (1, length, 2))
        exact = [min(max(round(r * int(t) / length), -8), 7) for r, t in zip(ratio, x.sum(1)[0], strict=True)]
        padded = np.concatenate([x, np.full((1, 3, 2), 7)], 1)
        assert executor.run(padded, [length]).tolist() == [exact]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
def test_any_real_dtype(dtype: type) -> None:
    spec = Spec(seed=8)
    x = np.round(sample(spec)).astype(dtype)
    executor = Executor(program_of(spec))
    assert np.array_equal(executor.run(x), executor.run(x.astype(np.float32)))


@pytest.mark.parametrize(
    ("x", "lengths", "code"),
    [
        (np.zeros((2, 5)), None, "SSMC-D01"),
        (np.zeros((2, 5, 3)), None, "SSMC-D01"),
        (np.zeros((2, 5, 2), bool), None, "SSMC-D02"),
        (np.zeros((2, 5, 2), complex), None, "SSMC-D02"),
        (np.full((2, 5, 2), "a"), None, "SSMC-D02"),
        (np.full((2, 5, 2), np.nan), None, "SSMC-D03"),
        (np.full((2, 5, 2), np.inf), None, "SSMC-D03"),
        (np.zeros((2, 5, 2)), [1], "SSMC-D04"),
        (np.zeros((2, 5, 2)), [1, 6], "SSMC-D04"),
        (np.zeros((2, 5, 2)), [-1, 5], "SSMC-D04"),
    ],
)
def test_wrong_data(x: np.ndarray, lengths: list[int] | None, code: str) -> None:
    executor = Executor(program_of(Spec(features=2)))
    with pytest.raises(UsageError) as caught:
        executor.run(x, lengths)
    assert (caught.value.code, caught.value.exit_status) == (code, 2)


def test_cost_counts_what_is_there() -> None:
    spec = Spec(
        seed=9, features=2, channels=3, states=2, layout="dense", norm=False, gate=False, classes=3, weight_bits=8
    )
    target = IntegerTarget()
    compiled = target.emit(program_of(spec))
    counts = {op.name: int(np.count_nonzero(m.codes)) for op, m in compiled.program.matrices()}
    once = next(name for name in reversed(counts))
    short, long = compiled.cost(10), compiled.cost(11)
    assert short["macs_per_step"] == sum(counts.values()) - counts[once]
    assert long["macs_per_sequence"] - short["macs_per_sequence"] == short["macs_per_step"]
    assert short["macs_per_sequence"] == 10 * short["macs_per_step"] + counts[once]
    assert short["state_bits"] == 2 * spec.code_bits


def test_a_written_target_reads_back() -> None:
    spec = Spec(seed=10, form="delta", layers=2)
    compiled = IntegerTarget().emit(program_of(spec))
    again = IntegerTarget.load(*compiled.files())
    x = sample(spec)
    assert np.array_equal(again.executor().run(x), compiled.executor().run(x))

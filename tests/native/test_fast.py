"""The fast executor: the reference's codes, batched; and the reference where there is no compiler."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ssmc.bundle.compare import compare_codes
from ssmc.data import load_samples
from ssmc.errors import SsmcWarning
from ssmc.ir.executor import Executor
from ssmc.ir.program import Program
from ssmc.native import build, fast
from ssmc.native.executor import NativeExecutor
from ssmc.targets.integer.target import IntegerCompiled
from tests.compiling import DIGITS, demo_program
from tests.targets.c99.programs import random_program


@pytest.fixture(scope="module")
def program() -> Program:
    return demo_program()


needs_compiler = pytest.mark.skipif(build.find_compiler() is None, reason="no C compiler")


@needs_compiler
def test_every_code_of_the_demo_model_is_the_same(program: Program) -> None:
    samples = load_samples(DIGITS / "test.npz").head(4)
    found = compare_codes(Executor(program), NativeExecutor(program), samples)
    assert found.compared > 500_000
    assert (found.differing, found.first) == (0, "")
    assert np.array_equal(*found.outputs)


@needs_compiler
@pytest.mark.parametrize("dtype", ["int16", "int64", "float32", "float64", "uint8"])
@pytest.mark.parametrize("threads", [1, 3])
def test_ragged_batches_of_any_number_type(program: Program, dtype: str, threads: int) -> None:
    x = np.random.default_rng(1).integers(0, 256, (9, 12, program.input_size)).astype(dtype)
    lengths = np.array([0, 12, 1, 7, 12, 3, 3, 0, 11])
    assert np.array_equal(NativeExecutor(program, threads=threads).run(x, lengths), Executor(program).run(x, lengths))


@needs_compiler
def test_one_thread_is_one_thread_where_the_system_counts_no_cores(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("ssmc.native.executor.ThreadPoolExecutor", None)
    x = np.zeros((9, 2, program.input_size))
    assert NativeExecutor(program, threads=1).run(x).shape == (9, program.output_size)
    with pytest.raises(TypeError):
        NativeExecutor(program, threads=2).run(x)


@needs_compiler
def test_outputs_per_step_end_with_the_sample() -> None:
    seed = next(s for s in range(99) if random_program(s).output_rate == "step")
    program = random_program(seed)
    x = np.random.default_rng(2).normal(0, 9, (5, 8, program.input_size))
    lengths = np.array([8, 0, 3, 5, 8])
    for given in (lengths, np.minimum(lengths, 5), np.zeros(5, int)):
        want = Executor(program).run(x, given)
        assert np.array_equal(NativeExecutor(program).run(x, given), want, equal_nan=True)


@needs_compiler
def test_a_state_can_be_saved_and_restored(program: Program) -> None:
    executor = NativeExecutor(program)
    x = np.random.default_rng(3).integers(-30000, 30000, (2, 10, program.input_size))
    state = executor.init(2)
    for t in range(5):
        executor.step(state, x[:, t])
    kept = state.copy()
    outputs = []
    for at in (state, kept):
        for t in range(5, 10):
            executor.step(at, x[:, t])
        outputs.append(executor.finish(at))
    assert np.array_equal(outputs[0], Executor(program).run(x))
    assert np.array_equal(*outputs)


@needs_compiler
def test_looking_at_the_result_does_not_end_the_sequence(program: Program) -> None:
    executor = NativeExecutor(program)
    x = np.random.default_rng(4).integers(-30000, 30000, (1, 6, program.input_size))
    state = executor.init()
    for t in range(6):
        executor.step(state, x[:, t])
        assert np.array_equal(executor.finish(state), Executor(program).run(x[:, : t + 1]))


def test_without_a_compiler_the_reference_runs(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "find_compiler", lambda: None)
    assert type(fast.fast_executor(program)) is Executor


def test_a_broken_compiler_falls_back(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "find_compiler", lambda: ("false",))
    monkeypatch.setattr(fast, "find_compiler", lambda: ("false",))
    with pytest.warns(SsmcWarning, match="SSMC-C25"):
        assert type(fast.fast_executor(program)) is Executor


@needs_compiler
def test_a_full_cache_falls_back(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("XDG_CACHE_HOME", str(build.cache_folder() / "other"))
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.warns(SsmcWarning, match=r"SSMC-C27.*No space left"):
        assert type(fast.fast_executor(program)) is Executor


@needs_compiler
@pytest.mark.parametrize("damage", [b"", b"\x7fELF", slice(0, -40), slice(40, None)])
def test_a_damaged_library_is_built_again(
    program: Program, damage: bytes | slice, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    NativeExecutor(program).batched  # noqa: B018 (built once)
    (library,) = (tmp_path / "ssmc").iterdir()
    whole = library.read_bytes()
    library.unlink()  # the loaded one stays mapped
    library.write_bytes(damage if isinstance(damage, bytes) else whole[damage])
    assert isinstance(fast.fast_executor(program), NativeExecutor)
    assert library.read_bytes() == whole


@pytest.mark.parametrize("text", ["gcc 'open", " ", "/no/such/tool", "/"])
def test_an_odd_cc_is_no_compiler(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", text)
    assert build.find_compiler.__wrapped__() is None


@needs_compiler
def test_the_target_builds_only_where_that_pays(program: Program) -> None:
    compiled = IntegerCompiled(program)
    assert type(compiled.fast_executor(fast.FAST_FROM_STEPS - 1)) is Executor
    assert isinstance(compiled.fast_executor(fast.FAST_FROM_STEPS), NativeExecutor)


@needs_compiler
def test_the_second_time_nothing_is_built(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    NativeExecutor(program).batched  # noqa: B018 (built once)
    monkeypatch.setattr(build, "_compile", lambda *_: pytest.fail("built again"))
    NativeExecutor(program).batched  # noqa: B018 (taken from the cache)

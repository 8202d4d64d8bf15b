"""Pairs of states and of rows: the same codes in portable C, with DSP instructions, and on the board."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmc.emit_c import row_codes, row_pairs, shared
from ssmc.emit_c.emit import emit
from ssmc.emit_c.widths import INT8, INT16
from ssmc.ir.requant import Requant
from ssmc.native.executor import NativeExecutor
from tests.targets.c99 import harness
from tests.targets.c99.backends import differing, reference, walk
from tests.targets.c99.pair_programs import pair_program
from tests.targets.c99.programs import random_codes

SEEDS = (3, 4, 8, 11, 12, 17, 18, 20, 34, 45)
WAYS = {
    "registers that are replaced": "= (int8_t)q0", "some are added to": "held & ", "16-bit registers": "store_pair(",
    "pairs that turn": "dual_turned(a", "pairs that do not": "const int32_t row", "4-bit codes": "low4(",
    "an index into tables": "kind0", "multipliers in the stream": "int16_at(",
    "read-outs without rounding": "_pair(held,", "rows of 8 bits": "row_pairs",
    "rows of 4 bits": "_rows4(", "rows of 2 bits": "_rows2(", "inputs made whole words": "] = { 0 };",
    "tables without negative codes": "saturate_unsigned(x", "tables without ends": "clamp32(x",
    "tables of half bytes": "half_byte(",
}  # fmt: skip


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc, whose sanitizers are used")
@pytest.mark.parametrize("seed", SEEDS)
def test_portable_c_and_dsp_instructions_give_the_codes_of_the_reference(seed: int, tmp_path: Path) -> None:
    program, lengths = pair_program(seed), np.array([40, 17, 1, 40])
    codes = random_codes(program, seed, 4, 40)
    want = reference(program, codes, lengths)
    for flags in ((), harness.EMULATED):
        got = harness.run(program, codes, tmp_path, lengths=lengths, flags=flags)
        compared, name = differing(want, got, lengths)
        assert compared > 500
        assert not name
    assert not differing(want, walk(NativeExecutor(program, word=8), codes, lengths), lengths)[1]


def test_the_seeds_cover_every_way_to_store_a_pair() -> None:
    texts = [emit(pair_program(seed), "m", share=False).source for seed in SEEDS]
    for what, part in WAYS.items():
        assert any(part in text for text in texts), what


def test_rows_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    kinds = Requant.kinds.fget
    assert kinds is not None
    monkeypatch.setattr(Requant, "kinds", property(lambda self: (asked.append(len(self)), kinds(self))[1]))
    program = pair_program(SEEDS[0])
    emit(program, "m")
    assert sum(asked) < 3 * sum(len(requant) for op in program.ops for requant in op.requants())


@pytest.mark.skipif(bool(harness.load_board().missing_tools()), reason="no arm-none-eabi-gcc or qemu-system-arm")
@pytest.mark.parametrize("seed", SEEDS[::3])
def test_a_cortex_m4_gives_the_codes_of_the_reference(seed: int, tmp_path: Path) -> None:
    program, lengths = pair_program(seed), np.array([40, 17, 1, 40])
    codes = random_codes(program, seed, 4, 40)
    got = harness.run_on_board(program, codes, tmp_path, lengths)
    assert not differing(reference(program, codes, lengths), got, lengths)[1]


@given(st.integers(0, 999), st.integers(2, 9), st.sampled_from([4, 8, 20]))
def test_words_of_two_rows_give_the_sums_of_both(seed: int, rows: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    codes, x = rng.integers(-127, 128, (rows, n)), rng.integers(-128, 128, n)
    assert row_pairs.fits(codes, INT8)
    words = row_pairs.pack_pairs(codes)
    assert words.min() >= INT16.lo
    assert words.max() <= INT16.hi
    sums, at = [], 0
    for together in [2] * (-(-rows // 2) // 2) + [1] * (-(-rows // 2) % 2):
        block = words[at : at + together * n].reshape(-1, together, 2).swapaxes(0, 1).reshape(together, n)
        at += block.size
        total, second = block @ x, (((block & 255) ^ 128) - 128) @ x
        sums += np.stack([(total - second) >> 8, second], 1).ravel().tolist()
    assert sums[:rows] == (codes @ x).tolist()
    assert at == words.size


@given(st.integers(0, 999), st.sampled_from([2, 4]), st.integers(1, 9), st.integers(13, 40))
def test_masked_words_give_the_sums_of_narrow_rows(seed: int, bits: int, rows: int, n: int) -> None:
    rng, top = np.random.default_rng(seed), 1 << (bits - 1)
    codes, whole = rng.integers(-top, top, (rows, n)), row_codes.padded(n, bits)
    x = np.zeros(whole, np.int64)
    x[:n] = rng.integers(-128, 128, n)
    words = row_codes.pack_words(codes, bits)
    assert words.size == rows * whole // row_codes.per_word(bits)
    sums, at = [], 0
    for together in [4] * (rows // 4) + [1] * (rows % 4):
        block = words[at : at + together * whole // row_codes.per_word(bits)].reshape(-1, together).T
        at += block.size
        lanes = np.stack([(block[..., None] << bits * np.arange(16 // bits)) >> half & 0xFFFF for half in (0, 16)], -1)
        highest = lanes & ((1 << bits) - 1 << (16 - bits))
        signed = np.where(highest >> 15, highest - (1 << 16), highest)
        sums += ((signed.reshape(together, -1) @ x) >> (16 - bits)).tolist()
    assert sums == (codes @ x[:n]).tolist()


@pytest.mark.parametrize(
    ("codes", "fits"),
    [
        (np.full((2, 4), 127), True),
        (np.array([[-128] * 4, [0] * 4]), True),
        (np.array([[-128] * 4, [-1] * 4]), False),  # -128 * 256 - 1 is no 16-bit integer
        (np.full((2, 6), 1), False),  # not by fours
        (np.full((1, 4), 1), False),  # no second row
        (np.full((2, 512), 127), True),
        (np.full((2, 516), 127), False),  # 257 * 516 * 127 * 128 needs more than 32 bits
    ],
)
def test_rows_are_paired_only_where_nothing_can_overflow(codes: np.ndarray, fits: bool) -> None:
    assert row_pairs.fits(codes, INT8) == fits
    assert not row_pairs.fits(codes, INT16)


def test_numbers_that_take_few_values_together_get_an_index() -> None:
    kind = np.arange(200) % 3
    same = {"a": kind * 1000, "b": kind * 70000, "c": np.full(200, 7)}
    assert shared.indexed(same) == ("a", "b")
    assert shared.size(same, ("a", "b")) == 200 + 3 * (2 + 4)
    assert shared.indexed({"a": np.arange(200), "b": kind}) == ()
    tables, index = shared.kinds(same, ("a", "b"))
    assert all(np.array_equal(tables[key][index], same[key]) for key in tables)

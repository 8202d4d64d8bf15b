"""The text of the C: strict under both compilers, self-contained, prefixed, and small where the model is sparse."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmc.emit_c.blocks import find_blocks
from ssmc.emit_c.emit import Emitted, emit
from ssmc.emit_c.fold import fold_multipliers
from ssmc.emit_c.packing import pack_rows, packed_bits
from ssmc.errors import ModelError
from ssmc.ir.matrix import Matrix, PartialSum
from ssmc.ir.operations import Dequantize, Last, Linear, Mean, Op, Quantize, StateSpace, Table
from ssmc.ir.program import Program
from ssmc.ir.quant import Codes, QuantType
from ssmc.ir.rounding import IntArray
from ssmc.native.build import STRICT
from ssmc.native.executor import Library
from tests.targets.c99.programs import random_program


def compiled(model: Emitted, folder: Path, compiler: str, *flags: str) -> Path:
    (folder / f"{model.prefix}.h").write_text(model.header)
    (folder / f"{model.prefix}.c").write_text(model.source)
    subprocess.run([compiler, *STRICT, *flags, "-c", f"{model.prefix}.c"], cwd=folder, check=True)
    return folder / f"{model.prefix}.o"


@pytest.mark.parametrize("seed", [3, 31, 82])
def test_both_compilers_accept_it_strictly(seed: int, compiler: str, tmp_path: Path) -> None:
    compiled(emit(random_program(seed), "net"), tmp_path, compiler, "-O1")


def test_every_exported_name_is_prefixed(compiler: str, tmp_path: Path) -> None:
    made = compiled(emit(random_program(31), "net"), tmp_path, compiler)
    listing = subprocess.run(["nm", "-g", str(made)], capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1] for line in listing.splitlines() if " U " not in line}
    assert {"net_init", "net_step", "net_run"} <= names
    assert all(name.startswith("net_") for name in names)
    assert " U " not in listing.replace("U __stack_chk_fail", ""), "it needs a library"


@pytest.mark.parametrize("seed", [31, 60, 82])
def test_it_includes_stdint_only_and_has_no_float(seed: int) -> None:
    model = emit(random_program(seed), "net")
    assert re.findall(r"#include (\S+)", model.header) == ["<stdint.h>"]
    portable = re.sub(
        r"#if defined\(__GNUC__\) && defined\(__ARM_FEATURE_DSP\).*?#endif", "", model.source, flags=re.DOTALL
    )
    assert re.findall(r"#include (\S+)", portable) == ['"net.h"']
    code = re.sub(r"/\*.*?\*/", "", model.source, flags=re.DOTALL)
    assert not re.search(r"\b(float|double|malloc|memcpy|printf)\b", code)


def test_the_same_program_gives_the_same_text() -> None:
    assert emit(random_program(5), "net").source == emit(random_program(5), "net").source


def test_the_state_is_as_large_as_it_says() -> None:
    for seed in (3, 31, 60):
        model = emit(random_program(seed), "net")
        assert Library(model).state_bytes == model.state_bytes


def unpack_rows(packed: IntArray, bits: int, n: int) -> IntArray:
    """What `pack_rows` packed: codes (rows, n)."""
    per_byte = 8 // bits
    fields = (packed[..., None] >> (bits * np.arange(per_byte))) & ((1 << bits) - 1)
    flat = fields.reshape(len(packed), -1)[:, :n]
    if bits == 1:
        return np.asarray(2 * flat - 1, np.int64)
    sign = 1 << (bits - 1)
    return np.asarray((flat ^ sign) - sign, np.int64)


@given(st.sampled_from([1, 2, 4]), st.integers(0, 99), st.integers(1, 19))
def test_unpacking_gives_back_what_was_packed(bits: int, seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    top = 1 << (bits - 1)
    codes = rng.choice([-1, 1], (3, n)) if bits == 1 else rng.integers(-top, top, (3, n))
    packed = pack_rows(codes, bits)
    assert packed.shape == (3, -(-n * bits // 8))
    assert 0 <= packed.min() <= packed.max() <= 255
    assert np.array_equal(unpack_rows(packed, bits, n), codes)


@pytest.mark.parametrize(
    ("codes", "bits"), [([-1, 1], 1), ([-1, 0, 1], 2), ([-2, 1], 2), ([2], 4), ([-8, 7], 4), ([8], 8), ([128], 16)]
)
def test_weights_take_the_narrowest_width(codes: list[int], bits: int) -> None:
    assert packed_bits(np.array(codes)) == bits


def kernel_of(program: Program) -> StateSpace:
    return next(op for op in program.ops if isinstance(op, StateSpace))


def test_block_diagonal_states_are_stored_as_blocks() -> None:
    groups, n = 8, 6
    base = kernel_of(random_program(31))
    a = np.kron(np.eye(n // 2, dtype=np.int64), np.array([[3, -5], [5, 3]]))
    w = np.zeros((groups, n + 1, n + 1), np.int64)
    w[:, :n, :n], w[:, :n, n], w[:, n] = a, 7, 9
    w[3, n, :2] = 0  # a block that no output reads
    order = np.array([0, 2, 4, 1, 3, 5])
    w[:, :n] = w[:, order]
    w[:, :, :n] = w[:, :, order]
    op = replace(base, matrix=Matrix(w), keep=np.ones((groups, n)), output_matrix=None, output_requant=None)
    blocks = find_blocks(op)
    assert (blocks.size, blocks.count) == (2, 3)
    assert int(blocks.real.sum()) == groups * n - 2
    assert {frozenset(pair) for pair in blocks.order[0].reshape(-1, 2).tolist()} == {
        frozenset(np.flatnonzero(order // 2 == k).tolist()) for k in range(3)
    }


@pytest.mark.parametrize("seed", range(6))
def test_folding_multipliers_changes_no_sum(seed: int) -> None:
    program = random_program(seed)
    for old, new in zip(program.ops, fold_multipliers(program).ops, strict=True):
        if isinstance(old, Linear):
            assert isinstance(new, Linear)
            v = np.random.default_rng(seed).integers(-3, 4, (5, old.matrix.groups, old.matrix.inputs))
            accumulators = (op.matrix.product(v).reshape(5, -1) * op.requant.multiplier for op in (old, new))
            assert np.array_equal(*accumulators)


@pytest.mark.parametrize("scale", [256.0, 1.0, 3.0, float(np.float32(0.1)), float(np.float32(117.3))])
def test_int16_samples_are_quantized_exactly(scale: float) -> None:
    code = QuantType(-128, 127, np.asarray(scale))
    ops = (Quantize("q", ("x",), "u", code), Dequantize("o", ("u",), "y", np.asarray(1.0)))
    model = emit(Program("x", 1, "y", 1, ops, {"u": Codes(1, code, "step")}), "net")
    assert model.quantizes
    library = Library(model)
    samples = np.arange(-(1 << 15), 1 << 15, dtype=np.int16)
    codes = np.zeros(1, np.int8)
    want = code.quantize(samples.astype(float))
    for at in range(0, len(samples), 7):
        library.call("net_quantize", samples[at : at + 1], codes)
        assert codes[0] == want[at]


def plain(*ops: Op) -> Program:
    code = QuantType(-8, 7, np.asarray(1.0))
    values = {op.output: Codes(2, code, "sequence" if isinstance(op, Mean | Last) else "step") for op in ops}
    values["u"] = Codes(2, code, "step")
    every = (Quantize("q", ("x",), "u", code), *ops, Dequantize("o", (ops[-1].output,), "y", np.asarray(1.0)))
    return Program("x", 2, "y", 2, every, values)


def with_parts() -> Program:
    one = np.ones((1, 2), np.int64)
    part = PartialSum(np.ones((1, 2, 2), np.int64), (0, 2), None, 1, one, -8 * one, 7 * one, 0 * one)
    linear = next(op for op in random_program(0).ops if isinstance(op, Linear))
    matrix = Matrix(np.ones((1, 2, 2), np.int64), (part,))
    return plain(replace(linear, name="crossbar", inputs=("u",), output="v", matrix=matrix))


DECLINED = {
    "SSMC-C21": with_parts,
    "SSMC-C22": lambda: plain(Mean("mean", ("u",), "v", (Fraction(1 << 63, 3),) * 2, -8, 7)),
    "SSMC-C23": lambda: plain(Table("table", ("u",), "v", np.zeros((1, 3), np.int64), -8)),
    "SSMC-C24": lambda: plain(Last("last", ("u",), "v"), Last("again", ("v",), "w")),
    "SSMC-C28": lambda: plain(Quantize("other", ("x",), "v", QuantType(-4, 3, np.asarray(2.0)))),
}


@pytest.mark.parametrize("code", DECLINED)
def test_what_c_cannot_do_is_declined_by_node(code: str) -> None:
    with pytest.raises(ModelError) as declined:
        emit(DECLINED[code](), "net")
    assert declined.value.code == code
    assert declined.value.node
    assert declined.value.remedy

"""The figures of the literature come out, and the ssmc counting equals one done by hand."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from ssmc.analysis.bases import bases
from ssmc.analysis.qs4d_metrics import (
    Qs4dLayer,
    Qs4dModel,
    Use,
    figures,
    fp32_twin,
    headline,
    metrics,
    qs4d_bits,
    qs4d_figures,
    qs4d_model,
    uses,
)
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import Dequantize, Linear, Op, Quantize, StateSpace
from ssmc.ir.program import Program
from ssmc.ir.quant import Codes, QuantType
from ssmc.ir.rates import Group
from ssmc.ir.requant import Requant, make_requant

SCIFAR_LAYER = Qs4dLayer(channels=128, states=128, a=12, b=12, c=12, state=12, adc=12, act=12, lin=12)
SCIFAR = Qs4dModel((SCIFAR_LAYER,) * 4, d_in=1, d_out=10, coder=12)


def test_check_values_of_qs4d_at_12_bits() -> None:
    assert qs4d_figures(SCIFAR).ace == 28_514_304
    assert qs4d_figures(SCIFAR, b_term=True).ace == 37_951_488
    assert qs4d_figures(SCIFAR).size_bits == 2_362_368
    assert qs4d_figures(SCIFAR, true_decoder=True).size_bits == 2_376_192
    assert qs4d_figures(SCIFAR).adc == 800_376


def test_check_values_of_qs4d_at_fp32() -> None:
    fp32 = qs4d_figures(SCIFAR.at(32))
    assert round(fp32.ace / 1e6, 1) == 202.8
    assert round(fp32.size_bits / 8e3) == 787
    assert round(fp32.adc / 1e6, 3) == 2.134


def code(bits: int) -> QuantType:
    return QuantType(-(1 << (bits - 1)), (1 << (bits - 1)) - 1, np.asarray(1.0))


def requant(n: int, lo: ArrayLike = -8, hi: ArrayLike = 7) -> Requant:
    return make_requant([Fraction(1, 2)] * n, [Fraction(0)] * n, lo, hi, (-700, 700))


def program() -> Program:
    """Encoder 3 -> 2 (4 bit), one delta kernel H=2, n=2, mixing 2 -> 4 (3 bit), decoder 4 -> 5 (4 bit)."""
    kernel = np.zeros((2, 3, 3), np.int64)
    kernel[:, :2, :2] = [[-7, 3], [-3, -7]]
    kernel[1, 0, 1] = 0
    kernel[:, :2, 2] = 15
    kernel[:, 2, :2] = 1
    ones = np.ones((2, 2), np.int64)
    state = ones, ones, -16 * ones, 15 * ones, -512 * ones, 511 * ones, 0 * ones
    lo, hi = np.tile([-32, -32, -8], 2), np.tile([31, 31, 7], 2)
    ops: tuple[Op, ...] = (
        Quantize("quantize", ("x",), "q", code(6)),
        Linear("encoder", ("q",), "u", Matrix(np.full((1, 2, 3), 7)), requant(2)),
        StateSpace("ssm", ("u",), "y", Matrix(kernel), requant(6, lo, hi), *state),
        Linear("mix", ("y",), "g", Matrix(np.full((1, 4, 2), 3)), requant(4)),
        Linear("decoder", ("g",), "o", Matrix(np.full((1, 5, 4), 7)), requant(5)),
        Dequantize("out", ("o",), "out", np.asarray(1.0)),
    )
    sizes = {"q": (3, 6), "u": (2, 4), "y": (2, 4), "g": (4, 4), "o": (5, 4)}
    values = {name: Codes(size, code(bits), "step") for name, (size, bits) in sizes.items()}
    return Program("x", 3, "out", 5, ops, values)


def test_ssmc_counting_by_hand() -> None:
    found = figures(uses(program()))
    a, b, c = 8 * 4 * 5, 4 * 5 * 4, 4 * 2 * 5
    assert found.ace == 6 * 4 * 6 + a + b + c + 8 * 3 * 4 + 20 * 4 * 4
    assert found.size_bits == 6 * 4 + 8 * 4 + 4 * 5 + 4 * 2 + 8 * 3 + 20 * 4
    assert found.adc == 2 * 4 + 4 * 6 + 2 * 4 + 4 * 4 + 5 * 4


def test_qs4d_model_of_a_program() -> None:
    layer = Qs4dLayer(channels=2, states=2, a=4, b=5, c=1, state=5, adc=6, act=4, lin=3)
    assert qs4d_model(program()) == Qs4dModel((layer,), d_in=3, d_out=5, coder=4)


def test_halves_of_a_mixing_matrix_count_by_their_own_width() -> None:
    found = program()
    (mixing,) = (op for op in found.ops if op.name == "mix")
    mixing.matrix.codes[:, 2:] = -1  # ternary, 1 bit; the other half stays at 3
    assert qs4d_model(found).layers[0].lin == 2
    before, after = qs4d_figures(qs4d_model(program())), qs4d_figures(qs4d_model(found))
    assert before.ace - after.ace == 2 * 2 * 4
    assert before.size_bits - after.size_bits == 2 * 2
    assert before.adc - after.adc == 2


def test_a_layer_at_a_quarter_of_the_rate_counts_a_quarter() -> None:
    full, slow = program(), program()
    for name in ("u", "y", "g"):  # what the kernel, the mixing matrix and the decoder read
        slow.values[name] = replace(slow.values[name], clock=(Group(4, 3, rest=True),))
    a, b, c = 8 * 4 * 5, 4 * 5 * 4, 4 * 2 * 5
    found, before = figures(uses(slow)), figures(uses(full))
    assert found.ace == 6 * 4 * 6 + (a + b + c + 8 * 3 * 4 + 20 * 4 * 4) // 4
    assert found.adc == 2 * 4 + (4 * 6 + 2 * 4 + 4 * 4 + 5 * 4) // 4
    assert found.size_bits == before.size_bits
    (layer,) = qs4d_model(slow).layers
    assert layer == replace(*qs4d_model(full).layers, every=4)
    coder = qs4d_figures(replace(qs4d_model(full), layers=(replace(layer, channels=2, every=1 << 40),)))
    whole, quarter = qs4d_figures(qs4d_model(full)), qs4d_figures(qs4d_model(slow))
    assert quarter.ace - coder.ace == (whole.ace - coder.ace) // 4
    assert metrics(slow)["qs4d"]["fp32"] == metrics(full)["qs4d"]["fp32"]


def test_a_mixing_matrix_without_a_gate_counts_by_its_widest_weight() -> None:
    found = program()
    (mixing,) = (op for op in found.ops if op.name == "mix")
    half = Matrix(np.array([[[3, 3], [1, 1]]]))  # one output a channel
    ops = tuple(replace(op, matrix=half) if op is mixing else op for op in found.ops)
    assert qs4d_model(replace(found, ops=ops)).layers[0].lin == 3


def test_pruned_states_are_gone_from_every_count() -> None:
    whole, pruned = program(), program()
    (kernel,) = (op for op in pruned.ops if isinstance(op, StateSpace))
    kernel.matrix.codes[0, 1] = 0  # state 1 of channel 0: nothing drives it, nobody reads it
    kernel.matrix.codes[0, :, 1] = 0
    a, b, c = whole_use(whole, "A"), whole_use(whole, "B"), whole_use(whole, "C")
    gone = whole_use(pruned, "A"), whole_use(pruned, "B"), whole_use(pruned, "C")
    assert [x.macs - y.macs for x, y in zip((a, b, c), gone, strict=True)] == [
        4,
        1,
        1,
    ]  # A[0, 1] is then zero in every channel
    assert a.conversions - gone[0].conversions == 1
    before, after = qs4d_figures(qs4d_model(whole)), qs4d_figures(qs4d_model(pruned))
    assert before.ace - after.ace == 4 * 5 + 1 * 5
    assert before.size_bits - after.size_bits == 4 + 1
    assert before.adc - after.adc == 6


def whole_use(found: Program, role: str) -> Use:
    return next(use for use in uses(found) if use.role == role)


def test_headline_is_against_the_unpruned_float_twin() -> None:
    pruned = program()
    (kernel,) = (op for op in pruned.ops if isinstance(op, StateSpace))
    kernel.matrix.codes[0, 1] = 0
    kernel.matrix.codes[0, :, 1] = 0
    twin = fp32_twin(layers=1, channels=2, states=2, d_in=3, d_out=5)
    assert headline(pruned).fp32 == qs4d_figures(twin) == headline(pruned, twin).fp32
    assert headline(pruned).model == qs4d_figures(qs4d_model(pruned))
    assert headline(pruned).less["ace"] == headline(pruned).fp32.ace / headline(pruned).model.ace > 1
    wide = fp32_twin(layers=4, channels=128, states=128, d_in=1, d_out=10)
    assert qs4d_figures(wide) == qs4d_figures(SCIFAR.at(32))


def test_fp32_is_the_same_model_at_32_bits() -> None:
    found = metrics(program())
    assert found["ssmc"]["fp32"]["size_bits"] == 32 * (6 + 8 + 4 + 4 + 8 + 20)
    assert found["qs4d"]["fp32"] == qs4d_figures(qs4d_model(program()).at(32)).to_json()


def test_widths_of_weights_as_qs4d_counts_them() -> None:
    """Its b bits are 2^b + 1 levels: 1 bit is ternary, 2 bits are -2..2, 8 bits are -128..128."""
    for bits in range(1, 9):
        top = 1 << (bits - 1)
        assert qs4d_bits(np.arange(-top, top + 1)) == bits
        assert qs4d_bits(np.arange(-top - 1, top + 2)) == bits + 1
    assert qs4d_bits(np.zeros(3, np.int64)) == 0


def test_bases_count_rested_states_and_compare_with_as_many() -> None:
    rested = program()
    (kernel,) = (op for op in rested.ops if isinstance(op, StateSpace))
    kernel.matrix.codes[0, 1] = 0  # one state of four
    kernel.matrix.codes[0, :, 1] = 0
    twin = fp32_twin(layers=1, channels=2, states=8, d_in=3, d_out=5)
    found = bases(rested, twin)
    assert found["live"] == headline(rested, twin)
    assert found["literal"].fp32 == found["live"].fp32 == qs4d_figures(twin)
    assert found["literal"].model == qs4d_figures(qs4d_model(program()))  # of the file before the state came to rest
    assert found["equal states"].model == found["live"].model
    assert found["equal states"].fp32 == qs4d_figures(fp32_twin(layers=1, channels=2, states=2, d_in=3, d_out=5))
    assert bases(rested, twin, [4]) == found
    assert bases(rested, twin, [6])["literal"].model.adc - found["literal"].model.adc == 2 * 6  # two states, 6 bits

"""Random quantized SSM programs: encoder, kernel, table, gate, mean or per-step output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import strategies as st

from ssmc.hardware.file import load_hardware
from ssmc.hardware.model import Hardware
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import (
    Concat,
    Dequantize,
    Last,
    Linear,
    Mean,
    Norm,
    Op,
    Product,
    Quantize,
    Slice,
    StateSpace,
    Sum,
    Table,
)
from ssmc.ir.program import Program
from ssmc.ir.quant import Codes, QuantType, Rate
from ssmc.ir.requant import Requant, make_requant
from ssmc.ir.rounding import IntArray


@dataclass(frozen=True)
class Shape:
    """Of a random program."""

    seed: int = 0
    form: str = "direct"
    features: int = 3
    channels: int = 2
    n: int = 2
    m: int = 1
    p: int = 1
    weight_bits: int = 8
    code_bits: int = 8
    unsigned: bool = False
    output_after: bool = False
    unfused: bool = False
    pool: str = "mean"
    norm: bool = False
    joined: bool = False


def code_type(bits: int, unsigned: bool = False) -> QuantType:
    lo = 0 if unsigned else -(1 << (bits - 1))
    return QuantType(lo, lo + (1 << bits) - 1, np.asarray(0.25))


def codes_of(rng: np.random.Generator, shape: tuple[int, ...], bits: int) -> IntArray:
    top = (1 << (bits - 1)) - 1
    return rng.integers(-top, top + 1, shape)


def fitting_requant(matrix: Matrix, inputs: tuple[int, int], out: QuantType, rng: np.random.Generator) -> Requant:
    """Maps typical sums onto the codes: some saturate, some ties."""
    size = matrix.groups * matrix.outputs
    largest = max(abs(inputs[0]), inputs[1]) * int(np.abs(matrix.codes).max(initial=1))
    typical = max(1, int(np.sqrt(matrix.inputs)) * largest // 4)
    ratio = [Fraction(int(rng.integers(1, 64)) * out.hi, 32 * typical) for _ in range(size)]
    bias = [Fraction(int(rng.integers(-8, 9)), 4) for _ in range(size)]
    shape = (matrix.groups, matrix.inputs)
    low, high = matrix.reach(np.full(shape, inputs[0]), np.full(shape, inputs[1]))
    return make_requant(ratio, bias, out.lo, out.hi, (low.ravel(), high.ravel()))


def build(shape: Shape) -> Program:
    """Quantize, Linear, StateSpace, Table, Product, Sum; Mean, Last, or Concat and Slice; Linear, Dequantize."""
    rng = np.random.default_rng(shape.seed)
    code, h = code_type(shape.code_bits), shape.channels
    span = code.lo, code.hi
    u = code_type(shape.code_bits, shape.unsigned)
    encoder = Matrix(codes_of(rng, (1, h * shape.m, shape.features), shape.weight_bits))
    kernel = state_space(rng, shape, code)
    width = h * shape.p
    decoder = Matrix(codes_of(rng, (1, 2, width), shape.weight_bits))
    last = "n" if shape.norm else "s"
    gains = rng.integers(-900, 901, (2, width))
    norm = Norm("norm", ("s",), "n", shape.seed % 2 == 0, 999, *gains, 24, code.lo, code.hi, 0.5)
    pools: dict[str, Op] = {
        "mean": Mean("mean", (last,), "m", (Fraction(7, 5),) * width, code.lo, code.hi),
        "last": Last("last", (last,), "m"),
        "sum": Mean("mean", (last,), "m", (Fraction(2, 25),) * width, code.lo, code.hi, "sum"),
        "max": Last("last", (last,), "m", "max", code.lo),
        "none": Slice("all", ("twice",), "m", width, 2 * width),
    }
    add = {"offset": 3, "shift": 2, "lo": code.lo, "hi": code.hi}
    add = {key: np.full(width, value) for key, value in add.items()}
    gate = make_requant([Fraction(1, 50)] * width, [Fraction(0)] * width, *span, (-(1 << 20), 1 << 20))
    table = rng.integers(code.lo, code.hi + 1, (1, code.hi - code.lo + 1))
    source = "half" if shape.joined else "q"
    ops: tuple[Op, ...] = (
        Quantize("quantize", ("x",), "q", u),
        *(_detour(shape.features) if shape.joined else []),
        Linear("encoder", (source,), "u", encoder, fitting_requant(encoder, (u.lo, u.hi), code, rng)),
        kernel,
        Table("gelu", ("y",), "g", table, code.lo),
        Product("gate", ("g", "y"), "z", gate),
        Sum("residual", ("z", "y"), "s", np.array([[3] * width, [2] * width]), **add),
        *([norm] if shape.norm else []),
        *([Concat("join", ("y", last), "twice")] if shape.pool == "none" else []),
        pools[shape.pool],
        Linear("decoder", ("m",), "o", decoder, fitting_requant(decoder, span, code, rng)),
        Dequantize("out", ("o",), "out", np.array([0.5, 0.25])),
    )
    rate: Rate = "step" if shape.pool == "none" else "sequence"
    values = {name: Codes(width, code, "step") for name in ("y", "g", "z", "s", "n")}
    values |= {"both": Codes(2 * shape.features, u, "step"), "half": Codes(shape.features, u, "step")}
    values["twice"] = Codes(2 * width, code, "step")
    values |= {"q": Codes(shape.features, u, "step"), "u": Codes(h * shape.m, code, "step")}
    values |= {"m": Codes(width, code, rate), "o": Codes(2, code, rate)}
    return Program("x", shape.features, "out", 2, ops, values)


def _detour(features: int) -> list[Op]:
    """The input beside itself, and its first half again."""
    return [Concat("join", ("q", "q"), "both"), Slice("split", ("both",), "half", 0, features)]


def state_space(rng: np.random.Generator, shape: Shape, code: QuantType) -> StateSpace:
    h, n, m, p = shape.channels, shape.n, shape.m, shape.p
    matrix = Matrix(codes_of(rng, (h, n + p, n + m), shape.weight_bits))
    span = code.lo, code.hi
    keep = {"direct": np.zeros((h, n), np.int64), "delta": np.ones((h, n), np.int64)}.get(shape.form)
    keep = rng.integers(0, 2, (h, n)) if keep is None else keep
    shift = keep * rng.integers(0, 4, (h, n))
    ones = np.ones((h, n), np.int64)
    common = {
        "keep": keep,
        "shift": shift,
        "dac_lo": code.lo * ones,
        "dac_hi": code.hi * ones,
        "register_lo": code.lo << shift,
        "register_hi": code.hi << shift,
        "register0": np.clip(rng.integers(-3, 4, (h, n)), code.lo, code.hi),
    }
    if not shape.unfused:
        return StateSpace("ssm", ("u",), "y", matrix, fitting_requant(matrix, span, code, rng), **common)
    state, output = Matrix(matrix.codes[:, :n]), Matrix(matrix.codes[:, n:])
    apart = {"output_matrix": output, "output_requant": fitting_requant(output, span, code, rng)}
    requant = fitting_requant(state, span, code, rng)
    return StateSpace("ssm", ("u",), "y", state, requant, **common, **apart, output_after=shape.output_after)


@st.composite
def random_shape(draw: st.DrawFn) -> Shape:
    return Shape(
        seed=draw(st.integers(0, 1 << 20)),
        form=draw(st.sampled_from(["direct", "delta", "mixed"])),
        features=draw(st.integers(1, 5)),
        channels=draw(st.integers(1, 3)),
        n=draw(st.integers(1, 5)),
        m=draw(st.integers(1, 2)),
        p=draw(st.integers(1, 2)),
        weight_bits=draw(st.integers(2, 8)),
        code_bits=draw(st.integers(2, 8)),
        unsigned=draw(st.booleans()),
        output_after=draw(st.booleans()),
        unfused=draw(st.booleans()),
        pool=draw(st.sampled_from(["mean", "last", "none"])),
        norm=draw(st.booleans()),
        joined=draw(st.booleans()),
    )


@cache
def preset(name: str) -> Hardware:
    """Read once, not for every example."""
    return load_hardware(name)


@st.composite
def random_hardware(draw: st.DrawFn) -> Hardware:
    """A preset, its arrays cut down so that matrices split, its converter and cells varied."""
    hw = preset(draw(st.sampled_from(["taox64", "isaac128"])))
    adc = {
        "bits": draw(st.sampled_from([hw.adc.bits, 3, 5, 12])),
        "step": draw(st.sampled_from(["per_column", "per_adc", "per_array"])),
        "offset": draw(st.booleans()),
        "columns_per_adc": draw(st.sampled_from([hw.adc.columns_per_adc, 3, 8])),
    }
    rows, columns = draw(st.sampled_from([(hw.array.rows, hw.array.columns), (2, 40), (3, 31), (16, 90)]))
    size = {"rows": rows, "columns": columns}
    cell = {
        "scheme": draw(st.sampled_from(["differential_columns", "offset_column"])),
        "levels": draw(st.sampled_from([hw.cell.levels, 3, 16, 255])),
        "quadrants": draw(st.sampled_from([2, 4])),
    }
    return replace(hw, array=replace(hw.array, **size), adc=replace(hw.adc, **adc), cell=replace(hw.cell, **cell))


@pytest.fixture(scope="session")
def shapes() -> st.SearchStrategy[Shape]:
    return random_shape()


@pytest.fixture(scope="session")
def hardwares() -> st.SearchStrategy[Hardware]:
    return random_hardware()


@pytest.fixture(scope="session")
def program_of() -> Callable[..., Program]:
    """A random program from a `Shape`, or from its fields."""
    return lambda shape=None, **fields: build(shape or Shape(**fields))

"""Writing and reading a program is the identity, for every operation there is."""

from __future__ import annotations

import dataclasses
import json
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from ssmc.errors import UsageError
from ssmc.ir.matrix import Matrix, PartialSum
from ssmc.ir.operations import (
    OPERATIONS,
    Concat,
    Dequantize,
    Downsample,
    ExponentialMean,
    Ids,
    Last,
    Linear,
    Mean,
    Norm,
    Op,
    Product,
    Quantize,
    Slice,
    SlidingMean,
    StateSpace,
    Sum,
    Table,
)
from ssmc.ir.program import Program
from ssmc.ir.quant import Codes, QuantType
from ssmc.ir.rates import Group
from ssmc.ir.requant import Requant, make_requant
from ssmc.ir.serialize import narrow, program_from_json, program_to_json

HALF, SIXTH, AWKWARD = Fraction(1, 2), Fraction(1, 6), Fraction(10**9 + 7, 10**21 + 3)


def int8(scale: float = 0.25) -> QuantType:
    return QuantType(-128, 127, np.asarray(scale, np.float64))


def requant(n: int, ratio: Fraction = HALF) -> Requant:
    return make_requant([ratio] * n, [Fraction(i, 3) for i in range(n)], -128, 127, (-40000, 40000))


def ones(*shape: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.ones(shape, np.int64)


def every_op() -> Program:
    """All operations, all three realisations of a requantization, and a matrix with partial sums."""
    rng = np.random.default_rng(0)
    codes = rng.integers(-127, 128, (2, 4, 3))
    one = np.ones(codes.shape[:2], np.int64)
    part = PartialSum(codes, (0, 3), 1, -2, 4 * one, -8 * one, 7 * one, 0 * one)
    table = make_requant([AWKWARD] * 2, [Fraction(1, 7)] * 2, -2, 1, (-(10**13), 10**13))
    state = ones(2, 2)
    kernel = dict(keep=state, shift=3 * state, dac_lo=-8 * state, dac_hi=7 * state)
    register = dict(register_lo=-4096 * state, register_hi=4095 * state, register0=0 * state)
    ops: tuple[Op, ...] = (
        Quantize("q", ("x",), "u", int8()),
        Linear("encode", ("u",), "a", Matrix(codes[:1], (part,)), requant(4, SIXTH)),
        StateSpace(
            "pair",
            ("a",),
            "b",
            Matrix(codes[:, :2]),
            requant(4),
            **kernel,
            **register,
            output_matrix=Matrix(codes[:, :1]),
            output_requant=requant(2),
            output_after=True,
        ),
        StateSpace("fused", ("b",), "c", Matrix(codes), requant(8), **kernel, **register),
        Table("gelu", ("c",), "d", rng.integers(-9, 9, (4, 256)), -128),
        Product("gate", ("d", "d"), "e", table),
        Sum("residual", ("e", "d"), "f", ones(2, 4), ones(4), 2 * ones(4), -8 * ones(4), 7 * ones(4), 0.125),
        Norm("norm", ("f",), "n", True, 3, ones(4), ones(4), 20, -8, 7, 0.25),
        Slice("half", ("n",), "g", 0, 2),
        Concat("both", ("g", "n"), "both"),
        Mean("mean", ("g",), "h", (Fraction(3, 7), Fraction(2**70, 3)), -128, 127),
        Last("last", ("g",), "i"),
        SlidingMean("window", ("g",), "l", 4, (Fraction(2, 3), Fraction(1)), -8, 7),
        ExponentialMean("smooth", ("g",), "m", 5, 2),
        Downsample("slow", ("g",), "k", 3, "mean", 0, "drop", (Fraction(2, 3), Fraction(1)), -8, 7),
        Concat("both", ("d", "e"), "j"),
        Ids("ids", ("x",), "t", QuantType(0, 255, np.ones(()))),
        Dequantize("out", ("h",), "y", np.array([0.1, 1 / 3])),
    )
    values = {
        "u": Codes(3, int8(), "step"),
        "k": Codes(2, int8(), "step", (Group(3, 2, rest=False),)),
        "h": Codes(2, QuantType(0, 15, np.array([0.1, 0.2])), "sequence"),
    }
    return Program("x", 3, "y", 2, ops, values)


def same(a: Any, b: Any) -> bool:
    """Equality of nested dataclasses whose fields may be arrays; dtypes count."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if type(a) is not type(b):
        return False
    if dataclasses.is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(a == b)


def test_every_operation_survives_the_round_trip() -> None:
    program = every_op()
    written, arrays = program_to_json(program)
    assert same(program_from_json(json.loads(json.dumps(written)), arrays), program)


def test_the_example_holds_every_operation_and_every_realisation() -> None:
    program = every_op()
    assert {type(op) for op in program.ops} == set(OPERATIONS)
    kinds = {kind for op in program.ops if hasattr(op, "requant") for kind in op.requant.kinds}
    assert kinds == {"shift", "divide", "table"}


def test_same_notices_one_changed_code() -> None:
    program, other = every_op(), every_op()
    kernel = other.ops[3]
    assert isinstance(kernel, StateSpace)
    kernel.matrix.codes[0, 0, 0] += 1
    assert not same(program, other)


def test_writing_twice_gives_the_same_bytes() -> None:
    (a, arrays_a), (b, arrays_b) = program_to_json(every_op()), program_to_json(every_op())
    assert json.dumps(a) == json.dumps(b)
    assert {k: v.tobytes() for k, v in arrays_a.items()} == {k: v.tobytes() for k, v in arrays_b.items()}


@pytest.mark.parametrize(("top", "dtype"), [(127, np.int8), (128, np.int16), (1 << 15, np.int32), (1 << 31, np.int64)])
def test_integers_are_stored_in_the_narrowest_dtype(top: int, dtype: type[np.generic]) -> None:
    assert narrow(np.array([0, top])).dtype == dtype


def test_another_schema_version_is_refused() -> None:
    written, arrays = program_to_json(every_op())
    with pytest.raises(UsageError, match="SSMC-B03"):
        program_from_json({**written, "schema": "ssmc.program/99"}, arrays)


@pytest.mark.parametrize("damage", ["no array", "no field", "no such op", "bad number", "bad fraction"])
def test_damage_is_named_and_not_guessed_around(damage: str) -> None:
    written, arrays = program_to_json(every_op())
    match damage:
        case "no array":
            arrays.popitem()
        case "no field":
            del written["ops"][0]["quant"]
        case "no such op":
            written["ops"][0]["op"] = "Teleport"
        case "bad number":
            written["input_size"] = "three"
        case "bad fraction":
            written["ops"][1]["requant"]["ratio"][0] = "1/0"
    with pytest.raises(UsageError, match="SSMC-B04"):
        program_from_json(written, arrays)


def test_names_are_no_part_of_the_keys_of_arrays() -> None:
    odd = "a\0b/../" + "n" * 300
    value = Codes(2, QuantType(-8, 7, np.array([0.5, 0.25])), "step")
    program = Program("x", 2, "y", 2, (), {odd: value})
    data, arrays = program_to_json(program)
    assert list(arrays) == ["values/0/quant/scale"]
    assert same(program_from_json(data, arrays), program)


def test_an_array_of_another_shape_is_damage_also_where_numpy_would_repeat_it() -> None:
    data, arrays = program_to_json(every_op())
    key = next(key for key in arrays if key.endswith("requant/divisor"))
    with pytest.raises(UsageError, match=r"SSMC-B04.*an array of shape \[1\] is not one of \[4\]"):
        program_from_json(data, arrays | {key: arrays[key][:1]})


def test_an_array_of_another_dtype_and_a_number_of_endless_digits_are_damage() -> None:
    data, arrays = program_to_json(every_op())
    key = next(key for key, array in arrays.items() if array.dtype.kind == "i")
    with pytest.raises(UsageError, match=r"SSMC-B04.*an array of float64"):
        program_from_json(data, arrays | {key: arrays[key].astype(np.float64)})
    text = json.dumps(data)
    for fraction in ('"1e999999999"', '"1/0"', "3", '"1/2/3"'):
        damaged = re.sub(r'"-?\d+/\d+"', fraction, text, count=1)
        with pytest.raises(UsageError, match="SSMC-B04"):
            program_from_json(json.loads(damaged), arrays)


@pytest.mark.parametrize("kind", ["Sum", "Norm", "ExponentialMean", "StateSpace", "Linear"])
@pytest.mark.parametrize("places", [-2, 63])
def test_a_shift_by_places_that_no_integer_has_is_damage(kind: str, places: int) -> None:
    """A bundle with fitted digests would divide by a negative power, or by one that int64 does not hold."""
    program = every_op()
    op: Any = next(op for op in program.ops if type(op).__name__ == kind)
    if kind == "Linear":
        changed = dataclasses.replace(op, requant=dataclasses.replace(op.requant, shift=op.requant.shift * 0 + places))
    else:
        changed = dataclasses.replace(op, shift=op.shift * 0 + places)
    written, arrays = program_to_json(dataclasses.replace(program, ops=(changed,)))
    with pytest.raises(UsageError, match=r"SSMC-B04.*shift is not within"):
        program_from_json(written, arrays)

"""Normalization over channels and causal convolution over time, from standard ONNX to integers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmc.errors import ModelError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.executor import Executor
from ssmc.ir.operations import Norm, StateSpace
from ssmc.ir.program import Program
from ssmc.ir.read_program import read_program
from ssmc.pipeline import run_pipeline
from ssmc.targets.integer.target import IntegerTarget
from ssmc.verify import run_onnx

SIZE = 6
QUANT = """
  {n}_over = Div ({x}, {n}_scale)
  {n}_round = Round ({n}_over)
  {n}_codes = Clip ({n}_round, lo, hi)
  {n} = Mul ({n}_codes, {n}_scale)
"""


def _model(body: str, constants: dict[str, np.ndarray], out_scale: float = 2**-5) -> onnx.ModelProto:
    """A model x -> quantize (2^-4) -> body (u -> z) -> quantize -> y."""
    arrays = {
        "u_scale": np.float32(2**-4),
        "y_scale": np.float32(out_scale),
        "lo": np.float32(-128),
        "hi": np.float32(127),
        **constants,
    }
    text = f"""<ir_version: 10, opset_import: ["" : 21]>
    test (float[batch, time, {SIZE}] x) => (float[batch, time, {SIZE}] y) {{
      {QUANT.format(n="u", x="x")} {body} {QUANT.format(n="y", x="z")}
    }}"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in arrays.items())
    return model


def _compile(model: onnx.ModelProto) -> Program:
    return read_program(run_pipeline(import_model(model), IntegerTarget().pipeline()).model)


def _signal(seed: int, steps: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, steps, SIZE)).astype(np.float32) * 2


NORMS = {
    "layer": "z = LayerNormalization <axis: int = -1, epsilon: float = 0.001> (u, gamma, beta)",
    "rms": """square = Mul (u, u)
      mean = ReduceMean <keepdims: int = 1> (square, last)
      safe = Add (mean, eps)
      root = Sqrt (safe)
      inverse = Reciprocal (root)
      normal = Mul (u, inverse)
      scaled = Mul (normal, gamma)
      z = Add (scaled, beta)""",
    "rms by division": """square = Pow (u, two)
      mean = ReduceMean <keepdims: int = 1> (square, last)
      safe = Add (mean, eps)
      root = Sqrt (safe)
      normal = Div (u, root)
      scaled = Mul (normal, gamma)
      z = Add (scaled, beta)""",
    "layer of the negation": """turned = Neg (u)
      normal = LayerNormalization <axis: int = -1, epsilon: float = 0.001> (turned, gamma, beta)
      back = Sub (beta, normal)
      z = Add (back, beta)""",
    "rms of the negation": """turned = Neg (u)
      square = Mul (turned, turned)
      mean = ReduceMean <keepdims: int = 1> (square, last)
      safe = Add (mean, eps)
      root = Sqrt (safe)
      normal = Div (turned, root)
      scaled = Mul (normal, gamma)
      z = Sub (beta, scaled)""",
    "twice the input over its rms": """square = Mul (u, u)
      mean = ReduceMean <keepdims: int = 1> (square, last)
      safe = Add (mean, eps)
      root = Sqrt (safe)
      more = Mul (u, two)
      normal = Div (more, root)
      scaled = Mul (normal, gamma)
      half = Div (scaled, two)
      z = Add (half, beta)""",
}


@pytest.mark.parametrize("body", NORMS.values(), ids=NORMS)
@pytest.mark.parametrize("seed", range(4))
def test_a_norm_equals_float64_but_at_ties(body: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    gamma, beta = (rng.normal(size=SIZE).astype(np.float32) for _ in range(2))
    constants = {"gamma": gamma, "beta": beta, "eps": np.float32(1e-3), "two": np.float32(2), "last": np.int64([-1])}
    program = _compile(_model(body, constants))
    norm = next(op for op in program.ops if isinstance(op, Norm))
    x = _signal(seed)
    codes = np.clip(np.rint(x / 2**-4), -128, 127)
    u = codes.astype(np.float64) * 2**-4
    mean = u.mean(-1, keepdims=True) if norm.centred else 0.0
    real = gamma.astype(np.float64) * (u - mean) / np.sqrt(((u - mean) ** 2).mean(-1, keepdims=True) + np.float32(1e-3))
    real = (real + beta) / 2**-5
    want = np.clip(np.rint(real), -128, 127)
    got = norm.apply(codes.astype(np.int64))
    from_tie = np.abs(np.abs(real - np.floor(real)) - 0.5)
    assert norm.bound < 1e-2
    assert ((got == want) | (from_tie <= norm.bound)).all()
    assert (np.rint(Executor(program).run(x) / 2**-5) == got).all()


def test_a_constant_vector_normalizes_to_beta() -> None:
    constants = {"gamma": np.ones(SIZE, np.float32), "beta": np.full(SIZE, 0.5, np.float32)}
    program = _compile(_model("z = LayerNormalization <epsilon: float = 0.0> (u, gamma, beta)", constants))
    assert (Executor(program).run(np.full((1, 2, SIZE), 1.25, np.float32)) == 0.5).all()


@given(st.integers(2, 64), st.integers(1, 12), st.booleans(), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_no_norm_overflows_at_extreme_codes(size: int, bits: int, centred: bool, seed: int) -> None:
    """Python's integers say what 64 bits must."""
    rng = np.random.default_rng(seed)
    lo, hi = -(1 << (bits - 1)), max((1 << (bits - 1)) - 1, 1)
    x = rng.choice([lo, hi, 0, 1], size=(20, size))
    op = Norm("n", ("x",), "y", centred, int(rng.integers(0, 1 << 20)), rng.integers(-(2**29), 2**29, size),
              rng.integers(-(2**45), 2**45, size), 44, -128, 127, 0.0)  # fmt: skip
    assert op.apply(x).tolist() == [_python_norm(op, row) for row in x.tolist()]


def _python_norm(op: Norm, x: list[int]) -> list[int]:
    from math import isqrt

    n = len(x)
    total = sum(x) if op.centred else 0
    v = ((n * sum(c * c for c in x) - total * total) << 16) + op.epsilon
    out = []
    for c, gain, offset in zip(x, op.gain.tolist(), op.offset.tolist(), strict=True):
        h = 0
        if v > 0:
            s = (62 - v.bit_length()) & ~1
            h = _half_even((n * c - total) * ((1 << 61) // isqrt(v << s)), 33 - s // 2)
        out.append(max(op.lo, min(op.hi, _half_even(gain * h + offset, op.shift))))
    return out


def _half_even(x: int, shift: int) -> int:
    from fractions import Fraction

    return round(Fraction(x, 1 << shift))


def test_a_norm_of_channels_with_their_own_scales_is_refused() -> None:
    constants = {"gamma": np.ones(SIZE, np.float32), "beta": np.zeros(SIZE, np.float32)}
    model = _model("w = Mul (u, k)\n z = LayerNormalization (w, gamma, beta)", constants)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.arange(1, SIZE + 1, dtype=np.float32), "k"))
    with pytest.raises(ModelError, match="different scales") as caught:
        _compile(model)
    assert caught.value.code == "SSMC-T02"


def _convolution(pads: str, width: int, before: str = "t", after: str = "c") -> str:
    return f"""t = Transpose <perm: ints = [0, 2, 1]> (u)
      c = Conv <group: int = {SIZE}, kernel_shape: ints = [{width}], pads: ints = [{pads}]> ({before}, W, b)
      z = Transpose <perm: ints = [0, 2, 1]> ({after})"""


@pytest.mark.parametrize("width", [2, 3, 5])
@pytest.mark.parametrize("spelling", ["attribute", "pad"])
def test_a_causal_convolution_is_a_state_space(width: int, spelling: str) -> None:
    rng = np.random.default_rng(width)
    constants = {
        "W": (rng.integers(-127, 128, (SIZE, 1, width)) * 2**-7).astype(np.float32),
        "b": (rng.integers(-50, 50, SIZE) * 2**-6).astype(np.float32),
        "pads": np.int64([0, 0, width - 1, 0, 0, 0]),
    }
    body = _convolution(f"{width - 1}, 0", width)
    if spelling == "pad":
        body = _convolution("0, 0", width, before="padded").replace("c = Conv", "padded = Pad (t, pads)\n c = Conv")
    model = _model(body, constants)
    program = _compile(model)
    op = next(op for op in program.ops if isinstance(op, StateSpace))
    assert op.n_state == width - 1
    x = _signal(width)
    assert (Executor(program).run(x) == run_onnx(model, {"x": x})[0]).all()


@pytest.mark.parametrize(("pads", "fact"), [("0, 2", "looks ahead"), ("1, 1", "looks ahead"), ("2, 2", "looks ahead")])
def test_a_convolution_that_sees_the_future_is_refused(pads: str, fact: str) -> None:
    constants = {"W": np.ones((SIZE, 1, 3), np.float32), "b": np.zeros(SIZE, np.float32)}
    model = _model(_convolution(pads, 3), constants)
    del model.graph.output[0].type.tensor_type.shape.dim[1]
    model.graph.output[0].type.tensor_type.shape.dim.add().dim_param = "later"
    with pytest.raises(ModelError, match=fact) as caught:
        _compile(model)
    assert caught.value.code == "SSMC-T01"

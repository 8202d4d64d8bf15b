"""Lower rates in standard ONNX: pooling, strided slices and convolutions, at every length, with the oracle on."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import ssmc
from ssmc.errors import ModelError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.operations import Downsample, SlidingMean
from ssmc.verify import run_onnx

SIZE = 4
QUANT = """
  {n}_over = Div ({x}, {n}_scale)
  {n}_round = Round ({n}_over)
  {n}_codes = Clip ({n}_round, lo, hi)
  {n} = Mul ({n}_codes, {n}_scale)
"""
FIRST = "t = Transpose <perm: ints = [0, 2, 1]> (u)"
BACK = "z = Transpose <perm: ints = [0, 2, 1]> (c)"


def model(body: str, **constants: np.ndarray) -> onnx.ModelProto:
    """x -> quantizer -> body (u -> z) -> quantizer -> y, whose length is free."""
    arrays = {"u_scale": np.float32(2**-4), "y_scale": np.float32(3 * 2**-6), "lo": np.float32(-128)}
    text = f"""<ir_version: 10, opset_import: ["" : 21]>
    test (float[batch, time, {SIZE}] x) => (float[batch, later, channels] y) {{
      {QUANT.format(n="u", x="x")} {body} {QUANT.format(n="y", x="z")}
    }}"""
    made = onnx.parser.parse_model(text)
    every = {**arrays, "hi": np.float32(127), **constants}
    made.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in every.items())
    return made


def pooled(k: int, ceil: int) -> str:
    options = f"kernel_shape: ints = [{k}], strides: ints = [{k}], ceil_mode: int = {ceil}"
    return f"{FIRST}\n c = AveragePool <{options}, count_include_pad: int = 0> (t)\n {BACK}"


def convolution(width: int, stride: int = 1, dilation: int = 1, before: int = 0, groups: int = SIZE) -> str:
    options = f"group: int = {groups}, kernel_shape: ints = [{width}], pads: ints = [{before}, 0]"
    options += f", strides: ints = [{stride}], dilations: ints = [{dilation}]"
    return f"{FIRST}\n c = Conv <{options}> (t, W, b)\n {BACK}"


def weights(*shape: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(shape[-1])
    codes, bias = rng.integers(-7, 8, shape), rng.integers(-50, 50, shape[0])
    return {"W": (codes * 2**-4).astype(np.float32), "b": (bias * 2**-6).astype(np.float32)}


def sliced(start: int, step: int) -> tuple[str, dict[str, np.ndarray]]:
    ends = {"start": [start], "stop": [(1 << 63) - 1], "axis": [1], "step": [step]}
    return "z = Slice (u, start, stop, axis, step)", {key: np.array(value, np.int64) for key, value in ends.items()}


#: the graph, its constants, and (k, how, phase, rest) of what it becomes
CASES = {
    "pool, rests emitted": (pooled(3, 1), {}, (3, "mean", 0, "emit")),
    "pool, rests dropped": (pooled(4, 0), {}, (4, "mean", 0, "drop")),
    "every second step": (*sliced(0, 2), (2, "pick", 0, "emit")),
    "every third step from the second on": (*sliced(1, 3), (3, "pick", 1, "emit")),
    "depthwise, padded": (convolution(4, 2, before=3), weights(SIZE, 1, 4), (2, "pick", 0, "emit")),
    "depthwise, not padded": (convolution(3), weights(SIZE, 1, 3), (1, "pick", 2, "emit")),
    "depthwise, dilated": (convolution(3, 2, 2), weights(SIZE, 1, 3), (2, "pick", 4, "emit")),
    "dense": (convolution(3, 3, before=1, groups=1), weights(5, SIZE, 3), (3, "pick", 1, "emit")),
    "kernel 1": (convolution(1, 2, groups=1), weights(3, SIZE, 1), (2, "pick", 0, "emit")),
}


@pytest.mark.parametrize(("body", "constants", "wanted"), CASES.values(), ids=CASES)
def test_a_lower_rate_equals_onnxruntime_at_every_length(body, constants, wanted) -> None:
    proto = model(body, **constants)
    bundle = ssmc.compile(import_model(proto), target="int")
    (op,) = (op for op in bundle.compiled.program.ops if isinstance(op, Downsample))
    assert (op.k, op.how, op.phase, op.rest) == wanted
    executor, least = bundle.compiled.executor(), op.group.first + 1 if op.rest == "drop" or op.how == "pick" else 1
    for steps in range(least, least + 9):
        x = np.random.default_rng(steps).normal(size=(2, steps, SIZE)).astype(np.float32) * 3
        assert np.array_equal(executor.run(x), run_onnx(proto, {"x": x})[0])


@pytest.mark.parametrize("width", [2, 5])
def test_a_pooling_of_the_last_steps_is_a_sliding_mean(width: int) -> None:
    options = f"kernel_shape: ints = [{width}], strides: ints = [1], pads: ints = [{width - 1}, 0]"
    proto = model(f"{FIRST}\n c = AveragePool <{options}, count_include_pad: int = 0> (t)\n {BACK}")
    bundle = ssmc.compile(import_model(proto), target="int")
    (op,) = (op for op in bundle.compiled.program.ops if isinstance(op, SlidingMean))
    assert op.width == width
    x = np.random.default_rng(width).normal(size=(2, 12, SIZE)).astype(np.float32) * 3
    got = bundle.compiled.executor().run(x)
    codes = np.clip(np.rint(x / 2**-4), -128, 127)
    means = [codes[:, max(t + 1 - width, 0) : t + 1].mean(1) for t in range(12)]
    real = np.stack(means, 1) * 2**-4 / (3 * 2**-6)
    clear = np.abs(np.abs(real - np.floor(real)) - 0.5) > 1e-6
    for y in (got, run_onnx(proto, {"x": x})[0]):
        assert np.array_equal(np.rint(y / (3 * 2**-6))[clear], np.clip(np.rint(real), -128, 127)[clear])


REFUSED = {
    "overlapping windows": (pooled(3, 1).replace("strides: ints = [3]", "strides: ints = [2]"), {}, "SSMC-T01"),
    "padding counted": (
        pooled(3, 1).replace("count_include_pad: int = 0", "count_include_pad: int = 1"),
        {},
        "SSMC-T01",
    ),
    "a slice with an end": (*sliced(0, 2)[:1], {**sliced(0, 2)[1], "stop": np.array([6])}, "SSMC-T01"),
    "two rates added": (
        "s = Slice (u, start, stop, axis, step)\n z = Add (u, s)",
        sliced(0, 2)[1],
        "SSMC-R02",
    ),
    "the same stride, begun at another step": (
        "s = Slice (u, start, stop, axis, step)\n r = Slice (u, axis, stop, axis, step)\n z = Add (s, r)",
        sliced(0, 2)[1],
        "SSMC-R02",
    ),
    "too many past inputs": (convolution(99, before=98, groups=1), weights(SIZE, SIZE, 99), "SSMC-T01"),
}


@pytest.mark.parametrize(("body", "constants", "code"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_lower_rate_is_refused(body, constants, code) -> None:
    with pytest.raises(ModelError) as caught:
        ssmc.compile(import_model(model(body, **constants)), target="int")
    assert caught.value.code == code

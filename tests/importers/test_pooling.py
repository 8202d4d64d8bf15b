"""Pooling over time as models write it: sum, mean, largest, last, and the mean of the last steps, on every backend."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

import ssmc
from ssmc.data import Samples
from ssmc.errors import ModelError
from ssmc.importers.onnx_file import import_model
from ssmc.quantize import QuantizeConfig, quantize
from ssmc.targets.integer.integer_onnx import integer_onnx
from ssmc.verify import run_onnx

SIZE = 4
END = (1 << 63) - 1
TO_CHANNELS_FIRST = "t = Transpose <perm: ints = [0, 2, 1]> (u)"

#: the graph from u (N, T, C) to z (N, C), and what it computes of real numbers (N, T, C)
POOLS = {
    "mean": ("z = ReduceMean <keepdims: int = 0> (u, one)", lambda u: u.mean(1)),
    "mean of the negation": ("n = Neg (u)\n z = ReduceMean <keepdims: int = 0> (n, one)", lambda u: -u.mean(1)),
    "sum": ("z = ReduceSum <keepdims: int = 0> (u, one)", lambda u: u.sum(1)),
    "max": ("z = ReduceMax <keepdims: int = 0> (u, one)", lambda u: u.max(1)),
    "max of the negation": ("n = Neg (u)\n z = ReduceMax <keepdims: int = 0> (n, one)", lambda u: (-u).max(1)),
    "min": ("z = ReduceMin <keepdims: int = 0> (u, one)", lambda u: u.min(1)),
    "last": ("z = Gather <axis: int = 1> (u, last)", lambda u: u[:, -1]),
    "last, by the length": (
        "n = Shape <start: int = 1, end: int = 2> (u)\n k = Sub (n, one)\n l = Gather <axis: int = 1> (u, k)\n"
        "z = Squeeze (l, one)", lambda u: u[:, -1],
    ),
    "last, keeping the axis": ("l = Gather <axis: int = 1> (u, m1)\n z = Squeeze (l, one)", lambda u: u[:, -1]),
    "sum over the length": (
        "s = ReduceSum <keepdims: int = 0> (u, one)\n shape = Shape (x)\n n = Gather (shape, time)\n"
        "f = Cast <to: int = 1> (n)\n z = Div (s, f)", lambda u: u.mean(1),
    ),
    "mean of the last 3": (
        "s = Slice (u, m3, end, one)\n z = ReduceMean <keepdims: int = 0> (s, one)", lambda u: u[:, -3:].mean(1),
    ),
    "mean of the last 8": (
        "s = Slice (u, m8, end, one)\n z = ReduceMean <keepdims: int = 0> (s, one)", lambda u: u[:, -8:].mean(1),
    ),
    "sum of the last 3": (
        "s = Slice (u, m3, end, one)\n z = ReduceSum <keepdims: int = 0> (s, one)", lambda u: u[:, -3:].sum(1),
    ),
    "global average": (f"{TO_CHANNELS_FIRST}\n g = GlobalAveragePool (t)\n z = Squeeze (g, two)", lambda u: u.mean(1)),
    "global maximum": (f"{TO_CHANNELS_FIRST}\n g = GlobalMaxPool (t)\n z = Squeeze (g, two)", lambda u: u.max(1)),
}  # fmt: skip
CONSTANTS = {"one": [1], "two": [2], "m3": [-3], "m8": [-8], "end": [END], "last": -1, "m1": [-1], "time": 1}
SCALES = {"u": 2.0**-4, "y": 2.0**-3}


def model(body: str, quantized: bool = True) -> onnx.ModelProto:
    """x -> quantizer -> u -> body -> z -> quantizer -> y; without quantizers a float model."""

    def quantizer(name: str, source: str) -> str:
        if not quantized:
            return f"{name} = Identity ({source})"
        return f"{name}_q = QuantizeLinear ({source}, {name}_s, zero) {name} = DequantizeLinear ({name}_q, {name}_s)"

    proto = onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 21]>
    test (float[batch, time, {SIZE}] x) => (float[batch, {SIZE}] y) {{
      {quantizer("u", "x")} {body} {quantizer("y", "z")}
    }}""")
    arrays = {f"{key}_s": np.float32(scale) for key, scale in SCALES.items()} | {"zero": np.int8(0)}
    arrays |= {key: np.array(value, np.int64) for key, value in CONSTANTS.items()}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in arrays.items())
    return proto


def samples(steps: int) -> np.ndarray:
    return np.random.default_rng(steps).normal(size=(5, steps, SIZE)).astype(np.float32) * 3


@pytest.mark.parametrize(("body", "meaning"), POOLS.values(), ids=POOLS)
def test_a_pooling_equals_its_meaning_and_onnxruntime_at_every_length(body, meaning) -> None:
    proto = model(body)
    executor = ssmc.compile(import_model(proto), target="int").compiled.executor()
    for steps in (1, 2, 4, 8, 16):  # dividing by them is exact in float32
        x = samples(steps)
        u = np.clip(np.rint(x.astype(np.float64) / SCALES["u"]), -128, 127) * SCALES["u"]
        want = np.clip(np.rint(meaning(u) / SCALES["y"]), -128, 127) * SCALES["y"]
        if "m3" not in body:  # thirds are not exact in float32
            assert np.array_equal(run_onnx(proto, {"x": x})[0], want)
        assert np.array_equal(executor.run(x), want)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
@pytest.mark.parametrize(("body", "meaning"), POOLS.values(), ids=POOLS)
def test_every_backend_gives_the_same_codes_for_ragged_lengths_and_streams(body, meaning, tmp_path: Path) -> None:
    proto, x, lengths = model(body), samples(13), np.array([13, 1, 7, 2, 12])
    reference = ssmc.compile(import_model(proto), target="int").compiled
    want = reference.executor().run(x, lengths)
    alone = [run_integer(reference.program, x[i : i + 1, :n]) for i, n in enumerate(lengths)]
    assert np.array_equal(np.concatenate(alone), want)
    for target in ("c", "aimc"):
        bundle = ssmc.compile(import_model(proto), target=target)
        assert np.array_equal(bundle.compiled.executor().run(x, lengths), want)
        bundle.save(tmp_path / target)
        loaded = ssmc.load(tmp_path / target).compiled.executor()
        assert np.array_equal(loaded.run(x, lengths), want)
        state = loaded.init(len(x))
        for t in range(13):
            loaded.step(state, x[:, t], t < lengths)
        assert np.array_equal(loaded.finish(state), want)


def run_integer(program, x: np.ndarray) -> np.ndarray:
    return run_onnx(integer_onnx(program), {"x": x})[0]


@pytest.mark.parametrize(("body", "meaning"), POOLS.values(), ids=POOLS)
def test_a_float_model_with_a_pooling_is_quantized(body, meaning, tmp_path: Path) -> None:
    x = samples(12)
    onnx.save(model(body, quantized=False), tmp_path / "m.onnx")
    quantized = quantize(tmp_path / "m.onnx", Samples(x.reshape(-1, SIZE), np.arange(6) * 12), QuantizeConfig()).model
    y = ssmc.compile(import_model(quantized), target="int").run(x)
    assert np.linalg.norm(y - meaning(x)) < 0.02 * np.linalg.norm(meaning(x))


@pytest.mark.parametrize("pool", ["mean", "sum", "mean of the last 3", "global average"])
def test_a_pooling_plus_a_constant_gets_a_quantizer_of_its_own(pool: str, tmp_path: Path) -> None:
    """As batch norm behind a mean over time."""
    body, meaning = POOLS[pool]
    proto, x = model(body.replace("z = ", "p = ") + "\n z = Add (p, half)", quantized=False), samples(12)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.5), "half"))
    onnx.save(proto, tmp_path / "m.onnx")
    quantized = quantize(tmp_path / "m.onnx", Samples(x.reshape(-1, SIZE), np.arange(6) * 12), QuantizeConfig()).model
    y, want = ssmc.compile(import_model(quantized), target="int").run(x), meaning(x) + 0.5
    assert np.linalg.norm(y - want) < 0.02 * np.linalg.norm(want)


REFUSED = {
    "largest of the last steps": (
        "s = Slice (u, m3, end, one)\n z = ReduceMax <keepdims: int = 0> (s, one)", "SSMC-T01",
    ),
    "sum plus a constant": ("s = ReduceSum <keepdims: int = 0> (u, one)\n z = Add (s, half)", "SSMC-T02"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "code"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_exact_form_is_refused_by_name(body: str, code: str) -> None:
    proto = model(body)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.5), "half"))
    with pytest.raises(ModelError) as caught:
        ssmc.compile(import_model(proto), target="int")
    assert caught.value.code == code

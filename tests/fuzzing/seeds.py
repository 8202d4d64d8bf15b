"""Valid inputs that the fuzzer starts from: small, and of every kind that ssmc reads."""

from __future__ import annotations

import io
import json
from functools import cache

import numpy as np
import onnx
from onnx import helper

from ssmc.hardware.file import PRESETS
from tests.graph_writer import Graph, signed, unsigned
from tests.graphs import Spec, model
from tests.graphs_tokens import token_model
from tests.quantize.floats import float_model

SMALL = {"features": 2, "channels": 2, "states": 1, "classes": 2}
#: their poles are stable
SPECS = (
    Spec(seed=5, **SMALL),
    Spec(seed=5, spelling="round", form="delta", pool="none", norm=False, gate=False, **SMALL),
    Spec(seed=4, spelling="minmax", layout="joint", pool="last", gate=False, residual=False, **SMALL),
    Spec(seed=5, spelling="qonnx", norm=False, gate=False, residual=False, **SMALL),
    Spec(seed=5, form="delta", layout="joint", after=True, free=True, gate=False, residual=False, **SMALL),
    Spec(seed=2, spelling="round", layout="dense", pool="none", norm=False, residual=False, **SMALL),
)


def quantized_models() -> tuple[bytes, ...]:
    """Models that compile: recurrences in several spellings, token ids, norms, convolutions, single matrices."""
    protos = [model(spec) for spec in SPECS]
    protos += [token_model(SPECS[0]), _matrix("qdq"), _matrix("round"), _matrix("qonnx"), _norm(), _convolution()]
    return tuple(proto.SerializeToString(deterministic=True) for proto in protos)


def float_models() -> tuple[bytes, ...]:
    """Models for ``ssmc quantize``."""
    protos = [float_model(0, 2, 2), float_model(1, 2, 2, dense=True, after=True), float_model(2, 2, 1, pool="none")]
    protos += [_heads(), _windows()]
    return tuple(proto.SerializeToString(deterministic=True) for proto in protos)


def data_files() -> tuple[bytes, ...]:
    """Labelled sequences of two features, padded and ragged."""
    rng = np.random.default_rng(0)
    x, label = rng.standard_normal((5, 7, 2)).astype(np.float32), np.array([0, 1, 1, 0, 1])
    padded = {"x": x, "lengths": np.array([7, 3, 1, 5, 7]), "label": label}
    ragged = {"flat": x.reshape(-1, 2), "offsets": np.array([0, 7, 10, 10, 30, 35]), "label": label}
    return npz(padded), npz(ragged)


def float_data() -> bytes:
    """Calibration sequences of three features."""
    return npz({"x": np.random.default_rng(0).standard_normal((4, 9, 3)).astype(np.float32)})


def hardware_files() -> tuple[bytes, ...]:
    """Hardware files."""
    return tuple((PRESETS / f"{name}.toml").read_bytes() for name in ("taox64", "isaac128"))


def baselines() -> tuple[bytes, ...]:
    """Baselines of the gate, one that holds and one that does not."""
    metrics = {
        "accuracy": {"value": 0.6, "absolute": 1.0},
        "cost.macs_per_step": {"value": 2, "relative": 0.5},
        "outputs.sha256": {"value": "00"},
    }
    both = [metrics, {"accuracy": {"value": 0.5, "absolute": 1.0}}]
    return tuple(json.dumps({"schema": "ssmc.baseline/1", "metrics": one}, indent=1).encode() for one in both)


@cache
def bundle_model() -> bytes:
    """The model of the bundles that are damaged and run."""
    return quantized_models()[1]


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    """The bytes of an archive."""
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def _matrix(spelling: str) -> onnx.ModelProto:
    g = Graph(spelling)
    u = g.quant("x", signed(8, 2.0**-5), "xq")
    weight = g.weight(np.array([[1, 2], [3, -4]]), 2.0**-4, "W")
    return g.finish(2, g.quant(g.op("MatMul", u, weight), signed(8, 2.0**-4), "out"), ["batch", "time", 2])


def _norm() -> onnx.ModelProto:
    g = Graph("round")
    u = g.quant("x", signed(8, 2.0**-4), "u")
    z = g.op("LayerNormalization", u, g.const([0.5, 1.5]), g.const([0.25, -1.0]), axis=-1, epsilon=1e-3)
    return g.finish(2, g.quant(z, signed(8, 2.0**-5), "out"), ["batch", "time", 2])


def _convolution() -> onnx.ModelProto:
    g = Graph("qdq")
    turned = g.op("Transpose", g.quant("x", signed(8, 2.0**-4), "u"), perm=[0, 2, 1])
    taps = g.const(np.array([[[1, 2, -3]], [[0, 1, 1]]]) / 4)
    y = g.op("Conv", turned, taps, g.const([0.5, -0.5]), pads=[2, 0], group=2)
    act = g.quant(g.op("Relu", g.op("Transpose", y, perm=[0, 2, 1])), unsigned(8, 2.0**-3), "act")
    gate = g.quant(g.op("Sigmoid", act), unsigned(8, 2.0**-8), "gate")
    total = g.op("Mul", act, gate)
    proto = g.finish(2, g.quant(total, signed(8, 2.0**-3), "out"), ["batch", "time", 2])
    proto.graph.value_info.append(helper.make_tensor_value_info("u", onnx.TensorProto.FLOAT, ["batch", "time", 2]))
    return proto


def _heads() -> onnx.ModelProto:
    """A convolution cut behind its activation, and a norm of every head."""
    g = Graph()
    u = g.op("MatMul", "x", g.const([[1, 0.5, -1, 2], [0, 1, 1, -1], [0.5, -0.5, 1, 0]]))
    turned = g.op("Transpose", u, perm=[0, 2, 1])
    taps = g.const(np.array([[[1, -1]], [[0.5, 1]], [[1, 0]], [[-1, 2]]]))
    h = g.op("Transpose", g.op("Conv", turned, taps, pads=[1, 1], group=4), perm=[0, 2, 1])
    length, one = g.op("Shape", "x", start=1, end=2), g.const([1], np.int64)
    h = g.op("Slice", g.op("Mul", h, g.op("Sigmoid", h)), g.const([0], np.int64), length, one, one)
    parted = g.op("Reshape", h, g.const([0, 0, 2, 2], np.int64))
    h = g.op("LayerNormalization", parted, g.const([0.5, 1.5]), g.const([0.25, -1.0]), axis=-1, epsilon=1e-3)
    whole = g.op("Reshape", h, g.const([0, 0, 4], np.int64))
    return g.finish(3, g.op("MatMul", whole, g.const(np.eye(4)[:, :2])), ["batch", "time", 2])


def _windows() -> onnx.ModelProto:
    """A filter written as windows of one padded value, and a choice of spread constants."""
    g = Graph()
    u = g.op("MatMul", "x", g.const([[1, 0.5], [0, 1], [0.5, -0.5]]))
    zeros, one = g.op("Pad", u, g.const([0, 2, 0, 0, 0, 0], np.int64)), g.const([1], np.int64)
    late = g.op("Slice", zeros, g.const([0], np.int64), g.const([-2], np.int64), one)
    less = g.op("Slice", zeros, one, g.const([-1], np.int64), one)
    y = g.op("Add", g.op("Mul", late, g.const([0.5, -1])), g.op("Add", less, u))
    shape = g.op("Shape", y)
    spread = [g.op("Expand", g.const(numbers), shape) for numbers in ([1.0, -1.0], [0.25])]
    y = g.op("Add", y, g.op("Where", g.op("Greater", y, g.const(0.5)), *spread))
    return g.finish(3, g.op("MatMul", y, g.const([[1, 0], [1, -1]])), ["batch", "time", 2])

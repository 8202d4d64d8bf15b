"""Constants that a float recurrence adds at every step: what remains is linear, and the model is the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import ssmc
from ssmc.data import Samples
from ssmc.importers.onnx_file import import_model
from ssmc.quantize import QuantizeConfig, quantize
from ssmc.verify import run_onnx
from tests.graph_writer import Graph

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 30, 3)).astype(np.float32)
N = 4
A = RNG.standard_normal((N, N))
A *= 0.8 / np.abs(np.linalg.eigvals(A)).max()
B, C, D = RNG.standard_normal((3, N)), RNG.standard_normal((N, 2)), RNG.standard_normal((3, 2))
BIAS, SHIFT = np.array([1.0, -2.0, 0.5, 0.0]), np.array([3.0, -1.0])


def dense(feedthrough: bool, after: bool) -> onnx.ModelProto:
    """s' = A s + B u + b, y = C s (or s') + D u + d."""
    g = Graph("qdq")

    def step(b: Graph, s: list[str], u: str) -> tuple[list[str], list[str]]:
        driven = b.op("Add", b.op("MatMul", u, b.const(B)), b.const(BIAS))
        new = b.op("Add", b.op("MatMul", s[0], b.const(A)), driven)
        y = b.op("Add", b.op("MatMul", new if after else s[0], b.const(C)), b.const(SHIFT))
        return [new], [b.op("Add", y, b.op("MatMul", u, b.const(D))) if feedthrough else y]

    (y,) = g.loop("x", [(N,)], step)
    return g.finish(3, y, ["batch", "time", 2])


def diagonal() -> onnx.ModelProto:
    """Three channels of two states, each with a constant of its own."""
    g, last = Graph("qdq"), [2]

    def step(b: Graph, s: list[str], u: str) -> tuple[list[str], list[str]]:
        driven = b.op("Add", b.op("Unsqueeze", u, b.const(last, np.int64)), b.const([[1.0, 2.0], [0.5, 0.0], [-1, 1]]))
        new = b.op("Add", b.op("Mul", s[0], b.const(np.linspace(0.4, 0.9, 6).reshape(3, 2))), driven)
        return [new], [b.op("ReduceSum", new, b.const(last, np.int64), keepdims=0)]

    (y,) = g.loop("x", [(3, 2)], step)
    return g.finish(3, y, ["batch", "time", 3])


MODELS = {
    "y of the old state": dense(feedthrough=False, after=False),
    "y of the new state": dense(feedthrough=False, after=True),
    "y of the old state and the input": dense(feedthrough=True, after=False),
    "channels": diagonal(),
}


@pytest.mark.parametrize("name", MODELS)
def test_it_is_quantized(name: str, tmp_path: Path) -> None:
    proto = MODELS[name]
    onnx.save(proto, tmp_path / "m.onnx")
    data = Samples(X.reshape(-1, 3), np.arange(7) * 30)
    fields = ("kernel_bits", "state_bits", "adc_bits", "weight_bits", "activation_bits", "input_bits")
    wide = QuantizeConfig(**dict.fromkeys(fields, 12))
    coarse, fine = (quantize(tmp_path / "m.onnx", data, config).model for config in (QuantizeConfig(), wide))
    real = run_onnx(proto, {"x": X})[0]
    for model, most in ((coarse, 0.05), (fine, 0.005)):
        y = ssmc.compile(import_model(model), target="int").run(X)
        assert np.linalg.norm(y - real) < most * np.linalg.norm(real)

"""An exponentially weighted mean between layers: a state space of one real state a channel, on every target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

import ssmc
from ssmc.data import Samples
from ssmc.errors import ModelError
from ssmc.ir.operations import StateSpace
from ssmc.quantize.model import quantize
from ssmc.targets.aimc.target import AimcTarget
from ssmc.verify import run_onnx

STEPS = {
    "step by step": "d = Sub(u, s) m = Mul(d, a) n = Add(s, m)",
    "weights": "p = Mul(s, b) q = Mul(u, a) n = Add(p, q)",
}
STARTS = {"zero": "Expand(z, sh)", "first step": "Gather<axis: int = 0>(tt, i)"}
rng = np.random.default_rng(0)
X = rng.standard_normal((12, 150, 3)).astype(np.float32)
W, V, C = rng.standard_normal((3, 4)), rng.standard_normal((4, 4)), rng.standard_normal(4)


def float_model(k: int, spelling: str, start: str = "zero") -> onnx.ModelProto:
    """tanh of a layer, its mean with weights 2^-k (1 - 2^-k)^age, a layer at every step."""
    text = f"""<ir_version: 10, opset_import: ["": 21]>
g (float[batch,time,3] x) => (float[batch,time,4] y)
<float[3,4] W, float[4,4] V, float[4] c, float a, float b, float z, int64 i, int64[1] four>
{{
  e = MatMul(x, W)
  t = Tanh(e)
  tt = Transpose<perm: ints = [1,0,2]>(t)
  n0 = Shape<start: int = 0, end: int = 1>(t)
  sh = Concat<axis: int = 0>(n0, four)
  s0 = {STARTS[start]}
  end, ys = Scan<
    num_scan_inputs: int = 1,
    body: graph = body (float[N,4] s, float[N,4] u) => (float[N,4] n, float[N,4] o) {{
      {STEPS[spelling]} o = Identity(n) }}
  >(s0, tt)
  yt = Transpose<perm: ints = [1,0,2]>(ys)
  w = MatMul(yt, V)
  y = Add(w, c)
}}"""
    proto = parser.parse_model(text)
    numbers = {"W": W, "V": V, "c": C, "a": 2.0**-k, "b": 1 - 2.0**-k, "z": 0.0}
    arrays = {name: np.asarray(value, np.float32) for name, value in numbers.items()}
    arrays |= {"i": np.asarray(0, np.int64), "four": np.array([4])}
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    return proto


@pytest.mark.parametrize("spelling", STEPS)
@pytest.mark.parametrize("k", [3, 7])
def test_it_is_quantized_and_compiles(k: int, spelling: str, tmp_path: Path) -> None:
    proto, path = float_model(k, spelling), tmp_path / "f.onnx"
    onnx.save(proto, path)
    onnx.save(quantize(path, Samples(X[:8].reshape(-1, 3), np.arange(9) * 150)).model, tmp_path / "q.onnx")
    integer, crossbar, c = (
        ssmc.compile(tmp_path / "q.onnx", target=one, oracle=False) for one in ("int", AimcTarget(place="digital"), "c")
    )
    (kernel,) = (op for op in integer.compiled.program.ops if isinstance(op, StateSpace))
    assert kernel.n_state == 1
    found, wanted = integer.run(X[8:]), run_onnx(proto, {"x": X[8:]})[0]
    assert np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)) < 0.03
    assert np.array_equal(crossbar.run(X[8:]), found)
    assert np.array_equal(c.run(X[8:]), found)


def test_one_that_starts_at_the_first_step_is_refused(tmp_path: Path) -> None:
    onnx.save(float_model(3, "weights", "first step"), tmp_path / "f.onnx")
    with pytest.raises(ModelError, match=r"SSMC-S03.*initial state depends on the input"):
        quantize(tmp_path / "f.onnx", Samples(X[:8].reshape(-1, 3), np.arange(9) * 150))

"""Exponentially weighted means between layers, on every target.

From zero on, such a mean is a state space of one real state a channel; from the first step on, an operation of its own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

import ssmc
from ssmc.data import Samples
from ssmc.errors import ModelError
from ssmc.ir.executor import Executor
from ssmc.ir.operations import ExponentialMean, StateSpace
from ssmc.ir.program import Program
from ssmc.quantize import QuantizeConfig
from ssmc.quantize.model import quantize
from ssmc.targets.aimc.target import AimcTarget
from ssmc.targets.integer.integer_onnx import integer_onnx
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
  s0 = {STARTS.get(start, start)}
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


@pytest.mark.parametrize("spelling", STEPS)
@pytest.mark.parametrize("k", [1, 3, 7])
def test_one_that_starts_at_the_first_step_is_an_operation_of_its_own(k: int, spelling: str, tmp_path: Path) -> None:
    proto, path = float_model(k, spelling, "first step"), tmp_path / "f.onnx"
    onnx.save(proto, path)
    assert {type(op).__name__ for op in quantized(path).ops} >= {"ExponentialMean"}
    integer, crossbar, c = (
        ssmc.compile(tmp_path / "q.onnx", target=one) for one in ("int", AimcTarget(place="digital"), "c")
    )
    (mean,) = (op for op in integer.compiled.program.ops if isinstance(op, ExponentialMean))
    assert mean.shift == k
    found, wanted = integer.run(X[8:]), run_onnx(proto, {"x": X[8:]})[0]
    assert np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)) < 0.03
    same = run_onnx(integer_onnx(integer.compiled.program), {"x": X[8:]})[0], crossbar.run(X[8:]), c.run(X[8:])
    assert all(np.array_equal(y, found) for y in same)
    assert np.array_equal(run_onnx(onnx.load(tmp_path / "q.onnx"), {"x": X[8:]})[0], found)


def quantized(path: Path) -> Program:
    """Of the float model at ``path``; the quantized one lies beside it."""
    made = quantize(path, Samples(X[:8].reshape(-1, 3), np.arange(9) * 150))
    onnx.save(made.model, path.with_name("q.onnx"))
    return made.program


def test_two_in_a_row_and_read_at_the_end(tmp_path: Path) -> None:
    proto = float_model(2, "weights", "first step")
    nodes = proto.graph.node
    first = next(node for node in nodes if node.op_type == "Scan")
    start, second = (onnx.NodeProto() for _ in range(2))
    start.CopyFrom(next(node for node in nodes if list(node.output) == ["s0"]))
    start.input[0], start.output[0] = "ys", "s1"
    second.CopyFrom(first)
    second.input[:], second.output[:] = ["s1", "ys"], ["last", "every"]
    at = list(nodes).index(first) + 1
    nodes.insert(at, start)
    nodes.insert(at + 1, second)
    (back,) = (node for node in nodes if list(node.output) == ["w"])
    back.input[0] = "last"
    del proto.graph.output[0].type.tensor_type.shape.dim[1]
    onnx.save(proto, tmp_path / "f.onnx")
    program = quantized(tmp_path / "f.onnx")
    assert [type(op).__name__ for op in program.ops].count("ExponentialMean") == 2
    found, wanted = Executor(program).run(X[8:]), run_onnx(proto, {"x": X[8:]})[0]
    assert np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)) < 0.03
    assert np.array_equal(ssmc.compile(tmp_path / "q.onnx", target="c").run(X[8:]), found)


def test_noise_that_a_relu_takes_away_does_not_make_it_start_at_zero(tmp_path: Path) -> None:
    """Small inputs give zeros behind it, large ones do not."""
    proto = float_model(3, "weights", "first step")
    index, tanh = next((i, node) for i, node in enumerate(proto.graph.node) if node.op_type == "Tanh")
    tanh.op_type, tanh.input[0] = "Relu", "low"
    proto.graph.node.insert(index, onnx.helper.make_node("Sub", ["e", "nine"], ["low"]))
    proto.graph.initializer.append(numpy_helper.from_array(np.float32(9), "nine"))
    onnx.save(proto, tmp_path / "f.onnx")
    loud = 8 * X
    made = quantize(tmp_path / "f.onnx", Samples(loud[:8].reshape(-1, 3), np.arange(9) * 150))
    assert any(isinstance(op, ExponentialMean) for op in made.program.ops)
    found, wanted = Executor(made.program).run(loud[8:]), run_onnx(proto, {"x": loud[8:]})[0]
    assert np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)) < 0.06


STEP_OF_ITS_OWN = {"a third": 1 / 3, "no weight": 0.0, "all of it": 1.0}


@pytest.mark.parametrize("weight", STEP_OF_ITS_OWN.values(), ids=STEP_OF_ITS_OWN)
def test_other_weights_are_refused(weight: float, tmp_path: Path) -> None:
    proto = float_model(3, "weights", "first step")
    numbers = {"a": weight, "b": 1 - weight}
    for array in proto.graph.initializer:
        if array.name in numbers:
            array.CopyFrom(numpy_helper.from_array(np.float32(numbers[array.name]), array.name))
    refused(proto, tmp_path)


#: and of what it limits small inputs tell little: below -0.999 tanh is rarely, and one channel is often below 0
STARTS_REFUSED = {
    "the last step": "Gather<axis: int = 0>(tt, minus)",
    "the mean": "ReduceMean<keepdims: int = 0>(t, one)",
    "limited": "Clip(x0, low)",
}


@pytest.mark.parametrize("start", STARTS_REFUSED.values(), ids=STARTS_REFUSED)
def test_another_start_is_refused(start: str, tmp_path: Path) -> None:
    proto = float_model(3, "weights", start)
    arrays = {"minus": np.asarray(-1, np.int64), "one": np.array([1]), "low": np.float32(-0.999)}
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items())
    at = next(i for i, node in enumerate(proto.graph.node) if list(node.output) == ["tt"]) + 1
    proto.graph.node.insert(at, onnx.helper.make_node("Gather", ["tt", "i"], ["x0"], axis=0))
    refused(proto, tmp_path)


@pytest.mark.parametrize("seed", [8, 9])
def test_a_start_that_a_relu_leaves_at_zero_is_not_taken_for_zeros(seed: int, tmp_path: Path) -> None:
    """One channel, whose first step is below 0 for both of two inputs."""
    rng = np.random.default_rng(seed)
    proto = float_model(4, "weights", "Relu(x0)")
    at = next(i for i, node in enumerate(proto.graph.node) if list(node.output) == ["tt"]) + 1
    proto.graph.node.insert(at, onnx.helper.make_node("Gather", ["tt", "i"], ["x0"], axis=0))
    shift = next(array for array in proto.graph.initializer if array.name == "W")
    shift.CopyFrom(numpy_helper.from_array(rng.standard_normal((3, 4)).astype(np.float32), "W"))
    refused(proto, tmp_path)


def test_sixteen_bits_of_input(tmp_path: Path) -> None:
    """The difference of two codes has 17."""
    proto = parser.parse_model("""<ir_version: 10, opset_import: ["": 21]>
g (float[batch,time,3] x) => (float[batch,time,3] y) <float a = {0.125}, int64 i = {0}> {
  xt = Transpose<perm: ints = [1,0,2]>(x)
  x0 = Gather<axis: int = 0>(xt, i)
  end, ys = Scan<num_scan_inputs: int = 1, body: graph = body
    (float[N,3] s, float[N,3] u) => (float[N,3] n, float[N,3] o) {
    d = Sub(u, s) m = Mul(d, a) n = Add(s, m) o = Identity(n) }>(x0, xt)
  y = Transpose<perm: ints = [1,0,2]>(ys)
}""")
    onnx.save(proto, tmp_path / "f.onnx")
    config = QuantizeConfig(input_bits=16)
    made = quantize(tmp_path / "f.onnx", Samples(X[:8].reshape(-1, 3), np.arange(9) * 150), config)
    assert any(isinstance(op, ExponentialMean) for op in made.program.ops)
    assert np.array_equal(Executor(made.program).run(X[8:]), run_onnx(made.model, {"x": X[8:]})[0])


def refused(proto: onnx.ModelProto, folder: Path) -> None:
    onnx.save(proto, folder / "f.onnx")
    with pytest.raises(ModelError, match=r"SSMC-S03.*initial state depends on the input; .* 2\^k") as caught:
        quantize(folder / "f.onnx", Samples(X[:8].reshape(-1, 3), np.arange(9) * 150))
    assert caught.value.code == "SSMC-S03"

"""A Scan that starts from the first step and walks those behind it: one over all steps where that is the same."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser
from onnx_ir import to_proto

from ssmc.errors import ModelError
from ssmc.importers.onnx_file import import_model
from ssmc.passes.can_compile import can_compile
from ssmc.verify import run_onnx

BODY = """body: graph = body (float[N,3] s, float[N,3] u) => (float[N,3] n, float[N,3] o) {
  d = Sub(u, s) m = Mul(d, a) n = Add(s, m) o = Identity(n) }"""
MEAN = f"""
  x0 = Gather <axis: int = 0> (xt, zero)
  rest = Slice (xt, one, end, nought)
  last, ys = Scan <num_scan_inputs: int = 1, {BODY}> (x0, rest)"""
ENDS = {
    "joined, time first": "f = Slice (xt, nought, one, nought) all = Concat <axis: int = 0> (f, ys)"
    " y = Transpose <perm: ints = [1,0,2]> (all)",
    "joined, batch first": "b = Transpose <perm: ints = [1,0,2]> (ys) f = Slice (x, nought, one, one)"
    " y = Concat <axis: int = 1> (f, b)",
    "the last state": "y = Identity (last)",
}


def model(end: str, mean: str = MEAN) -> onnx.ModelProto:
    shape = "batch,3" if end == ENDS["the last state"] else "batch,time,3"
    proto = parser.parse_model(f"""<ir_version: 10, opset_import: ["": 21]>
g (float[batch,time,3] x) => (float[{shape}] y)
<float a, int64 zero, int64[1] nought, int64[1] one, int64[1] end>
{{ xt = Transpose <perm: ints = [1,0,2]> (x) {mean} {end} }}""")
    arrays = {"a": np.float32(0.25), "zero": np.int64(0), "nought": np.array([0]), "one": np.array([1])}
    arrays |= {"end": np.array([(1 << 63) - 1])}
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items())
    return proto


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_it_is_one_scan_over_all_steps(end: str) -> None:
    proto = model(end)
    imported = import_model(proto)
    can_compile(imported)
    for steps in (2, 5, 9):
        x = np.random.default_rng(steps).standard_normal((2, steps, 3)).astype(np.float32)
        assert np.allclose(run_onnx(to_proto(imported), {"x": x})[0], run_onnx(proto, {"x": x})[0], atol=1e-6)
    one = np.ones((2, 1, 3), np.float32)
    assert np.array_equal(run_onnx(to_proto(imported), {"x": one})[0].ravel(), one.ravel())


def test_one_whose_first_step_is_another_stays_refused() -> None:
    other = MEAN.replace("n = Add(s, m)", "n = Add(m, m)")
    with pytest.raises(ModelError, match="SSMC-S03"):
        can_compile(import_model(model(ENDS["joined, time first"], other)))

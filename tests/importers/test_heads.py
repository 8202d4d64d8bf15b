"""Softmax, log-softmax and argmax of the logits: outside the integer program, and equal to onnxruntime's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import ssmc
from ssmc.bundle.folder import load
from ssmc.data import Samples
from ssmc.importers.onnx_file import import_model
from ssmc.quantize import quantize
from ssmc.verify import run_onnx
from tests.graph_writer import Graph
from tests.importers.refusing import CODE, H, looped, plain, refusal, start
from tests.quantize.floats import CLASSES, FEATURES, float_model

X = np.random.default_rng(0).standard_normal((4, 9, 2)).astype(np.float32)


def headed(*ops: tuple[str, dict[str, int]], pooled: bool) -> onnx.ModelProto:
    """A quantized output per step or per sequence, and what follows it."""
    g, u = start()
    (y,) = g.loop(u, [(H,)], lambda b, s, ut: ([plain(b, s[0], ut)[0]], s))
    h = g.op("ReduceMean", g.quant(y, CODE, "y"), g.const([1], np.int64), keepdims=0) if pooled else y
    h = g.quant(h, CODE, "logits")
    for op_type, attributes in ops:
        h = g.op(op_type, h, **attributes)
    op_type, attributes = ops[-1]
    kept = [] if op_type == "ArgMax" and not attributes["keepdims"] else [1 if op_type == "ArgMax" else H]
    proto = g.finish(2, h, [*(["batch"] if pooled else ["batch", "time"]), *kept])
    if op_type == "ArgMax":
        proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    return proto


LAST = {"axis": -1}
HEADS = [
    (("Softmax", LAST),),
    (("LogSoftmax", LAST),),
    (("Softmax", LAST), ("Log", {})),
    (("ArgMax", {"axis": -1, "keepdims": 1}),),
    (("ArgMax", {"axis": -1, "keepdims": 0}),),
    (("Softmax", LAST), ("ArgMax", {"axis": -1, "keepdims": 0})),
]


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("ops", HEADS, ids=lambda ops: "-".join(op for op, _ in ops))
def test_every_head_on_every_step_or_at_the_end(
    ops: tuple[tuple[str, dict[str, int]], ...], pooled: bool, tmp_path: Path
) -> None:
    proto = headed(*ops, pooled=pooled)
    (expected,) = run_onnx(proto, {"x": X})
    for target in ("int", "aimc"):
        bundle = ssmc.compile(import_model(proto), target)
        bundle.save(tmp_path / target)
        for found in (bundle, load(tmp_path / target)):
            y = found.run(X)
            assert y.shape == expected.shape
            np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
        logits = bundle.compiled.executor().run(X)
        assert np.array_equal(logits.shape, (4, H) if pooled else (4, 9, H))
        assert bundle.report.model["head"]


def test_a_head_of_a_shorter_sequence_ends_with_it() -> None:
    bundle = ssmc.compile(import_model(headed(("Softmax", LAST), pooled=False)))
    y = bundle.run(X, np.array([9, 4, 0, 1]))
    assert np.isfinite(y[1, :4]).all()
    assert np.isnan(y[1, 4:]).all()
    np.testing.assert_allclose(y[0].sum(-1), 1.0)


def test_a_float_model_with_a_head_is_quantized_at_its_logits(tmp_path: Path) -> None:
    proto = float_model()
    logits = proto.graph.output[0].name
    proto.graph.node.append(onnx.helper.make_node("Softmax", [logits], ["prob"], name="softmax", axis=-1))
    proto.graph.output[0].name = "prob"
    path = tmp_path / "float.onnx"
    onnx.save(proto, path)
    x = np.random.default_rng(0).standard_normal((4, 20, FEATURES)).astype(np.float32)
    made = quantize(path, Samples(x.reshape(-1, FEATURES), np.arange(5) * 20))
    bundle = ssmc.compile(import_model(made.model))
    (real,) = run_onnx(proto, {"x": x})
    assert bundle.report.model["head"] == "softmax"
    assert bundle.run(x).shape == (4, CLASSES)
    assert np.linalg.norm(bundle.run(x) - real) < 0.05 * np.linalg.norm(real)


def test_a_softmax_inside_the_model() -> None:
    g, u = start()
    h = g.op("Softmax", u, axis=-1, out="attention")
    error = refusal(g.finish(2, g.op("Mul", h, u, out="weighted"), ("batch", "time", H)))
    assert (error.code, error.node) == ("SSMC-T02", "weighted")
    assert "softmax" in error.fact


def test_a_softmax_over_time() -> None:
    g = Graph()
    error = refusal(g.finish(2, g.op("Softmax", g.quant("x", CODE, "xq"), axis=1, out="s"), ("batch", "time", 2)))
    assert (error.code, error.node) == ("SSMC-T02", "s")


def test_looped_models_have_no_head() -> None:
    assert "head" not in ssmc.compile(import_model(looped(plain))).report.model

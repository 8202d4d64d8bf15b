"""The state after the sequence as the model's result, or read by a head: the last element of an output per step."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import ssmc
from ssmc.data import Samples
from ssmc.importers.onnx_file import import_model
from ssmc.ir.build import is_op
from ssmc.ir.executor import Executor
from ssmc.ir.functions import attach_functions
from ssmc.ir.read_program import constants
from ssmc.passes.canonicalize_quantizers import CanonicalizeQuantizers
from ssmc.passes.fold_constants import FoldConstants
from ssmc.passes.raise_recurrences import RaiseRecurrences
from ssmc.quantize import QuantizeConfig, quantize
from ssmc.targets.integer.integer_onnx import integer_onnx
from ssmc.verify import run_onnx
from tests.compiling import program_of
from tests.graph_writer import Graph
from tests.importers import test_one_kernel as kernels
from tests.importers.refusing import CODE, codes, decay, end, plain, start

H, T = kernels.H, kernels.T
HEAD = np.random.default_rng(1).standard_normal((2 * H, 3)) / 4
FORMS = ("scan", "loop", "unrolled", "time_first")
X = np.random.default_rng(2).standard_normal((4, 12, H)).astype(np.float32)
LENGTHS = np.array([12, 1, 7, 12])


def ending(form: str, spelling: str, head: bool) -> onnx.ModelProto:
    """The model of `test_one_kernel` in this form, with its (first) final state as what it gives."""
    step, shapes = kernels.STEPS[spelling]
    proto = kernels.FORMS[form](step, shapes)
    named = {"scan": "scan.end0", "time_first": "scan.end0", "loop": "end0"}
    state = named.get(form) or unrolled_end(proto, shapes)
    g = Graph("qdq", nodes=list(proto.graph.node), constants={c.name: c for c in proto.graph.initializer})
    result = state
    if head:
        flat = g.op("Reshape", state, g.const([0, -1], np.int64, "flat"))
        result = g.op("MatMul", flat, g.const(HEAD, name="head"), out="logits")
    del proto.graph.node[:], proto.graph.output[:], proto.graph.initializer[:]
    proto.graph.node.extend(g.nodes)
    proto.graph.initializer.extend(g.constants.values())
    size = [3] if head else shapes[0]
    proto.graph.output.append(helper.make_tensor_value_info(result, TensorProto.FLOAT, ["batch", *size]))
    return proto


def unrolled_end(proto: onnx.ModelProto, shapes: list[list[int]]) -> str:
    """The state behind one more step of an unrolled loop."""
    x = proto.graph.input[0]
    g = Graph("qdq", constants={})
    states = [kernels.zeros(g, shapes[0])]
    for t in range(T):
        step = kernels.blocks if len(shapes[0]) > 1 else kernels.dense
        states, _ = step(g, states, g.op("Gather", "x", g.const(t, np.int64), axis=1))
    del proto.graph.node[:], proto.graph.initializer[:]
    proto.graph.node.extend(g.nodes)
    proto.graph.initializer.extend(g.constants.values())
    assert x.name == "x"
    return states[0]


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("spelling", ["blocks", "dense"])
@pytest.mark.parametrize("form", FORMS)
def test_the_outputs_of_the_kernel_are_its_next_states(form: str, spelling: str, head: bool) -> None:
    model = import_model(ending(form, spelling, head))
    for step in (CanonicalizeQuantizers(), FoldConstants(), RaiseRecurrences(quantized=False)):
        model = step.run(model).model
        attach_functions(model)
    (node,) = (node for node in model.graph if is_op(node, "StateSpace", domain="ssmc"))
    c = constants(node)
    assert c["W"].shape == (H, 2, 3)
    assert np.array_equal(c["W_y"], c["W"])
    assert np.allclose(c["W"], np.concatenate([kernels.A, kernels.B[..., None]], 2), atol=1e-6)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
@pytest.mark.parametrize("head", [True, False])
def test_every_backend_ends_at_the_true_length(head: bool, tmp_path: Path) -> None:
    """Of a float model, quantized: equal codes everywhere, and near the float model."""
    proto = ending("scan", "blocks", head)
    onnx.save(proto, tmp_path / "m.onnx")
    quantized = quantize(tmp_path / "m.onnx", Samples(X.reshape(-1, H), np.arange(5) * 12), QuantizeConfig()).model
    reference = ssmc.compile(import_model(quantized), target="int").compiled
    want = reference.executor().run(X, LENGTHS)
    real = [run_onnx(proto, {"x": X[i : i + 1, :n]})[0].reshape(1, -1) for i, n in enumerate(LENGTHS)]
    assert np.linalg.norm(want - np.concatenate(real)) < 0.05 * np.linalg.norm(np.concatenate(real))
    text = integer_onnx(reference.program)
    alone = [run_onnx(text, {"x": X[i : i + 1, :n]})[0] for i, n in enumerate(LENGTHS)]
    assert np.array_equal(np.concatenate(alone), want)
    for target in ("c", "aimc"):
        assert np.array_equal(ssmc.compile(import_model(quantized), target=target).run(X, LENGTHS), want)


def test_states_in_and_out_of_which_the_last_is_the_result() -> None:
    g, u = start()
    g.loop(u, [(3,)], lambda b, s, ut: ([plain(b, s[0], ut)[0]], s))
    next(node for node in g.nodes if node.op_type == "Scan").input[0] = "h0"
    proto = end(g, "scan.end0", ("batch", 3))
    proto.graph.input.append(helper.make_tensor_value_info("h0", TensorProto.FLOAT, ["batch", 3]))
    x = X[..., :2]
    expected = run_onnx(proto, {"x": x, "h0": np.zeros((4, 3), np.float32)})[0]
    assert np.array_equal(Executor(program_of(proto)).run(x), expected)


def read_by(what: str) -> onnx.ModelProto:
    """A quantized state that a quantizer, the result, a matrix, or a sum with another output reads."""
    g, u = start()

    def both(b: Graph, s: list[str], ut: str) -> tuple[list[str], list[str]]:
        new = b.quant(decay(b, s[0], ut), CODE, "s.q")
        return [new], [new if what == "sum" else s[0]]

    (y,) = g.loop(u, [(3,)], both)
    if what == "quantizer":
        return end(g, "scan.end0", ("batch", 3))
    if what == "result":
        return g.finish(2, "scan.end0", ("batch", 3))
    if what == "matrix":
        return end(g, g.op("MatMul", "scan.end0", g.weight(codes(3, 4), 0.25, "head")), ("batch", 4))
    mean = g.op("ReduceMean", g.quant(y, CODE, "y.q"), g.const([1], np.int64), keepdims=0)
    return end(g, g.op("Add", g.quant(mean, CODE, "mean.q"), "scan.end0"), ("batch", 3))


@pytest.mark.parametrize("what", ["quantizer", "result", "matrix", "sum"])
def test_a_quantized_state_brings_its_codes_along(what: str) -> None:
    proto, x = read_by(what), X[:, :8, :2]
    assert np.array_equal(Executor(program_of(proto)).run(x), run_onnx(proto, {"x": x})[0])

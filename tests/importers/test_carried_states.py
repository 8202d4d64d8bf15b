"""Models that take their states and give them back: sequences, and one step of a stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import ssmc
from ssmc.data import load_samples
from ssmc.errors import ModelError
from ssmc.importers.onnx_file import file_parts, import_model
from ssmc.ir.executor import Executor
from ssmc.ir.operations import StateSpace
from ssmc.verify import run_onnx
from tests.compiling import program_of
from tests.graph_writer import Graph
from tests.importers.refusing import CODE, H, codes, decay, plain

X = np.random.default_rng(0).standard_normal((3, 7, 2)).astype(np.float32)


def ends(proto: onnx.ModelProto, inputs: dict[str, list[str | int]], outputs: dict[str, list[str | int]]) -> None:
    """Give the graph these inputs and outputs besides those that it has."""
    for kind, values in ((proto.graph.input, inputs), (proto.graph.output, outputs)):
        kind.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values.items())


def sequence_model() -> onnx.ModelProto:
    """A Scan that starts from an input and whose final state is an output."""
    g = Graph()
    w = g.op("Transpose", g.weight(codes(H, 2), 0.25, "enc.W"), perm=[1, 0], out="enc.Wt")
    u = g.quant(g.op("MatMul", g.quant("x", CODE, "xq"), w), CODE, "u")
    (y,) = g.loop(u, [(H,)], lambda b, s, ut: ([plain(b, s[0], ut)[0]], s))
    scan = next(node for node in g.nodes if node.op_type == "Scan")
    scan.input[0] = "h0"
    proto = g.finish(2, g.quant(y, CODE, "out"), ("batch", "time", H))
    ends(proto, {"h0": ["batch", H]}, {"scan.end0": ["batch", H]})
    return proto


def test_a_sequence_model_starts_at_zero() -> None:
    proto = sequence_model()
    expected = run_onnx(proto, {"x": X, "h0": np.zeros((3, H), np.float32)}, ["out"])[0]
    assert np.array_equal(Executor(program_of(proto)).run(X), expected)


def test_the_states_of_two_layers_in_one_tensor() -> None:
    g = Graph()
    h = g.quant(g.op("MatMul", g.quant("x", CODE, "xq"), g.weight(codes(2, H), 0.25, "enc")), CODE, "u")
    ends_of = []
    for layer in range(2):

        def step(b: Graph, s: list[str], ut: str, name: str = f"s{layer}") -> tuple[list[str], list[str]]:
            new = b.quant(b.op("Add", b.op("Mul", s[0], b.const(0.5)), ut), CODE, name)
            return [new], [new]

        (y,) = g.loop(h, [(H,)], step, f"scan{layer}")
        scan = next(node for node in g.nodes if node.name == f"scan{layer}")
        scan.input[0] = f"first{layer}"
        entry = ["h0", g.const(layer, np.int64)]
        g.nodes.insert(0, helper.make_node("Gather", entry, [f"first{layer}"], axis=0, name=f"first{layer}"))
        ends_of.append(g.op("Unsqueeze", f"scan{layer}.end0", g.const([0], np.int64)))
        h = g.quant(g.op("Relu", g.quant(y, CODE, f"y{layer}")), CODE, f"act{layer}")
    g.op("Concat", *ends_of, axis=0, out="hn")
    proto = g.finish(2, h, ("batch", "time", H))
    ends(proto, {"h0": [2, "batch", H]}, {"hn": [2, "batch", H]})
    expected = run_onnx(proto, {"x": X, "h0": np.zeros((2, 3, H), np.float32)})[0]
    assert np.array_equal(Executor(program_of(proto)).run(X), expected)


def test_an_input_that_is_no_state() -> None:
    proto = sequence_model()
    proto.graph.node.append(helper.make_node("Add", ["out", "shift"], ["moved"], name="shifted"))
    ends(proto, {"shift": ["batch", H]}, {})
    with pytest.raises(ModelError, match=r"SSMC-M14.*shift"):
        import_model(proto)


def step_model(*, width: int = H, bias: bool = True, names: tuple[str, str] = ("s", "s_next")) -> onnx.ModelProto:
    """One step: encoder, decaying state, ReLU and decoder, on (batch, features)."""
    g = Graph()
    h = g.op("MatMul", g.quant("x", CODE, "xq"), g.weight(codes(2, H), 0.25, "enc.W"), out="enc")
    u = g.quant(g.op("Add", h, g.const([0.5, -0.25, 1.0]), out="sum.enc") if bias else h, CODE, "u")
    new = g.quant(decay(g, names[0], u), CODE, names[1])
    y = g.quant(g.op("Add", g.op("Mul", new, g.const([1.0, 2.0, -1.0])), u), CODE, "y")
    h = g.quant(g.op("Relu", y), CODE, "act")
    out = g.quant(g.op("MatMul", h, g.weight(codes(H, width), 0.25, "dec.W"), out="dec"), CODE, "out")
    proto = g.finish(2, out, ("batch", width))
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2]))
    ends(proto, {names[0]: ["batch", H]}, {names[1]: ["batch", H]})
    return proto


def stepped(proto: onnx.ModelProto) -> np.ndarray:
    """Outputs (N, T, size) of onnxruntime, step by step, with the state handed on."""
    state, outputs = np.zeros((3, H), np.float32), []
    for t in range(X.shape[1]):
        y, state = run_onnx(proto, {"x": X[:, t], proto.graph.input[1].name: state})
        outputs.append(y)
    return np.stack(outputs, 1)


@pytest.mark.parametrize("width", [4, 2, H])
@pytest.mark.parametrize("bias", [True, False])
def test_one_step_is_a_sequence_model(width: int, bias: bool) -> None:
    proto = step_model(width=width, bias=bias)
    program = program_of(proto)
    assert np.array_equal(Executor(program).run(X), stepped(proto))
    (kernel,) = (op for op in program.ops if isinstance(op, StateSpace))
    assert (kernel.matrix.groups, kernel.n_state) == (H, 1)


def test_states_are_told_by_shape_where_names_say_nothing() -> None:
    proto = step_model(width=4, names=("foo", "bar"))
    assert np.array_equal(Executor(program_of(proto)).run(X), stepped(proto))


def test_states_that_cannot_be_told_are_listed() -> None:
    proto = step_model(width=H, names=("foo", "bar"))
    with pytest.raises(ModelError, match=r"SSMC-M14.*foo.*bar") as caught:
        import_model(proto)
    assert "--state" in caught.value.remedy
    model = import_model(proto, states={"foo": "bar"})
    assert [str(value.name) for value in (*model.graph.inputs, *model.graph.outputs)] == ["x", "out"]


def test_a_state_without_a_dynamic_batch() -> None:
    proto = step_model()
    proto.graph.input[1].type.tensor_type.shape.dim[0].dim_value = 2
    with pytest.raises(ModelError, match=r"SSMC-M14\]: s: .*dynamic batch"):
        import_model(proto)


def two_inputs(join: str, names: tuple[str, str]) -> onnx.ModelProto:
    """s' = s/2 + a A + b B, y = s' C; the inputs joined in another order than the graph's, or added."""
    g = Graph()
    A, B = codes(2, H), codes(1, H)
    if join == "concat":
        u = g.op(
            "MatMul",
            g.quant(g.op("Concat", "b", "a", axis=-1), CODE, "xq"),
            g.weight(np.concatenate([B, A]), 0.25, "W"),
        )
    else:
        driven = {"a": A, "b": B}
        parts = [g.op("MatMul", g.quant(x, CODE, f"{x}q"), g.weight(w, 0.25, f"W{x}")) for x, w in driven.items()]
        u = g.op("Add", *(g.quant(part, CODE, f"{part}.u") for part in parts))
    new = g.quant(decay(g, names[0], g.quant(u, CODE, "u")), CODE, names[1])
    y = g.quant(g.op("MatMul", new, g.weight(codes(H, 4), 0.25, "C")), CODE, "y")
    proto = g.finish(2, y, ("batch", 4))
    del proto.graph.input[:]
    ends(proto, {"a": ["batch", 2], names[0]: ["batch", H], "b": ["batch", 1]}, {names[1]: ["batch", H]})
    return proto


@pytest.mark.parametrize("join", ["concat", "sum"])
@pytest.mark.parametrize("names", [("s", "s_next"), ("foo", "bar")])
def test_several_inputs_a_step(join: str, names: tuple[str, str], tmp_path: Path) -> None:
    proto = two_inputs(join, names)
    onnx.save(proto, tmp_path / "m.onnx")
    a, b = (np.random.default_rng(i).standard_normal((3, 7, n)).astype(np.float32) for i, n in ((1, 2), (2, 1)))
    state, outputs = np.zeros((3, H), np.float32), []
    for t in range(7):
        y, state = run_onnx(proto, {"a": a[:, t], "b": b[:, t], names[0]: state})
        outputs.append(y)
    order = ("b", "a") if join == "concat" else ("a", "b")
    np.savez(tmp_path / "x.npz", a=a, b=b)
    assert file_parts(tmp_path / "m.onnx") == tuple((key, 1 + (key == "a")) for key in order)
    for target in ("int", "aimc"):
        ssmc.compile(tmp_path / "m.onnx", target=target).save(tmp_path / target)
        loaded = ssmc.load(tmp_path / target)
        samples = load_samples(tmp_path / "x.npz", inputs=loaded.compiled.program.inputs)
        assert np.array_equal(loaded.run(samples.batch(np.arange(3))[0]), np.stack(outputs, 1))


def test_an_input_that_is_neither_state_nor_sequence_of_numbers() -> None:
    proto = two_inputs("sum", ("s", "s_next"))
    ends(proto, {"gate": ["batch", 2, 2]}, {})
    proto.graph.node.append(helper.make_node("ReduceSum", ["gate"], ["unread"], name="unread"))
    with pytest.raises(ModelError, match=r"SSMC-M14.*gate"):
        import_model(proto)

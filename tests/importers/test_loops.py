"""A Loop over time is the Scan that it spells out, in every form in which exporters write it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ssmc.errors import ModelError, VerificationError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.executor import Executor
from ssmc.ir.operations import StateSpace
from ssmc.verify import run_onnx
from tests.compiling import program_of
from tests.graph_writer import Graph
from tests.importers.refusing import CODE, H, decay, end, start

X = np.random.default_rng(0).standard_normal((3, 7, 2)).astype(np.float32)
INT, BOOL, FLOAT = TensorProto.INT64, TensorProto.BOOL, TensorProto.FLOAT


def value(name: str, kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [] if kind != FLOAT else None)


def sequence(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_sequence_value_info(name, FLOAT, None)


def step(b: Graph, u: str) -> tuple[str, str]:
    """Next state and output of one step that reads ``u``."""
    return b.quant(decay(b, "s", u), CODE, "s.q"), "s"


def ahead(g: Graph, u: str) -> tuple[str, str, str]:
    """Time first, its number of steps, and zeros to start from."""
    time_first = g.op("Transpose", u, perm=[1, 0, 2])
    steps = g.op("Squeeze", g.op("Shape", time_first, start=0, end=1), out="steps")
    size = g.op("Concat", g.op("Shape", time_first, start=1, end=2), g.const([H], np.int64), axis=0)
    return time_first, steps, g.op("ConstantOfShape", size)


def body(b: Graph, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]) -> onnx.GraphProto:
    return helper.make_graph(b.nodes, "body", [value("i", INT), value("go", BOOL), *inputs], outputs)


def scan_outputs(g: Graph, u: str) -> str:
    """As jax writes it: the sequence and constants are carried along."""
    time_first, steps, zeros = ahead(g, u)
    b = g.inner("in.")
    new, y = step(b, b.op("Gather", "seq", b.op("Unsqueeze", "i", b.const([0], np.int64)), axis=0, out="wide"))
    squeezed = b.op("Reshape", new, b.const([-1, H], np.int64))
    out = b.op("Identity", y)
    ends = [b.op("Identity", "go", out="go.on"), b.op("Identity", squeezed), b.op("Identity", "seq"), out]
    results = [value(ends[0], BOOL), *(value(name) for name in ends[1:])]
    graph = body(b, [value("s"), value("seq")], results)
    names = ["s.end", "seq.end", "ys"]
    g.nodes.append(helper.make_node("Loop", [steps, "", zeros, time_first], names, name="loop", body=graph))
    return g.op("Transpose", "ys", perm=[1, 0, 2])


def gathered(g: Graph, u: str) -> str:
    """The sequence is captured, the batch its first axis, and the loop's condition a constant."""
    _, steps, zeros = ahead(g, u)
    b = g.inner("in.")
    new, y = step(b, b.op("Gather", u, "i", axis=1))
    ends = [b.op("Identity", "go", out="go.on"), b.op("Identity", new), b.op("Identity", y)]
    graph = body(b, [value("s")], [value(ends[0], BOOL), value(ends[1]), value(ends[2])])
    true = g.const(True, np.bool_)
    g.nodes.append(helper.make_node("Loop", [steps, true, zeros], ["s.end", "ys"], name="loop", body=graph))
    return g.op("Transpose", "ys", perm=[1, 0, 2])


def inserted(axis: int) -> Callable[[Graph, str], str]:
    """As torch.jit.script writes it: outputs are appended to a sequence."""

    def write(g: Graph, u: str) -> str:
        time_first, steps, zeros = ahead(g, u)
        empty = g.op("SequenceEmpty")
        b = g.inner("in.")
        new, y = step(b, b.op("Gather", time_first, "i", axis=0))
        ends = [b.op("Identity", "go", out="go.on"), b.op("Identity", new), b.op("SequenceInsert", "ys", y)]
        results = [value(ends[0], BOOL), value(ends[1]), sequence(ends[2])]
        graph = body(b, [value("s"), sequence("ys")], results)
        true = g.const(True, np.bool_)
        g.nodes.append(helper.make_node("Loop", [steps, true, zeros, empty], ["end", "all"], name="loop", body=graph))
        stacked = g.op("ConcatFromSequence", "all", axis=axis, new_axis=1)
        return stacked if axis else g.op("Transpose", stacked, perm=[1, 0, 2])

    return write


def grown(g: Graph, u: str) -> str:
    """Steps are appended to a tensor (time, batch, H) that begins empty: the batch is no step's first axis."""
    time_first, steps, zeros = ahead(g, u)
    nothing = g.op("Concat", g.const([0], np.int64), g.op("Shape", zeros), axis=0)
    b = g.inner("in.")
    new, y = step(b, b.op("Gather", time_first, "i", axis=0))
    wide = b.op("Unsqueeze", y, b.const([0], np.int64))
    ends = [b.op("Identity", "go", out="go.on"), b.op("Identity", new), b.op("Concat", "ys", wide, axis=0)]
    graph = body(b, [value("s"), value("ys")], [value(ends[0], BOOL), *(value(name) for name in ends[1:])])
    given = [steps, g.const(True, np.bool_), zeros, g.op("ConstantOfShape", nothing)]
    g.nodes.append(helper.make_node("Loop", given, ["s.end", "all"], name="loop", body=graph))
    return g.op("Transpose", "all", perm=[1, 0, 2])


def write_at(axis: int) -> Callable[[Graph, str], str]:
    """Every step is written into a tensor of zeros at the iteration's number, as torch.jit.script does it."""

    def write(g: Graph, u: str) -> str:
        time_first, steps, zeros = ahead(g, u)
        b = g.inner("in.")
        new, y = step(b, b.op("Gather", time_first, "i", axis=0))
        place = b.op("Reshape", "i", b.const([1, 1], np.int64))
        given, wide = (time_first, b.op("Unsqueeze", y, b.const([0], np.int64))) if not axis else (u, y)
        if axis:  # the numbers of all sequences, with that of the step
            batch = b.op("Squeeze", b.op("Shape", y, start=0, end=1), b.const([0], np.int64))
            rows = b.op("Range", b.const(0, np.int64), batch, b.const(1, np.int64))
            every = b.op("Unsqueeze", rows, b.const([1], np.int64))
            place = b.op("Concat", every, b.op("Expand", place, b.op("Shape", every)), axis=-1)
        ends = [b.op("Identity", "go", out="go.on"), b.op("Identity", new), b.op("ScatterND", "ys", place, wide)]
        graph = body(b, [value("s"), value("ys")], [value(ends[0], BOOL), value(ends[1]), value(ends[2])])
        nothing = g.op("ConstantOfShape", g.op("Shape", given))
        inputs = [steps, g.const(True, np.bool_), zeros, nothing]
        g.nodes.append(helper.make_node("Loop", inputs, ["s.end", "all"], name="loop", body=graph))
        return "all" if axis else g.op("Transpose", "all", perm=[1, 0, 2])

    return write


def ended(counter: bool, condition: str, most: int = (1 << 63) - 1) -> Callable[[Graph, str], str]:
    """``while i < x.shape[1]``, by the iteration's number or a counter of its own; the trip count says nothing."""

    def write(g: Graph, u: str) -> str:
        _, steps, zeros = ahead(g, u)
        b = g.inner("in.")
        number = "k" if counter else "i"
        new, y = step(b, b.op("Gather", u, number, axis=1))
        more = b.op("Add", number, b.const(1, np.int64))
        pair = (more, steps) if condition.startswith("Less") else (steps, more)
        results = [value(b.op(condition, *pair), BOOL), value(b.op("Identity", new)), value(b.op("Identity", y))]
        inputs, outputs = [g.const(most, np.int64), "", zeros], ["s.end", "ys"]
        if counter:
            inputs, outputs = [*inputs, g.const(0, np.int64)], ["s.end", "k.end", "ys"]
            inputs[1] = g.op("Less", inputs[-1], steps)
            results.insert(2, value(more, INT))
        graph = body(b, [value("s"), *([value("k", INT)] if counter else [])], results)
        g.nodes.append(helper.make_node("Loop", inputs, outputs, name="loop", body=graph))
        return g.op("Transpose", "ys", perm=[1, 0, 2])

    return write


def write_turned(g: Graph, u: str) -> str:
    """``ys[:, i] = y``, written as ScatterND along the first axis between two Transposes."""
    _, steps, zeros = ahead(g, u)
    b = g.inner("in.")
    new, y = step(b, b.op("Gather", u, "i", axis=1))
    place, wide = b.op("Reshape", "i", b.const([1, 1], np.int64)), b.op("Unsqueeze", y, b.const([0], np.int64))
    scattered = b.op("ScatterND", b.op("Transpose", "ys", perm=[1, 0, 2]), place, wide)
    ends = [b.op("Identity", "go", out="go.on"), b.op("Identity", new), b.op("Transpose", scattered, perm=[1, 0, 2])]
    graph = body(b, [value("s"), value("ys")], [value(ends[0], BOOL), value(ends[1]), value(ends[2])])
    inputs = [steps, g.const(True, np.bool_), zeros, g.op("ConstantOfShape", g.op("Shape", u))]
    g.nodes.append(helper.make_node("Loop", inputs, ["s.end", "all"], name="loop", body=graph))
    return "all"


FORMS = {"scan outputs": scan_outputs, "gathered": gathered, "sequence": inserted(0), "sequence, axis 1": inserted(1)}
FORMS |= {"grown": grown, "written": write_at(0), "written, axis 1": write_at(1), "written, turned": write_turned}
FORMS |= {"counted": ended(True, "Less"), "below a length": ended(False, "Less"), "above": ended(False, "Greater")}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_kernel(form: str) -> None:
    g, u = start()
    proto = end(g, FORMS[form](g, u))
    program = program_of(proto)
    assert np.array_equal(Executor(program).run(X), run_onnx(proto, {"x": X})[0])
    (kernel,) = (op for op in program.ops if isinstance(op, StateSpace))
    assert kernel.matrix.groups == H


def test_a_loop_that_reads_what_it_writes() -> None:
    g, u = start()
    time_first, steps, _ = ahead(g, u)
    b = g.inner("in.")
    new = b.quant(b.op("Add", b.op("ReduceMax", "ys", b.const([0], np.int64), keepdims=0), "ut"), CODE, "s.q")
    b.nodes.insert(0, helper.make_node("Gather", [time_first, "i"], ["ut"], name="ut", axis=0))
    wide = b.op("Unsqueeze", new, b.const([0], np.int64))
    scattered = b.op("ScatterND", "ys", b.op("Reshape", "i", b.const([1, 1], np.int64)), wide)
    graph = body(b, [value("ys")], [value(b.op("Identity", "go", out="go.on"), BOOL), value(scattered)])
    inputs = [steps, g.const(True, np.bool_), g.op("ConstantOfShape", g.op("Shape", time_first))]
    g.nodes.append(helper.make_node("Loop", inputs, ["all"], name="loop", body=graph))
    with pytest.raises(ModelError, match="to which it writes") as caught:
        import_model(end(g, g.op("Transpose", "all", perm=[1, 0, 2])))
    assert caught.value.code == "SSMC-S03"


def spelled(
    count: Callable[[Graph, str], str] = lambda g, steps: steps,
    place: Callable[[Graph], str] = lambda b: "i",
    more: Callable[[Graph], str] = lambda b: b.op("Identity", "go", out="go.on"),
) -> onnx.ModelProto:
    """A loop of ``count`` steps, given the length; each reads at ``place``, and is followed by another if ``more``."""
    g, u = start()
    _, steps, zeros = ahead(g, u)
    b = g.inner("in.")
    new, y = step(b, b.op("Gather", u, place(b), axis=1))
    ends = [more(b), b.op("Identity", new), b.op("Identity", y)]
    graph = body(b, [value("s")], [value(ends[0], BOOL), value(ends[1]), value(ends[2])])
    inputs = [count(g, steps), g.const(True, np.bool_), zeros]
    g.nodes.append(helper.make_node("Loop", inputs, ["s.end", "ys"], name="loop", body=graph))
    return end(g, g.op("Transpose", "ys", perm=[1, 0, 2]))


def test_a_loop_that_ends_by_a_condition() -> None:
    with pytest.raises(ModelError, match=r"SSMC-S03.*loop") as caught:
        import_model(spelled(more=lambda b: b.op("Less", "i", b.const(3, np.int64))))
    assert "Scan" in caught.value.remedy


def test_a_condition_that_is_one_step_late() -> None:
    """``i + 1 <= x.shape[1]`` asks for a step behind the end, which the file itself cannot read."""
    g, u = start()
    with pytest.raises(ModelError, match="SSMC-M05"):
        import_model(end(g, ended(False, "LessOrEqual")(g, u)))


def test_a_loop_that_stops_before_the_end_of_its_sequence() -> None:
    def half(g: Graph, steps: str) -> str:
        return g.op("Div", g.op("Add", steps, g.const(1, np.int64)), g.const(2, np.int64))

    with pytest.raises(VerificationError, match=r"SSMC-V08"):
        import_model(spelled(half))


def test_a_loop_whose_number_of_steps_has_a_limit() -> None:
    """Sequences of 1 and 6 steps, which are compared, do not reach it."""

    def limited(g: Graph, steps: str) -> str:
        return g.op("Cast", g.op("Min", steps, g.const(50, np.int64), out="most"), to=INT)

    with pytest.raises(ModelError, match=r"SSMC-S03.*: most \(Min\) limits the number of its steps"):
        import_model(spelled(limited))
    g, u = start()
    with pytest.raises(ModelError, match=r"SSMC-S03.*: 50 limits the number of its steps"):
        import_model(end(g, ended(True, "Less", 50)(g, u)))


def test_a_loop_that_computes_with_its_number() -> None:
    with pytest.raises(ModelError, match=r"SSMC-S03.*back computes with the number"):
        import_model(spelled(place=lambda b: b.op("Neg", "i", out="back")))


@pytest.mark.parametrize(("equation", "turned"), [("abc,cd->abd", False), ("ntf,hf->nth", True)])
def test_a_linear_layer_as_einsum(equation: str, turned: bool) -> None:
    """As jax writes it; of quantized weights too."""
    g = Graph("round")
    x = g.quant("x", CODE, "xq")
    matrix = np.array([[1, -2, 3], [2, 1, 0]]) / 4
    h = g.op("Einsum", x, g.const(matrix.T if turned else matrix), equation=equation)
    proto = g.finish(2, g.quant(h, CODE, "out"), ("batch", "time", 3))
    assert np.array_equal(Executor(program_of(proto)).run(X), run_onnx(proto, {"x": X})[0])


@pytest.mark.parametrize("spelling", ["qdq", "round"])
def test_a_gemm_of_a_transposed_signal(spelling: str) -> None:
    """``(u^T)^T W`` inside a loop's body."""

    def step(b: Graph, states: list[str], ut: str) -> tuple[list[str], list[str]]:
        turned = b.op("Transpose", states[0], perm=[1, 0])
        mixed = b.op("Gemm", turned, b.const(np.array([[1, 1, 0], [0, 1, -1], [1, 0, 2]]) / 4), transA=1)
        return [b.quant(b.op("Add", mixed, ut), CODE, "s.q")], [states[0]]

    g, u = start(spelling)
    (y,) = g.loop(u, [(H,)], step)
    proto = end(g, y)
    program = program_of(proto)
    assert any(isinstance(op, StateSpace) for op in program.ops)
    assert np.array_equal(Executor(program).run(X), run_onnx(proto, {"x": X})[0])

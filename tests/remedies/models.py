"""Remedies for models: files, operators, inputs and outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from ssmc.importers.onnx_file import import_model
from ssmc.ir.build import known_shape, required
from tests.compiling import program_of
from tests.graph_writer import Graph
from tests.importers.refusing import CODE, H, decay, end, looped, start
from tests.importers.test_unrolled import unrolled
from tests.remedies.following import (
    compiled,
    fails,
    good,
    refused,
    remedy,
    works,
)

Proto = onnx.ModelProto


def saved(proto: Proto, path: Path) -> Path:
    onnx.save(proto, path)
    return path


def whole() -> Proto:
    g, u = start()
    return end(g, u)


def float_graph(
    op: str = "Relu", *more: np.ndarray | None, shape: tuple[str | int, ...] = ("batch", "time", 2)
) -> Proto:
    """One operation on the input, in real numbers; ``None`` leaves an operand out."""
    g = Graph("qdq")
    return g.finish(2, g.op(op, "x", *("" if a is None else g.const(a) for a in more), out="it"), list(shape))


@remedy("SSMC-M01")
def exported_again(folder: Path) -> None:
    path, cut = good(folder), folder / "cut.onnx"
    cut.write_bytes(path.read_bytes()[:50])
    fails("SSMC-M01", "compile", cut, "-o", folder / "out")
    cut.write_bytes(path.read_bytes())
    works("compile", cut, "-o", folder / "out")


@remedy("SSMC-M02")
def a_newer_opset(folder: Path) -> None:
    proto = whole()
    proto.opset_import[0].version = 12
    with refused("SSMC-M02"):
        compiled(proto)
    proto.opset_import[0].version = 21
    compiled(proto)


@remedy("SSMC-M03")
def shapes_that_agree(folder: Path) -> None:
    with refused("SSMC-M03"):
        import_model(float_graph("MatMul", np.ones((3, 2))))
    import_model(float_graph("MatMul", np.ones((2, 2))))


@remedy("SSMC-M04")
def weights_that_are_numbers(folder: Path) -> None:
    with refused("SSMC-M04"):
        import_model(float_graph("Add", np.array([1.0, np.nan])))
    import_model(float_graph("Add", np.array([1.0, 2.0])))


@remedy("SSMC-M05")
def what_onnxruntime_runs(folder: Path) -> None:
    def reshaped(shape: list[int]) -> Proto:
        g = Graph("qdq")
        h = g.op("Reshape", "x", g.const(shape, np.int64))
        return g.finish(2, g.op("Reshape", h, g.const([0, 0, 2], np.int64)), ["batch", "time", 2])

    with refused("SSMC-M05"):
        import_model(reshaped([7, 11, 2]))
    import_model(reshaped([0, 0, 2]))


@remedy("SSMC-M06")
def one_output(folder: Path) -> None:
    proto = whole()
    proto.graph.output.append(onnx.helper.make_tensor_value_info("u", 1, ["batch", "time", H]))
    with refused("SSMC-M06"):
        import_model(proto)
    compiled(whole())


@remedy("SSMC-M07")
def standard_operators(folder: Path) -> None:
    proto = float_graph()
    proto.graph.node[0].domain = "mine"
    proto.opset_import.append(onnx.helper.make_opsetid("mine", 1))
    with refused("SSMC-M07"):
        import_model(proto)
    import_model(float_graph())


@remedy("SSMC-M08")
def features_fixed(folder: Path) -> None:
    proto = float_graph()
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "features"
    with refused("SSMC-M08"):
        import_model(proto)
    import_model(float_graph())


@remedy("SSMC-M09")
def in_evaluation(folder: Path) -> None:
    def dropping(training: bool) -> Proto:
        g = Graph("qdq")
        h = g.op("Dropout", "x", g.const(0.5), g.const(training, np.bool_))
        return g.finish(2, h, ["batch", "time", 2])

    with refused("SSMC-M09"):
        import_model(dropping(True))
    import_model(dropping(False))


@remedy("SSMC-M10")
def every_input_connected(folder: Path) -> None:
    x = ir.val("x")
    with refused("SSMC-M10"):
        required(ir.node("MatMul", [x, None]), 1)
    assert required(ir.node("MatMul", [x, x]), 1) is x


@remedy("SSMC-M11")
def with_shapes(folder: Path) -> None:
    with refused("SSMC-M11"):
        known_shape(ir.val("x"))
    assert len(known_shape(ir.val("x", shape=ir.Shape(["batch", 3])))) == 2


@remedy("SSMC-M12")
def the_file_beside_the_model(folder: Path) -> None:
    onnx.save(whole(), folder / "m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    (folder / "weights.bin").rename(folder / "elsewhere.bin")
    fails("SSMC-M12", "compile", folder / "m.onnx", "-o", folder / "out")
    (folder / "elsewhere.bin").rename(folder / "weights.bin")
    works("compile", folder / "m.onnx", "-o", folder / "out")


@remedy("SSMC-M13")
def in_float32(folder: Path) -> None:
    def gained(dtype: type[np.generic]) -> Proto:
        g = Graph("qdq")
        return g.finish(2, g.op("Mul", "x", g.const(2.0, dtype)), ["batch", "time", 2])

    with refused("SSMC-M13"):
        import_model(gained(np.float64))
    import_model(gained(np.float32))


@remedy("SSMC-M14")
def the_states_named(folder: Path) -> None:
    path = saved(step_model(), folder / "step.onnx")
    fails("SSMC-M14", "compile", path, "-o", folder / "out")
    works("compile", path, "--state", "foo:bar", "-o", folder / "out")


def step_model() -> Proto:
    """One step of a decaying state whose names do not tell that they belong together."""
    g = Graph("qdq")
    x = g.quant("x", CODE, "xq")
    new = g.quant(decay(g, "foo", x), CODE, "new")
    g.op("Identity", new, out="bar")
    y = g.quant(g.op("Add", "foo", x), CODE, "y")
    proto = g.finish(2, y, ["batch", 2])
    del proto.graph.input[0].type.tensor_type.shape.dim[1]
    for values, name in ((proto.graph.input, "foo"), (proto.graph.output, "bar")):
        values.append(onnx.helper.make_tensor_value_info(name, 1, ["batch", 2]))
    return proto


@remedy("SSMC-M15")
def no_division_of_0_by_0(folder: Path) -> None:
    def divided(by: float) -> Proto:
        g = Graph("qdq")
        zero = g.op("Mul", "x", g.const(0.0))
        return g.finish(2, g.op("Div", zero, g.op("Add", zero, g.const(by))), ["batch", "time", 2])

    with refused("SSMC-M15"):
        import_model(divided(0.0))
    import_model(divided(1.0))


@remedy("SSMC-M18")
def means_apart_from_the_batch(folder: Path) -> None:
    def centred(axes: list[int]) -> Proto:
        def step(b: Graph, state: str, u: str) -> tuple[str, str]:
            mean = b.op("ReduceMean", state, b.const(axes, np.int64))
            return b.quant(decay(b, state, u), CODE, "next"), b.op("Sub", state, mean)

        return looped(step)

    with refused("SSMC-M18"):
        program_of(centred([0, 1]))
    program_of(centred([1]))


@remedy("SSMC-M17")
def one_scan_of_equal_steps(folder: Path) -> None:
    with refused("SSMC-M17"):
        import_model(unrolled("gather", "stack", True, spoil=True))
    with refused("SSMC-M17"):
        import_model(unrolled("gather", "stack", True, time="time"))
    import_model(unrolled("gather", "stack", True))

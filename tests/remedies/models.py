"""Remedies for models: files, quantizers, recurrences, time, numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

import ssmc
from ssmc.importers.onnx_file import import_model
from ssmc.ir.build import known_shape, required
from ssmc.ir.read_program import read_program
from ssmc.pipeline import run_pipeline
from ssmc.quantize import QuantizeConfig
from ssmc.quantize.bases import Kernel
from ssmc.quantize.kernel import quantize_kernel
from ssmc.targets.aimc.target import AimcTarget
from ssmc.targets.integer.target import IntegerTarget
from tests.compiling import program_of
from tests.graph_writer import Graph, signed
from tests.graphs import Spec
from tests.graphs import model as quantized_model
from tests.importers.refusing import CODE, H, codes, decay, end, looped, plain, start
from tests.importers.test_rates import model, sliced
from tests.importers.test_unrolled import unrolled
from tests.passes.test_join_scales import SYSTEMS, NearlyUnstable
from tests.passes.test_join_scales import model as separate
from tests.quantize.floats import float_model
from tests.remedies.following import (
    calibration,
    compiled,
    data,
    fails,
    float_file,
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
    import_model(unrolled("gather", "stack", True))


def spelled(
    scale: float | None = 0.25, zero: list[int] | None = None, clip: bool = True, rounds: bool = False
) -> Proto:
    """A quantizer of the input, as other tools might write it."""
    g = Graph("qdq")
    if rounds:
        h = g.op("Round", g.op("Div", "x", g.const(0.25)))
        h = g.op("Mul", g.op("Clip", h, g.const(-8.0), g.const(7.0)) if clip else h, g.const(0.25))
    else:
        zeros = g.const(zero or [0, 0], np.int8)
        scales = "" if scale is None else g.const([scale, scale])
        h = g.op("DequantizeLinear", g.op("QuantizeLinear", "x", scales, zeros, axis=2), scales, zeros, axis=2)
    return end2(g, h)


def end2(g: Graph, h: str) -> Proto:
    return g.finish(2, g.quant(h, CODE, "out"), ["batch", "time", 2])


@remedy("SSMC-Q01")
def a_scale_given(folder: Path) -> None:
    with refused("SSMC-Q01"):
        compiled(spelled(scale=None))
    compiled(spelled())


@remedy("SSMC-Q02")
def a_positive_scale(folder: Path) -> None:
    with refused("SSMC-Q02"):
        compiled(spelled(scale=-0.25))
    compiled(spelled())


@remedy("SSMC-Q03")
def one_zero_point(folder: Path) -> None:
    with refused("SSMC-Q03"):
        compiled(spelled(zero=[1, 2]))
    compiled(spelled(zero=[2, 2]))


@remedy("SSMC-Q04")
def codes_clipped(folder: Path) -> None:
    with refused("SSMC-Q04"):
        compiled(spelled(rounds=True, clip=False))
    compiled(spelled(rounds=True))


def linear(quantized: bool) -> Proto:
    """A matrix of a quantized input; its weights float or in codes."""
    g = Graph("qdq")
    x, weight = g.quant("x", CODE, "xq"), np.random.default_rng(0).standard_normal((2, H))
    w = g.weight(codes(2, H), 0.25, "W") if quantized else g.const(weight)
    return end(g, g.op("MatMul", x, w))


@remedy("SSMC-Q05")
def weights_quantized(folder: Path) -> None:
    with refused("SSMC-Q05"):
        compiled(linear(False))
    compiled(linear(True))


@remedy("SSMC-Q06")
def everything_quantized(folder: Path) -> None:
    said = fails("SSMC-Q06", "compile", float_file(folder), "-o", folder / "out")
    assert "'ssmc quantize MODEL --data FILE.npz' adds them" in said
    works("quantize", float_file(folder), "--data", calibration(folder), "-o", folder / "q.onnx")
    works("compile", folder / "q.onnx", "-o", folder / "out")


@remedy("SSMC-Q10")
def compiled_as_it_is(folder: Path) -> None:
    fails("SSMC-Q10", "quantize", good(folder), "--data", data(folder), "-o", folder / "q.onnx")
    works("compile", good(folder), "-o", folder / "out")


@remedy("SSMC-Q12")
def scales_joined_before(folder: Path) -> None:
    proto = separate(SYSTEMS[0])
    with refused("SSMC-Q12"):
        AimcTarget().emit(program_of(proto))
    ssmc.compile(import_model(proto), AimcTarget())


@remedy("SSMC-S01")
def constant_coefficients(folder: Path) -> None:
    with refused("SSMC-S01"):
        compiled(looped(lambda b, s, u: (b.quant(b.op("Mul", s, u), CODE, "s.q"), s)))
    compiled(looped(lambda b, s, u: (b.quant(decay(b, s, u), CODE, "s.q"), s)))


@remedy("SSMC-S02")
def one_quantizer_of_the_state(folder: Path) -> None:
    def twice(b: Graph, s: str, u: str) -> tuple[str, str]:
        return b.quant(b.op("Add", b.quant(decay(b, s, u), CODE, "inner"), s), CODE, "s.q"), s

    with refused("SSMC-S02"):
        compiled(looped(twice))
    compiled(looped(lambda b, s, u: (b.quant(decay(b, s, u), CODE, "s.q"), s)))


@remedy("SSMC-S03")
def start_from_constants(folder: Path) -> None:
    def made(factor: float) -> Proto:
        g, u = start()
        first = g.op("Mul", g.op("Gather", u, g.const(0, np.int64), axis=1), g.const(factor))
        (y,) = g.loop(u, [(H,)], lambda b, s, ut: ([plain(b, s[0], ut)[0]], s))
        next(node for node in g.nodes if node.op_type == "Scan").input[0] = first
        return end(g, y)

    with refused("SSMC-S03"):
        compiled(made(1.0))
    compiled(made(0.0))


def float_recurrence(factor: float, first: float = 0.0) -> Proto:
    g = Graph("qdq")

    def step(b: Graph, states: list[str], u: str) -> tuple[list[str], list[str]]:
        return [b.op("Add", b.op("Mul", states[0], b.const(factor)), u)], [b.op("Identity", states[0])]

    (y,) = g.loop("x", [(2,)], step, start=first)
    return g.finish(2, y, ["batch", "time", 2])


@remedy("SSMC-S04")
def stable_poles(folder: Path) -> None:
    fails("SSMC-S04", "quantize", saved(float_recurrence(1.25), folder / "a.onnx"), "--data", data(folder))
    works("quantize", saved(float_recurrence(0.75), folder / "b.onnx"), "--data", data(folder), "-o", folder / "q.onnx")


@remedy("SSMC-S05")
def start_from_zeros(folder: Path) -> None:
    fails("SSMC-S05", "quantize", saved(float_recurrence(0.75, 0.5), folder / "a.onnx"), "--data", data(folder))
    works("quantize", saved(float_recurrence(0.75), folder / "b.onnx"), "--data", data(folder), "-o", folder / "q.onnx")


@remedy("SSMC-S06")
def poles_moved(folder: Path) -> None:
    def unstable(b: Graph, s: str, u: str) -> tuple[str, str]:
        return b.quant(b.op("Add", b.op("Mul", s, b.const(1.5)), u), CODE, "s.q"), s

    path = saved(looped(unstable), folder / "m.onnx")
    fails("SSMC-S06", "compile", path, "-o", folder / "out")
    works("compile", path, "--stabilize", "-o", folder / "out")


@remedy("SSMC-S10")
def for_targets_that_keep_scales_apart(folder: Path) -> None:
    path = saved(separate(NearlyUnstable(0, states=6)), folder / "m.onnx")
    fails("SSMC-S10", "compile", path, "-t", "aimc", "-o", folder / "out")
    works("compile", path, "-t", "int", "-o", folder / "out")


@remedy("SSMC-S11")
def more_kernel_bits(folder: Path) -> None:
    T = np.tril(np.ones((8, 8)))
    A = np.linalg.inv(T) @ np.diag(np.full(8, 0.99)) @ T + np.diag(np.full(7, 0.4), -1)
    kernel = Kernel(A[None], np.ones((1, 8, 1)), np.ones((1, 1, 8)), np.zeros((1, 1, 1)))
    fed = [np.random.default_rng(0).standard_normal((60, 1, 1))]
    with refused("SSMC-S11"):
        quantize_kernel(kernel, fed, np.full((1, 1), 2.0**-5), QuantizeConfig(kernel_bits=2))
    quantize_kernel(kernel, fed, np.full((1, 1), 2.0**-5), QuantizeConfig(kernel_bits=8))


def over(op: str, axes: list[int], shape: tuple[str | int, ...]) -> Proto:
    g, u = start()
    return end(g, g.op(op, u, g.const(axes, np.int64), keepdims=0), shape)


@remedy("SSMC-T01")
def a_mean_over_time(folder: Path) -> None:
    with refused("SSMC-T01"):
        compiled(over("ReduceMean", [2], ("batch", "time")))
    compiled(over("ReduceMean", [1], ("batch", H)))


@remedy("SSMC-T02")
def an_operation_with_an_integer_form(folder: Path) -> None:
    with refused("SSMC-T02"):
        compiled(over("ReduceMin", [1], ("batch", H)))
    compiled(over("ReduceMax", [1], ("batch", H)))


@remedy("SSMC-T03")
def narrower_codes(folder: Path) -> None:
    def normed(bits: int, channels: int = 1 << 11) -> Proto:
        g = Graph("qdq")
        x = g.quant("x", signed(bits, 2.0**-5), "xq")
        wide = g.quant(g.op("MatMul", x, g.weight(codes(2, channels), 0.25, "W")), signed(bits, 2.0**-4), "wide")
        h = g.op("LayerNormalization", wide, g.const(np.ones(channels)), axis=-1)
        return g.finish(2, g.quant(h, CODE, "out"), ["batch", "time", channels])

    with refused("SSMC-T03"):
        read_program(compiled(normed(16, 1 << 16)).model)
    read_program(compiled(normed(6)).model)


@remedy("SSMC-T04")
def forward_in_time(folder: Path) -> None:
    with refused("SSMC-T04"):
        compiled(looped(plain, scan_input_directions=[1]))
    compiled(looped(plain))


@remedy("SSMC-T10")
def quantized_as_it_is(folder: Path) -> None:
    path = saved(float_model(dense=True), folder / "m.onnx")
    fails("SSMC-T10", "reduce", path, "--data", calibration(folder), "--states", 2)
    works("quantize", path, "--data", calibration(folder), "-o", folder / "q.onnx")


@remedy("SSMC-T11")
def quantized_without_a_recurrence(folder: Path) -> None:
    path = saved(float_graph("MatMul", np.eye(2)), folder / "m.onnx")
    fails("SSMC-T11", "reduce", path, "--data", data(folder), "--states", 2)
    works("quantize", path, "--data", data(folder), "-o", folder / "q.onnx")


@remedy("SSMC-R01")
def scales_of_like_size(folder: Path) -> None:
    def scaled(step: float) -> Proto:
        g = Graph("qdq")
        a, b = g.quant("x", signed(8, 2.0**60), "a"), g.quant("x", signed(8, 1.0), "b")
        return g.finish(2, g.quant(g.op("Add", a, b), signed(8, step), "out"), ["batch", "time", 2])

    with refused("SSMC-R01"):
        read_program(compiled(scaled(2.0**-10)).model)
    read_program(compiled(scaled(2.0**60)).model)


@remedy("SSMC-R02")
def both_branches_alike(folder: Path) -> None:
    _, constants = sliced(0, 2)
    with refused("SSMC-R02"):
        import_model(model("s = Slice (u, start, stop, axis, step)\n z = Add (u, s)", **constants))
    two = "s = Slice (u, start, stop, axis, step)\n r = Slice (u, start, stop, axis, step)\n z = Add (s, r)"
    ssmc.compile(import_model(model(two, **constants)))


@remedy("SSMC-L02")
def the_onnx_file(folder: Path) -> None:
    result = compiled(quantized_model(Spec()))
    with refused("SSMC-L02"):
        run_pipeline(result.model, IntegerTarget().pipeline())
    run_pipeline(import_model(quantized_model(Spec())), IntegerTarget().pipeline(), oracle=False)

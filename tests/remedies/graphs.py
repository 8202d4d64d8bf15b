"""Remedies for graphs: quantizers, recurrences, time, numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

import ssmc
from ssmc.importers.onnx_file import import_model
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
from tests.remedies.models import float_graph, saved

Proto = onnx.ModelProto


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
        compiled(over("ReduceProd", [1], ("batch", H)))
    compiled(over("ReduceMax", [1], ("batch", H)))


@remedy("SSMC-T03")
def narrower_codes(folder: Path) -> None:
    def normed(bits: int, channels: int = 1 << 11, epsilon: float = 1e-5) -> Proto:
        g = Graph("qdq")
        x = g.quant("x", signed(bits, 2.0**-5), "xq")
        wide = g.quant(g.op("MatMul", x, g.weight(codes(2, channels), 0.25, "W")), signed(bits, 2.0**-4), "wide")
        h = g.op("LayerNormalization", wide, g.const(np.ones(channels)), axis=-1, epsilon=epsilon)
        return g.finish(2, g.quant(h, CODE, "out"), ["batch", "time", channels])

    with refused("SSMC-T03"):
        read_program(compiled(normed(16, 1 << 16)).model)
    read_program(compiled(normed(6)).model)
    with refused("SSMC-T03"):
        read_program(compiled(normed(6, 8, epsilon=1e30)).model)
    read_program(compiled(normed(6, 8, epsilon=1e6)).model)


@remedy("SSMC-T04")
def forward_in_time(folder: Path) -> None:
    with refused("SSMC-T04"):
        compiled(looped(plain, scan_input_directions=[1]))
    compiled(looped(plain))


@remedy("SSMC-T05")
def means_that_leave_a_rest(folder: Path) -> None:
    with refused("SSMC-T05"):
        import_model(float_model(every=3, whole=True))
    onnx.save(float_model(every=3), folder / "m.onnx")
    works("quantize", folder / "m.onnx", "--data", calibration(folder), "-o", folder / "q.onnx")


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

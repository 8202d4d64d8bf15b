"""What is not a quantized state-space model is declined: stable code, guilty node, one line, exit status 1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from ssmc.errors import ModelError, SsmcError, UsageError
from ssmc.folding.operands import signal_of
from ssmc.folding.signals import Raw
from ssmc.importers.onnx_file import import_model, load_model
from ssmc.pipeline import run_pipeline
from ssmc.targets.integer.target import IntegerTarget
from tests.graphs import Graph, Spec, model, signed

CODE = signed(8, 2.0**-5)
H = 3


def refusal(proto: onnx.ModelProto) -> SsmcError:
    """The error that compiling gives; a ModelError on one line, with a remedy."""
    with pytest.raises(SsmcError) as caught:
        run_pipeline(import_model(proto), IntegerTarget().pipeline())
    error = caught.value
    assert isinstance(error, ModelError)
    assert error.exit_status == 1
    assert error.remedy
    assert "\n" not in str(error)
    return error


def codes(*shape: int) -> np.ndarray:
    return np.arange(1, 1 + int(np.prod(shape))).reshape(shape) % 7 - 3


def start(spelling: str = "qdq") -> tuple[Graph, str]:
    """A graph with a quantized encoder; its codes ``u`` (N, T, 3)."""
    g = Graph(spelling)
    x = g.quant("x", CODE, "xq")
    w = g.op("Transpose", g.weight(codes(H, 2), 0.25, "enc.W"), perm=[1, 0], out="enc.Wt")
    return g, g.quant(g.op("MatMul", x, w, out="enc"), CODE, "u")


def end(g: Graph, h: str, shape: tuple[str | int, ...] = ("batch", "time", H), opset: int = 21) -> onnx.ModelProto:
    return g.finish(2, g.quant(h, CODE, "out"), shape, opset)


def decay(b: Graph, state: str, u: str) -> str:
    """``0.5 s + u`` per channel."""
    return b.op("Add", b.op("Mul", state, b.const(0.5)), u, out="sum")


def looped(
    step: Callable[[Graph, str, str], tuple[str, str]], shape: tuple[int, ...] = (H,), **more: object
) -> onnx.ModelProto:
    """A model with one state tensor and the given step ``(state, u) -> (next, y)``."""
    g, u = start()

    def build(b: Graph, states: list[str], ut: str) -> tuple[list[str], list[str]]:
        new, y = step(b, states[0], ut)
        return [new], [y]

    (y,) = g.loop(u, [shape], build, **more)
    return end(g, y)


def plain(b: Graph, state: str, u: str) -> tuple[str, str]:
    return b.quant(decay(b, state, u), CODE, "s.q"), state


def test_the_plain_recurrence_compiles() -> None:
    """So that every refusal below is caused by its one difference."""
    result = run_pipeline(import_model(looped(plain)), IntegerTarget().pipeline())
    assert [node.op_type for node in result.model.graph].count("Kernel") == 1


# -- recurrences that are no linear time-invariant state space ----------------------------------------


def gated(b: Graph, state: str, u: str) -> tuple[str, str]:
    """Mamba: the decay depends on the input."""
    decay = b.op("Sigmoid", u, out="selective.decay")
    total = b.op("Add", b.op("Mul", decay, state), u)
    return b.quant(total, CODE, "s.q"), state


def bilinear(b: Graph, state: str, u: str) -> tuple[str, str]:
    product = b.op("Mul", u, state, out="selective.product")
    return b.quant(b.op("Add", product, u), CODE, "s.q"), state


def nonlinear(b: Graph, state: str, u: str) -> tuple[str, str]:
    return b.quant(b.op("Tanh", decay(b, state, u), out="rnn.tanh"), CODE, "s.q"), state


def divided(b: Graph, state: str, u: str) -> tuple[str, str]:
    ratio = b.op("Div", state, u, out="selective.ratio")
    return b.quant(ratio, CODE, "s.q"), state


def compared(b: Graph, state: str, u: str) -> tuple[str, str]:
    return b.quant(b.op("Max", state, u, out="max.two"), CODE, "s.q"), state


@pytest.mark.parametrize(
    ("step", "node"),
    [
        (gated, "selective.decay"),
        (bilinear, "selective.product"),
        (nonlinear, "rnn.tanh"),
        (divided, "selective.ratio"),
        (compared, "max.two"),
    ],
)
def test_a_recurrence_that_is_not_affine_names_the_node_that_breaks_it(
    step: Callable[..., tuple[str, str]], node: str
) -> None:
    error = refusal(looped(step))
    assert (error.code, error.node) == ("SSMC-S01", node)


def test_a_body_that_reads_an_outer_signal_names_it() -> None:
    g, u = start()
    outer = g.op("ReduceMean", u, g.const([1], np.int64), keepdims=0, out="context")
    (y,) = g.loop(u, [(H,)], lambda b, s, ut: ([b.quant(b.op("Add", decay(b, s[0], ut), outer), CODE, "s.q")], s))
    error = refusal(end(g, y))
    assert (error.code, error.node) == ("SSMC-S01", "context")
    assert "context" in error.fact


def test_an_unquantized_state_is_declined_at_the_loop() -> None:
    error = refusal(looped(lambda b, s, u: (decay(b, s, u), s)))
    assert (error.code, error.node) == ("SSMC-Q06", "scan")


def test_a_state_register_must_saturate_on_a_code() -> None:
    def step(b: Graph, state: str, u: str) -> tuple[str, str]:
        moved = b.op("Add", state, b.quant(decay(b, state, u), CODE, "s.q"))
        return b.op("Clip", moved, b.const(-1.01), b.const(1.01)), state

    error = refusal(looped(step))
    assert (error.code, error.node) == ("SSMC-S02", "scan")
    assert "-1.01" in error.fact


def test_a_read_out_step_is_a_power_of_two_register_steps() -> None:
    def step(b: Graph, state: str, u: str) -> tuple[str, str]:
        read = b.quant(state, signed(8, 3 * 2.0**-5), "s.R")
        moved = b.op("Add", state, b.quant(decay(b, read, u), CODE, "s.q"))
        return b.op("Clip", moved, b.const(-12.0), b.const(12.0)), read

    error = refusal(looped(step))
    assert (error.code, error.node) == ("SSMC-S02", "scan")
    assert "3 register steps" in error.fact


def test_a_quantizer_inside_a_sum_is_named() -> None:
    def step(b: Graph, state: str, u: str) -> tuple[str, str]:
        inner = b.quant(decay(b, state, u), CODE, "inner")
        return b.quant(b.op("Add", inner, state), CODE, "s.q"), state

    error = refusal(looped(step))
    assert (error.code, error.node) == ("SSMC-S02", "scan")
    assert "'inner'" in error.fact


@pytest.mark.parametrize("start_value", [0.01, 1000.0, -5.0])
def test_an_initial_state_must_be_a_code(start_value: float) -> None:
    error = refusal(looped(plain, start=start_value))
    assert (error.code, error.node) == ("SSMC-Q06", "scan")


# -- loops that are no scan over time ----------------------------------------------------------------


@pytest.mark.parametrize("direction", ["scan_input_directions", "scan_output_directions"])
def test_a_reversed_scan(direction: str) -> None:
    error = refusal(looped(plain, **{direction: [1]}))
    assert (error.code, error.node) == ("SSMC-S03", "scan")
    assert "backwards" in error.fact


def test_a_final_state_that_is_used() -> None:
    g, u = start()
    g.loop(u, [(H,)], lambda b, s, ut: ([plain(b, s[0], ut)[0]], s))
    error = refusal(end(g, "scan.end0", ("batch", H)))
    assert (error.code, error.node) == ("SSMC-S03", "scan")
    assert "final state" in error.fact


def test_an_initial_state_that_depends_on_the_input() -> None:
    g, u = start()
    g.loop(u, [(H,)], lambda b, s, ut: ([plain(b, s[0], ut)[0]], s))
    scan = next(node for node in g.nodes if node.op_type == "Scan")
    scan.input[0] = g.op("Gather", u, g.const(0, np.int64), axis=1, out="first")
    g.nodes.sort(
        key=lambda node: (node.op_type == "Transpose" and node.output[0].endswith(".batch"), node.op_type == "Scan")
    )
    error = refusal(end(g, "scan.out0.batch"))
    assert (error.code, error.node) == ("SSMC-S03", "scan")


def test_an_initial_state_with_a_fixed_batch() -> None:
    g, u = start()
    g.loop(u, [(H,)], lambda b, s, ut: ([plain(b, s[0], ut)[0]], s))
    scan = next(node for node in g.nodes if node.op_type == "Scan")
    scan.input[0] = g.const(np.zeros((1, H)))
    error = refusal(end(g, "scan.out0.batch"))
    assert error.code in {"SSMC-S03", "SSMC-M05"}


def test_other_loops() -> None:
    g, u = start()
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["going"]),
            helper.make_node("Add", ["carried", "carried"], ["next"]),
        ],
        "loop",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    looped = g.op("Loop", g.const(3, np.int64), "", u, out="repeat", body=body)
    error = refusal(end(g, looped))
    assert (error.code, error.node) == ("SSMC-S03", "repeat")


# -- operations that mix time -----------------------------------------------------------------------


def _cumulative(g: Graph, u: str) -> str:
    return g.op("CumSum", u, g.const(1, np.int64), out="guilty")


def _shifted(g: Graph, u: str) -> str:
    return g.op("Slice", u, g.const([1], np.int64), g.const([2**31], np.int64), g.const([1], np.int64), out="guilty")


def _first(g: Graph, u: str) -> str:
    return g.op("Gather", u, g.const(0, np.int64), axis=1, out="guilty")


def _convolved(g: Graph, u: str) -> str:
    turned = g.op("Transpose", u, perm=[0, 2, 1])
    y = g.op("Conv", turned, g.const(codes(H, H, 3) / 4), pads=[1, 1], out="guilty")
    return g.op("Transpose", y, perm=[0, 2, 1])


def _strided(g: Graph, u: str) -> str:
    turned = g.op("Transpose", u, perm=[0, 2, 1])
    y = g.op("Conv", turned, g.const(codes(H, H, 1) / 4), strides=[2], out="guilty")
    return g.op("Transpose", y, perm=[0, 2, 1])


def _padded(g: Graph, u: str) -> str:
    turned = g.op("Transpose", u, perm=[0, 2, 1])
    y = g.op("Conv", turned, g.const(codes(H, H, 1) / 4), pads=[2, 0], out="guilty")
    return g.op("Transpose", y, perm=[0, 2, 1])


def _shuffled(g: Graph, u: str) -> str:
    """(T, N, C) read as (N, T, C): moves samples into each other."""
    shape = g.op("Shape", u)
    return g.op("Reshape", g.op("Transpose", u, perm=[1, 0, 2]), shape, out="guilty")


def _flattened(g: Graph, u: str) -> str:
    """(N, T, C) through (N, C, T) without moving data."""
    return g.op("Reshape", g.op("Reshape", u, g.const([0, H, -1], np.int64), out="guilty"), g.op("Shape", u))


def _attention(g: Graph, u: str) -> str:
    scores = g.op("MatMul", u, g.op("Transpose", u, perm=[0, 2, 1]), out="guilty")
    return g.op("MatMul", scores, u)


def _softmax(g: Graph, u: str) -> str:
    return g.op("Softmax", u, axis=1, out="guilty")


@pytest.mark.parametrize(
    ("op", "code"),
    [
        (_cumulative, "SSMC-T02"),
        (_shifted, "SSMC-T01"),
        (_first, "SSMC-T01"),
        (_convolved, "SSMC-T01"),
        (_strided, "SSMC-T01"),
        (_padded, "SSMC-T01"),
        (_shuffled, "SSMC-T01"),
        (_flattened, "SSMC-T01"),
        (_attention, "SSMC-T02"),
        (_softmax, "SSMC-T02"),
    ],
)
def test_an_operation_that_mixes_time(op: Callable[[Graph, str], str], code: str) -> None:
    g, u = start()
    error = refusal(end(g, op(g, u)))
    assert (error.code, error.node) == (code, "guilty")


def test_a_mean_over_channels() -> None:
    g, u = start()
    mean = g.op("ReduceMean", u, g.const([2], np.int64), keepdims=1, out="guilty")
    error = refusal(end(g, g.op("Add", u, mean)))
    assert (error.code, error.node) == ("SSMC-T01", "guilty")


# -- what is not quantized ---------------------------------------------------------------------------


def test_unquantized_weights() -> None:
    g, u = start()
    weights = g.const(np.random.default_rng(0).standard_normal((H, H)))
    error = refusal(end(g, g.op("MatMul", u, weights, out="float.linear")))
    assert (error.code, error.node) == ("SSMC-Q05", "float.linear")


def test_unquantized_weights_of_a_recurrence() -> None:
    rng = np.random.default_rng(0)

    def step(b: Graph, state: str, u: str) -> tuple[str, str]:
        total = b.op("MatMul", state, b.const(rng.standard_normal((H, H))))
        return b.quant(b.op("Add", total, u), CODE, "s.q"), state

    error = refusal(looped(step))
    assert (error.code, error.node) == ("SSMC-Q05", "scan")


def test_a_matrix_on_an_unquantized_input() -> None:
    g = Graph()
    y = g.op("MatMul", "x", g.const(codes(2, H)), out="raw.linear")
    error = refusal(end(g, y))
    assert (error.code, error.node) == ("SSMC-Q06", "raw.linear")


def test_two_matrices_without_a_quantizer_between() -> None:
    g, u = start()
    first = g.op("MatMul", u, g.const(codes(H, H)), out="first")
    error = refusal(end(g, g.op("MatMul", first, g.const(codes(H, H)), out="second")))
    assert (error.code, error.node) == ("SSMC-Q06", "second")


def test_a_product_with_an_unquantized_factor() -> None:
    g, u = start()
    gate = g.op("MatMul", u, g.const(codes(H, H)), out="gate.linear")
    error = refusal(end(g, g.op("Mul", u, gate, out="gate.product")))
    assert (error.code, error.node) == ("SSMC-Q06", "gate.product")


def test_a_sum_with_an_unquantized_term() -> None:
    g, u = start()
    branch = g.op("MatMul", u, g.const(codes(H, H)), out="branch")
    error = refusal(end(g, g.op("Add", u, branch, out="residual")))
    assert (error.code, error.node) == ("SSMC-Q06", "residual")


def test_a_function_of_an_unquantized_value() -> None:
    g, u = start()
    branch = g.op("MatMul", u, g.const(codes(H, H)))
    error = refusal(end(g, g.op("Gelu", branch, out="gelu")))
    assert (error.code, error.node) == ("SSMC-Q06", "gelu")


@pytest.mark.parametrize("op", ["Max", "Min"])
def test_a_comparison_of_two_signals(op: str) -> None:
    g, u = start()
    other = g.quant(g.op("Neg", u), CODE, "v")
    error = refusal(end(g, g.op(op, u, other, out="compare")))
    assert (error.code, error.node) == ("SSMC-T02", "compare")


def test_the_input_of_a_recurrence_is_quantized() -> None:
    g, u = start()
    raw = g.op("MatMul", u, g.const(codes(H, H)))
    (y,) = g.loop(raw, [(H,)], lambda b, s, ut: ([plain(b, s[0], ut)[0]], s))
    error = refusal(end(g, y))
    assert (error.code, error.node) == ("SSMC-Q06", "scan")


def test_an_operation_whose_data_is_a_constant_and_whose_shape_is_a_signal() -> None:
    data, shape = ir.val("data"), ir.val("shape")
    node = ir.node("Reshape", [data, shape], name="guilty")
    signal = Raw(("N", "T", "C"), H, np.ones(H))
    assert signal_of(node, [None, signal], 1) is signal
    with pytest.raises(ModelError) as caught:
        signal_of(node, [None, signal])
    assert (caught.value.code, caught.value.node) == ("SSMC-T02", "guilty")


def test_an_output_that_does_not_depend_on_the_input() -> None:
    g, _ = start()
    error = refusal(g.finish(2, g.op("Identity", g.const([[1.0]]), out="constant"), ("batch", 1)))
    assert error.code in {"SSMC-Q06", "SSMC-M05"}


# -- quantizers without an exact meaning ---------------------------------------------------------------


def _qdq(g: Graph, u: str, **changes: object) -> str:
    """A QuantizeLinear-DequantizeLinear pair with some parts replaced."""
    parts = {"scale": g.const(0.25), "zero": g.const(0, np.int8), "back": None, "back_zero": None} | changes
    inputs = [v for v in (parts["scale"], parts["zero"]) if v is not None]
    q = g.op("QuantizeLinear", u, *inputs, out="guilty.q")
    back = [parts["back"] or parts["scale"], parts["back_zero"] or parts["zero"]]
    return g.op("DequantizeLinear", q, *[v for v in back if v is not None], out="guilty")


def test_a_scale_that_is_not_constant() -> None:
    g, u = start()
    scale = g.op("ReduceMax", g.op("Abs", u), keepdims=0)
    error = refusal(end(g, _qdq(g, u, scale=scale)))
    assert error.code == "SSMC-Q02"
    assert error.node.startswith("guilty")


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_scale_that_is_not_positive(value: float) -> None:
    g, u = start()
    error = refusal(end(g, _qdq(g, u, scale=g.const(value))))
    assert error.code == "SSMC-Q02"
    assert error.node.startswith("guilty")


def test_a_missing_scale() -> None:
    g, u = start()
    g.nodes.append(helper.make_node("QuantizeLinear", [u], ["guilty.q"], name="guilty"))
    g.nodes.append(helper.make_node("DequantizeLinear", ["guilty.q", g.const(0.5)], ["back"]))
    error = refusal(end(g, "back"))
    assert (error.code, error.node) == ("SSMC-Q01", "guilty")


def test_a_missing_scale_inside_a_loop() -> None:
    def step(b: Graph, state: str, u: str) -> tuple[str, str]:
        b.nodes.append(helper.make_node("DequantizeLinear", [state], ["guilty.real"], name="guilty"))
        return plain(b, state, u)

    error = refusal(looped(step))
    assert (error.code, error.node) == ("SSMC-Q01", "guilty")


def test_zero_points_of_a_pair_differ() -> None:
    g, u = start()
    error = refusal(end(g, _qdq(g, u, back_zero=g.const(1, np.int8))))
    assert (error.code, error.node) == ("SSMC-Q03", "guilty")


def test_a_range_that_is_not_constant() -> None:
    """Once ignored in silence."""
    g, u = start()
    q = g.op("QuantizeLinear", u, g.const(0.25), g.const(0, np.int8))
    top = g.op("ReduceMax", q, keepdims=0)
    clipped = g.op("Clip", q, "", top, out="guilty.clip")
    error = refusal(end(g, g.op("DequantizeLinear", clipped, g.const(0.25), g.const(0, np.int8))))
    assert (error.code, error.node) == ("SSMC-Q02", "guilty.clip")


def test_a_pair_that_is_torn_apart() -> None:
    g, u = start()
    q = g.op("QuantizeLinear", u, g.const(0.25), g.const(0, np.int8), out="guilty.q")
    error = refusal(end(g, g.op("Cast", q, to=TensorProto.FLOAT)))
    assert (error.code, error.node) == ("SSMC-Q03", "guilty.q")


def test_rounding_without_a_range() -> None:
    g, u = start()
    error = refusal(end(g, g.op("Round", u, out="guilty")))
    assert (error.code, error.node) == ("SSMC-Q04", "guilty")


@pytest.mark.parametrize(
    ("bits", "options", "zero"),
    [
        (8, {"rounding_mode": "FLOOR"}, 0),
        (2.5, {}, 0),
        (8, {}, 1),
        (1, {"signed": 1}, 0),
    ],
)
def test_qonnx_quantizers_without_an_exact_meaning(bits: float, options: dict[str, object], zero: int) -> None:
    g, u = start("qonnx")
    given = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"} | options
    out = g.op(
        "Quant", u, g.const(0.25), g.const(zero), g.const(bits), out="guilty", domain="qonnx.custom_op.general", **given
    )
    error = refusal(end(g, out))
    assert (error.code, error.node) == ("SSMC-Q03", "guilty")


# -- files and graphs ----------------------------------------------------------------------------------


def test_a_truncated_file(tmp_path: Path) -> None:
    data = model(Spec()).SerializeToString()
    for keep in (0, 1, 10, len(data) // 2, len(data) - 1):
        path = tmp_path / "cut.onnx"
        path.write_bytes(data[:keep])
        with pytest.raises(ModelError) as caught:
            load_model(path)
        assert caught.value.code in {"SSMC-M01", "SSMC-M03"}
        assert caught.value.node == "cut.onnx"


def test_a_file_that_is_not_onnx(tmp_path: Path) -> None:
    path = tmp_path / "picture.onnx"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" * 20)
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert caught.value.code == "SSMC-M01"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_model(tmp_path / "none.onnx")
    assert (caught.value.code, caught.value.exit_status) == ("SSMC-U01", 2)


def test_a_wrong_opset() -> None:
    proto = model(Spec())
    proto.opset_import[0].version = 9
    error = refusal(proto)
    assert (error.code, error.node) == ("SSMC-M02", "model")
    assert "opset 9" in error.fact


def test_an_invalid_graph() -> None:
    g, u = start()
    error = refusal(end(g, g.op("Add", u, "nowhere")))
    assert error.code == "SSMC-M03"
    assert "nowhere" in error.fact


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(value: float) -> None:
    g, u = start()
    bias = g.const([0.0, value, 0.0], name="layer.bias")
    error = refusal(end(g, g.op("Add", u, bias)))
    assert (error.code, error.node) == ("SSMC-M04", "layer.bias")


def test_nan_weights_captured_by_a_loop() -> None:
    def step(b: Graph, state: str, u: str) -> tuple[str, str]:
        total = b.op("Mul", state, b.const([0.5, np.nan, 0.5], name="layer.A"))
        return b.quant(b.op("Add", total, u), CODE, "s.q"), state

    error = refusal(looped(step))
    assert (error.code, error.node) == ("SSMC-M04", "layer.A")


def test_an_infinite_clipping_bound_is_harmless() -> None:
    g, u = start()
    h = g.op("Clip", u, g.const(0.0), g.const(np.inf))
    result = run_pipeline(import_model(end(g, h)), IntegerTarget().pipeline())
    assert not any(record.declined for record in result.records)


def _with_input(shape: list[str | int], dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
    proto = model(Spec(features=2))
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", dtype, shape))
    return proto


@pytest.mark.parametrize(
    ("shape", "code"),
    [
        ([1, "time", 2], "SSMC-M08"),
        (["batch", 16, 2], "SSMC-M08"),
        (["batch", "time", "features"], "SSMC-M08"),
        (["batch", 2], "SSMC-M06"),
    ],
)
def test_static_or_missing_axes(shape: list[str | int], code: str) -> None:
    error = refusal(_with_input(shape))
    assert (error.code, error.node) == (code, "x")


def test_time_first() -> None:
    g = Graph()
    u = g.quant("x", CODE, "u")
    turned = g.op("Transpose", u, perm=[1, 0, 2])
    (y,) = g.loop(turned, [(2,)], lambda b, s, ut: ([plain(b, s[0], ut)[0]], s))
    proto = end(g, y, ("batch", "time", 2))
    error = refusal(proto)
    assert (error.code, error.node) == ("SSMC-M06", "x")
    assert "(batch, time, features)" in error.fact


def test_an_input_that_is_not_float32() -> None:
    error = refusal(_with_input(["batch", "time", 2], TensorProto.INT64))
    assert error.code in {"SSMC-M06", "SSMC-M03"}


def test_two_outputs() -> None:
    proto = model(Spec())
    proto.graph.output.append(onnx.ValueInfoProto(name="u"))
    error = refusal(proto)
    assert error.code in {"SSMC-M06", "SSMC-M03"}


def test_an_unknown_operator_domain() -> None:
    g, u = start()
    proto = end(g, g.op("Magic", u, out="guilty", domain="com.example"))
    proto.opset_import.append(helper.make_opsetid("com.example", 1))
    error = refusal(proto)
    assert (error.code, error.node) == ("SSMC-M07", "guilty")


def test_batch_norm_in_training_mode() -> None:
    proto = model(Spec(norm=True))
    node = next(n for n in proto.graph.node if n.op_type == "BatchNormalization")
    node.attribute.append(helper.make_attribute("training_mode", 1))
    error = refusal(proto)
    assert (error.code, error.node) == ("SSMC-M09", "l0.bn")

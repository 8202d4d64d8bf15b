"""Recurrences that are no linear time-invariant state space, and loops that are no scan over time, are declined."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import TensorProto, helper

from ssmc.importers.onnx_file import import_model
from ssmc.pipeline import run_pipeline
from ssmc.targets.integer.target import IntegerTarget
from tests.graph_writer import Graph, signed
from tests.importers.refusing import CODE, H, decay, end, looped, plain, refusal, start


def test_the_plain_recurrence_compiles() -> None:
    """So that every refusal below is caused by its one difference."""
    result = run_pipeline(import_model(looped(plain)), IntegerTarget().pipeline())
    assert [node.op_type for node in result.model.graph].count("Kernel") == 1


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


@pytest.mark.parametrize("direction", ["scan_input_directions", "scan_output_directions"])
def test_a_reversed_scan(direction: str) -> None:
    error = refusal(looped(plain, **{direction: [1]}))
    assert (error.code, error.node) == ("SSMC-T04", "scan")
    assert "backwards" in error.fact


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


def test_a_loop_over_a_constant() -> None:
    g, u = start()
    g.loop(u, [(H,)], lambda b, s, ut: ([plain(b, s[0], ut)[0]], s))
    scan = next(node for node in g.nodes if node.op_type == "Scan")
    scan.input[1] = g.const(np.ones(H))
    error = refusal(end(g, g.op("Add", u, g.op("ReduceMean", "scan.out0.batch", g.const([1], np.int64)))))
    assert (error.code, error.node) == ("SSMC-S03", "scan")
    assert "constant" in error.fact


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


def test_a_mix_of_sequences_that_shows_at_the_third_step_only() -> None:
    """s1 = u0, s2 = mean(s1) / 2 + u1 over all sequences, and the output is the state before each step."""

    def step(b: Graph, state: str, u: str) -> tuple[str, str]:
        mean = b.op("ReduceMean", state, b.const([0, 1], np.int64))
        return b.quant(decay(b, mean, u), CODE, "s.q"), state

    assert refusal(looped(step)).code == "SSMC-M18"

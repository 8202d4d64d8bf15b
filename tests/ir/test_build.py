"""What a node must have is asked for by name, and a model that leaves it out is told so."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from ssmc.errors import ModelError
from ssmc.ir.build import graph_of, known_shape, remove_dead_after, required

X = ir.val("x", dtype=ir.DataType.FLOAT, shape=ir.Shape(["batch", 3]))


def node(*inputs: ir.Value | None) -> ir.Node:
    return ir.node("Scan", inputs, name="blocks.0.scan")


def test_a_required_input_is_given_from_either_end() -> None:
    last = ir.val("last")
    assert required(node(X, None, last), 0) is X
    assert required(node(X, None, last), -1) is last


@pytest.mark.parametrize(("index", "position"), [(1, 1), (-2, 1), (3, 3)])
def test_a_missing_input_names_the_node_and_the_position(index: int, position: int) -> None:
    with pytest.raises(ModelError) as caught:
        required(node(X, None, ir.val("last")), index)
    assert (caught.value.code, caught.value.node) == ("SSMC-M10", "blocks.0.scan")
    assert f"Scan has no input {position}," in caught.value.fact


def test_a_value_without_a_shape_is_named() -> None:
    assert list(known_shape(X)) == list(X.shape or ())
    with pytest.raises(ModelError, match=r"SSMC-M11.*hidden"):
        known_shape(ir.val("hidden"))


def test_a_node_outside_every_graph_has_none() -> None:
    inside = node(X)
    graph = ir.Graph([X], inside.outputs, nodes=[inside])
    assert graph_of(inside) is graph
    with pytest.raises(ValueError, match=r"blocks\.0\.scan stands in no graph"):
        graph_of(node())


def test_what_follows_a_replaced_node_goes_and_what_others_read_stays() -> None:
    """x -> a -> scan -> b -> c, where c was replaced; a feeds the new y too, and d is dead, but elsewhere."""
    names = {"a": "x", "scan": "a", "b": "scan", "c": "b", "y": "a", "d": "x", "before": "x"}
    values = {"x": ir.val("x")}
    for name, source in names.items():
        values[name] = ir.node("Relu", [values[source]], name=name).outputs[0]
    values["b"].producer().resize_inputs(2)
    values["b"].producer().replace_input_with(1, values["before"])
    nodes = [values[name].producer() for name in ("before", *(name for name in names if name != "before"))]
    graph = ir.Graph([values["x"]], [values["y"]], nodes=nodes)
    remove_dead_after(graph, values["scan"].producer())
    assert [node.name for node in graph] == ["a", "y", "d"]

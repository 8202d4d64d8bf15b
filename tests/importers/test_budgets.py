"""A small file cannot ask for a large model: budgets are checked before the work, and can be raised."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from ssmc.budgets import DEFAULT, NAMES, Budgets, with_budgets
from ssmc.errors import ModelError, UsageError
from ssmc.importers.onnx_file import import_model, load_model
from tests.graph_writer import Graph
from tests.importers.refusing import H, end, looped, plain, start
from tests.importers.test_loops import BOOL, INT, ahead, body, value

DOMAIN = "own"


def _refused(proto: onnx.ModelProto, budgets: Budgets = DEFAULT) -> UsageError:
    with pytest.raises(UsageError) as caught:
        import_model(proto, budgets=budgets)
    assert caught.value.code == "SSMC-U07"
    return caught.value


def _calling(depth: int) -> onnx.ModelProto:
    """A model that doubles its call of a function ``depth`` times: 2^depth nodes once written out."""
    g, u = start()
    proto = end(g, g.op("F0", u, domain=DOMAIN))
    proto.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    imports = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    for level in range(depth):
        twice = [helper.make_node(f"F{level + 1}", [a], [b], domain=DOMAIN) for a, b in (("a", "m"), ("m", "b"))]
        proto.functions.append(helper.make_function(DOMAIN, f"F{level}", ["a"], ["b"], twice, imports))
    last = [helper.make_node("Identity", ["a"], ["b"])]
    proto.functions.append(helper.make_function(DOMAIN, f"F{depth}", ["a"], ["b"], last, imports))
    return proto


def test_functions_that_grow_when_they_are_written_out() -> None:
    assert "nodes with all functions written out" in _refused(_calling(24)).fact
    small = _calling(3)
    nodes = len(import_model(small).graph)
    assert "--budget nodes=" in _refused(small, Budgets(nodes=nodes - 1)).remedy


def test_functions_that_call_each_other_in_a_circle() -> None:
    proto = _calling(1)
    proto.functions[1].node[0].op_type, proto.functions[1].node[0].domain = "F0", DOMAIN
    with pytest.raises(ModelError, match=r"SSMC-M03.*calls itself"):
        import_model(proto)


def test_shapes_of_more_elements_than_the_budget_name_the_value() -> None:
    g, u = start()
    big = g.op("Expand", g.const(0.0), g.const([65536, 65536], np.int64), out="big")
    error = _refused(end(g, g.op("Add", u, g.op("ReduceSum", big, keepdims=0))))
    assert error.node == "big"
    assert f"--budget elements={1 << 32}" in error.remedy


def test_a_file_that_is_larger_than_the_budget(tmp_path: Path) -> None:
    g, u = start()
    path = tmp_path / "model.onnx"
    path.write_bytes(end(g, u).SerializeToString())
    size = path.stat().st_size
    load_model(path, Budgets(model_bytes=size))
    with pytest.raises(UsageError, match=f"--budget model-bytes={size}"):
        load_model(path, Budgets(model_bytes=size - 1))


def test_devices_and_pipes_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe.onnx")
    for path in (Path("/dev/zero"), pipe, tmp_path):
        found: list[BaseException] = []
        thread = threading.Thread(target=_catch, args=(path, found), daemon=True)
        thread.start()
        thread.join(timeout=20)
        assert found, f"{path} is being read"
        assert isinstance(found[0], UsageError)
        assert found[0].code == "SSMC-U01"


def _catch(path: Path, found: list[BaseException]) -> None:
    try:
        load_model(path)
    except BaseException as error:
        found.append(error)


def test_budgets_on_the_command_line() -> None:
    assert with_budgets(["nodes=7", "model-bytes=9"]) == Budgets(nodes=7, model_bytes=9)
    for pair in ("nodes", "nodes=", "nodes=0", "nodes=-1", "nodes=1e9", "nodes=²", "colour=1", "nodes=" + "9" * 5000):
        with pytest.raises(UsageError, match="SSMC-U16"):
            with_budgets([pair])


def test_the_page_lists_every_budget_with_its_default() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "errors.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", page, re.MULTILINE)
    assert rows == [(name, str(getattr(DEFAULT, name.replace("-", "_")))) for name in NAMES]


def _repeating(g: Graph, value: str) -> str:
    """``value`` after 10^12 steps of an inner loop that changes nothing; ``g`` is the body around it."""
    scalar = [helper.make_tensor_value_info(n, kind, []) for n, kind in (("j", INT), ("more", BOOL))]
    inner = helper.make_graph(
        [helper.make_node("Identity", ["more"], ["more.on"]), helper.make_node("Identity", ["held"], ["kept"])],
        "inner",
        [*scalar, helper.make_tensor_value_info("held", onnx.TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("more.on", BOOL, []), helper.make_tensor_value_info("kept", 1, None)],
    )
    g.nodes.append(helper.make_node("Loop", [g.const(10**12, np.int64), "", value], ["turned"], body=inner))
    return "turned"


def test_a_huge_loop_within_a_loop_over_time_is_ended() -> None:
    """The outer one is rewritten as Scan, and compared with the file."""
    g, u = start()
    _, steps, zeros = ahead(g, u)
    b = g.inner("in.")
    new, y = plain(b, "s", _repeating(b, b.op("Gather", u, "i", axis=1)))
    ends = [b.op("Identity", "go", out="go.on"), b.op("Identity", new), b.op("Identity", y)]
    graph = body(b, [value("s")], [value(ends[0], BOOL), value(ends[1]), value(ends[2])])
    given = [steps, g.const(True, np.bool_), zeros]
    g.nodes.append(helper.make_node("Loop", given, ["s.end", "ys"], name="loop", body=graph))
    _refused(end(g, g.op("Transpose", "ys", perm=[1, 0, 2])), Budgets(seconds=1))


@pytest.mark.parametrize("batch", ["batch", 5])
def test_a_huge_loop_is_ended_while_the_layout_is_measured(batch: str | int) -> None:
    """Which axis is time, and whether an axis of fixed size is free, is found by running the model."""

    def step(b: Graph, state: str, u: str) -> tuple[str, str]:
        return plain(b, state, b.op("Reshape", _repeating(b, u), b.const([-1, 3], np.int64)))

    proto = looped(step)
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [batch, "time", 2]))
    assert "--budget seconds=2" in _refused(proto, Budgets(seconds=1)).remedy


def test_a_huge_loop_in_a_model_of_one_step_is_ended() -> None:
    g = Graph()
    new, branch = g.op("Add", "s", "x", out="next"), g.inner("in.")
    sizes = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["batch", 2]) for n in ("x", "s", "y", "next")]
    then = helper.make_graph(branch.nodes, "then", [], [value(_repeating(branch, new))])
    same = helper.make_graph([helper.make_node("Identity", [new], ["same"])], "else", [], [value("same")])
    given = g.const(True, np.bool_)
    g.nodes.append(helper.make_node("If", [given], ["y"], then_branch=then, else_branch=same))
    graph = helper.make_graph(g.nodes, "step", sizes[:2], sizes[2:], list(g.constants.values()))
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    _refused(proto, Budgets(seconds=1))


def test_a_value_that_is_never_a_number_is_named() -> None:
    g, u = start()
    with pytest.raises(ModelError, match=r"SSMC-M15\]: guilty"):
        import_model(end(g, g.op("Mod", u, g.const(0.0), fmod=1, out="guilty")))


def test_a_weight_that_becomes_no_number_is_named() -> None:
    g, u = start()
    root = g.op("Sqrt", g.const(np.array([1.0] * (H - 1) + [-1.0], np.float32)), out="guilty")
    with pytest.raises(ModelError, match=r"SSMC-M15\]: guilty"):
        import_model(end(g, g.op("Mul", u, root)))


def test_a_weight_of_a_loop_that_becomes_no_number_is_named() -> None:
    """Of one channel, where the others are numbers: the quantizer behind the loop would make a code of it."""

    def unsound(b: Graph, s: str, u: str) -> tuple[str, str]:
        new, y = plain(b, s, u)
        root = b.op("Sqrt", b.const(np.array([1.0] * (H - 1) + [-1.0], np.float32)), out="guilty")
        return new, b.op("Mul", y, root)

    with pytest.raises(ModelError, match=r"SSMC-M15\]: guilty"):
        import_model(looped(unsound, (H,)))

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
from tests.importers.refusing import end, start

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


def _endless() -> onnx.ModelProto:
    """A loop whose condition stays true."""
    g, u = start()
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info("go", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", onnx.TensorProto.FLOAT, ["batch", "time", 3]),
        ],
        [
            helper.make_tensor_value_info("on", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, ["batch", "time", 3]),
        ],
    )
    g.nodes.append(helper.make_node("Loop", ["", g.const(True, np.bool_), u], ["looped"], name="loop", body=body))
    return end(g, "looped")


def test_a_loop_without_end_is_ended() -> None:
    assert "--budget seconds=2" in _refused(_endless(), Budgets(seconds=1)).remedy


def test_a_value_that_is_never_a_number_is_named() -> None:
    g, u = start()
    with pytest.raises(ModelError, match=r"SSMC-M15\]: guilty"):
        import_model(end(g, g.op("Mod", u, g.const(0.0), fmod=1, out="guilty")))

"""Every ``ssmc`` operation: its ONNX body runs, and the program computes the same codes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from ssmc.errors import ModelError, VerificationError
from ssmc.ir.functions import DOMAIN, OPSET, attach_functions, function_proto, input_names, op_types
from ssmc.ir.levels import LEVELS, Level, check_imported, check_level
from ssmc.verify import run_onnx


def call(op_type: str, **values: np.ndarray) -> np.ndarray:
    """Run one operation's body in onnxruntime."""
    names = input_names(op_type)
    assert set(values) == set(names)
    outputs = ["y", *(f"more{i}" for i in range(1, len(function_proto(op_type).output)))]
    node = onnx.helper.make_node(op_type, list(names), outputs, domain=DOMAIN)
    inputs = [
        onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(values[n].dtype), values[n].shape)
        for n in names
    ]
    graph = onnx.helper.make_graph([node], "one", inputs, [onnx.ValueInfoProto(name="y")])
    opsets = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid(DOMAIN, 1)]
    proto = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=[function_proto(op_type)])
    return run_onnx(proto, values)[0]


def doubles(*values: object) -> np.ndarray:
    return np.array(values[0] if len(values) == 1 else values, np.float64)


@pytest.mark.parametrize("op_type", op_types())
def test_every_body_is_valid_onnx(op_type: str) -> None:
    proto = function_proto(op_type)
    assert proto.domain == DOMAIN
    assert proto.name == op_type
    read = {name for node in proto.node for name in node.input}
    inner = {name for node in proto.node for a in node.attribute for n in a.g.node for name in n.input}
    unread = set(proto.input) - read - inner
    assert unread <= ({"W", "W_y"} if op_type.endswith("Parts") else set())  # the whole matrix, for who reads the graph


def test_linear_requantizes_half_to_even() -> None:
    q = call(
        "Linear", x=doubles([[[1, 2], [3, 4], [5, -6]]]), W=doubles([[1, 0], [1, 1]]), gain=doubles([1, 1]),
        step=doubles([2, 2]), offset=doubles([0, 1]), lo=doubles(-2), hi=doubles(3),
    )  # fmt: skip
    assert q.tolist() == [[[0, 2], [2, 3], [2, 0]]]


def test_table_per_channel() -> None:
    table = doubles([[10, 11, 12], [20, 21, 22]])
    assert call("Table", x=doubles([[-1, 1], [0, 0]]), table=table, lo=doubles(-1)).tolist() == [[10, 22], [11, 21]]


def test_table_shared() -> None:
    assert call("Table", x=doubles([[-1, 1]]), table=doubles([[10, 11, 12]]), lo=doubles(-1)).tolist() == [[10, 12]]


def test_mean_divides_once() -> None:
    x = doubles([[[1], [2], [2]], [[1], [1], [1]]])
    q = call("Mean", x=x, gain=doubles([3]), step=doubles([2]), lo=doubles(-8), hi=doubles(7))
    assert q.tolist() == [[2], [2]]  # 2.5 and 1.5: both to even


def test_kernel_delta_read_out_and_saturation() -> None:
    """One state in delta form: R = round(r / 2), r' = clip(r + 2 R + u), y = R + u, by hand."""
    y = call(
        "Kernel", u=doubles([[[1], [1], [1], [1]]]), W=doubles([[[2, 1], [1, 1]]]), gain=doubles([[1, 1]]),
        step=doubles([[1, 1]]), offset=doubles([[0, 0]]), lo=doubles([[-9, -9]]), hi=doubles([[9, 9]]),
        keep=doubles([[1]]), unit=doubles([[2]]), dac_lo=doubles([[-4]]), dac_hi=doubles([[3]]),
        reg_lo=doubles([[-8]]), reg_hi=doubles([[7]]), r0=doubles([[1]]),
    )  # fmt: skip
    # r: 1 (R = 0), 2 (R = 1), 5 (R = 2 from 2.5), 10 -> 7 (R = 3, saturated from 4)
    assert y.tolist() == [[[1], [2], [3], [4]]]


def test_attach_functions_gives_exactly_what_is_used() -> None:
    x = ir.val("x", dtype=ir.DataType.DOUBLE, shape=ir.Shape([1, 2, 3]))
    node = ir.node("Last", [x], domain=DOMAIN)
    model = ir.Model(ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": OPSET}), ir_version=10)
    attach_functions(model)
    attach_functions(model)
    assert [key[1] for key in model.functions] == ["Last"]
    model.graph.remove(node)
    attach_functions(model)
    assert not model.functions


def test_the_level_table_knows_only_operations_that_exist() -> None:
    for allowed, _ in LEVELS.values():
        assert allowed <= set(op_types())


@pytest.mark.parametrize(
    ("level", "op_type", "domain", "legal"),
    [
        (Level.IMPORTED, "Relu", "", True),
        (Level.CANONICAL, "Quant", DOMAIN, True),
        (Level.CANONICAL, "Linear", DOMAIN, False),
        (Level.FOLDED, "Linear", DOMAIN, True),
        (Level.FOLDED, "Relu", "", False),
        (Level.FOLDED, "StateSpace", DOMAIN, False),
        (Level.FOLDED, "KernelPair", DOMAIN, True),
        (Level.FOLDED, "Kernel", DOMAIN, False),
        (Level.FUSED, "Kernel", DOMAIN, True),
        (Level.FUSED, "KernelPair", DOMAIN, False),
        (Level.FUSED, "KernelPairAfter", DOMAIN, True),
        (Level.FUSED, "KernelParts", DOMAIN, False),
        (Level.PLACED, "KernelParts", DOMAIN, True),
        (Level.PLACED, "Quant", DOMAIN, False),
    ],
)
def test_legality(level: Level, op_type: str, domain: str, legal: bool) -> None:
    node = ir.node(op_type, [], domain=domain, name="guilty")
    model = ir.Model(ir.Graph([], [], nodes=[node], opset_imports={"": OPSET}), ir_version=10)
    if legal:
        check_level(model, level, "some-pass")
        return
    with pytest.raises(VerificationError) as caught:
        check_level(model, level, "some-pass")
    assert (caught.value.code, caught.value.node) == ("SSMC-L01", "some-pass")
    assert f"{op_type} (guilty)" in caught.value.fact
    assert level.value in caught.value.fact


def test_no_two_levels_allow_the_same() -> None:
    assert len(set(LEVELS.values())) == len(LEVELS) == len(Level)


def test_a_model_to_compile_holds_nothing_that_passes_make() -> None:
    node = ir.node("Quant", [], domain=DOMAIN, name="guilty")
    model = ir.Model(ir.Graph([], [], nodes=[node], opset_imports={"": OPSET}), ir_version=10)
    with pytest.raises(ModelError) as caught:
        check_imported(model)
    assert (caught.value.code, caught.value.node) == ("SSMC-L02", "guilty")

"""Whatever the layout of the file, the model reads (batch, time, features), as data files hold them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ssmc.errors import ModelError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.build import known_shape
from ssmc.ir.executor import Executor
from ssmc.verify import run_onnx
from tests.compiling import program_of
from tests.graph_writer import Graph
from tests.importers.refusing import CODE, H, codes, plain

X = np.random.default_rng(0).standard_normal((3, 7, 2)).astype(np.float32)
NAMES = ("batch", "time", 2)


def laid_out(
    order: tuple[int, int, int],
    dims: tuple[str | int, ...],
    *,
    pooled: bool = False,
    per_step: tuple[int, ...] = (0, 1, 2),
    spelling: str = "round",
) -> onnx.ModelProto:
    """The same model with its input's axes in ``order`` of (batch, time, features), its output's in ``per_step``."""
    g = Graph(spelling)
    turned = g.op("Transpose", "x", perm=[order.index(axis) for axis in range(3)])
    w = g.op("Transpose", g.weight(codes(H, 2), 0.25, "enc.W"), perm=[1, 0], out="enc.Wt")
    u = g.quant(g.op("MatMul", g.quant(turned, CODE, "xq"), w), CODE, "u")
    (y,) = g.loop(u, [(H,)], lambda b, s, ut: ([plain(b, s[0], ut)[0]], s))
    h = g.op("ReduceMean", g.quant(y, CODE, "y"), g.const([1], np.int64), keepdims=0) if pooled else y
    out = g.quant(h, CODE, "out")
    if per_step != (0, 1, 2):
        out = g.op("Transpose", out, perm=list(per_step), out="result")
    proto = g.finish(2, out, ("batch", H) if pooled else ("a", "b", "c"))
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, list(dims)))
    return proto


ORDERS = [((0, 2, 1), ("batch", 2, "time")), ((1, 0, 2), ("time", "batch", 2)), ((1, 2, 0), ("time", 2, "batch"))]


@pytest.mark.parametrize(("order", "dims"), ORDERS)
@pytest.mark.parametrize("pooled", [True, False])
def test_channels_first_and_time_first(order: tuple[int, int, int], dims: tuple[str | int, ...], pooled: bool) -> None:
    proto = laid_out(order, dims, pooled=pooled)
    (expected,) = run_onnx(proto, {"x": X.transpose(order)})
    assert np.array_equal(Executor(program_of(proto)).run(X), expected)


@pytest.mark.parametrize("varying", [(0,), (1,), (0, 1)])
def test_sizes_below_zero_vary(varying: tuple[int, ...]) -> None:
    """Some exporters write -1 for a size that is not fixed."""
    proto, named = laid_out((0, 1, 2), NAMES), laid_out((0, 1, 2), NAMES)
    for value in (proto.graph.input[0], proto.graph.output[0]):
        for axis in varying:
            value.type.tensor_type.shape.dim[axis].dim_value = -1
    assert np.array_equal(Executor(program_of(proto)).run(X), Executor(program_of(named)).run(X))


def test_features_below_zero_are_refused_as_dynamic() -> None:
    proto = laid_out((0, 1, 2), ("batch", "time", -1))
    with pytest.raises(ModelError, match=r"SSMC-M08.*3 dynamic axes"):
        import_model(proto)


@pytest.mark.parametrize("per_step", [(0, 2, 1), (1, 0, 2)])
def test_outputs_in_another_layout(per_step: tuple[int, int, int]) -> None:
    proto = laid_out((0, 1, 2), NAMES, per_step=per_step)
    (expected,) = run_onnx(proto, {"x": X})
    assert np.array_equal(Executor(program_of(proto)).run(X), expected.transpose(np.argsort(per_step)))


def test_an_output_whose_file_says_another_rank() -> None:
    """No rank follows from the operators: onnx does not know what a quantizer of qonnx writes."""
    proto, lying = (laid_out((0, 1, 2), NAMES, per_step=(1, 0, 2), spelling="qonnx") for _ in range(2))
    del lying.graph.output[0].type.tensor_type.shape.dim[0]
    assert np.array_equal(Executor(program_of(lying)).run(X), Executor(program_of(proto)).run(X))


@pytest.mark.parametrize("dims", [(1, "time", 2), ("batch", 9, 2), (1, 9, 2)])
def test_sizes_that_are_declared_but_not_built_in(dims: tuple[str | int, ...]) -> None:
    proto = laid_out((0, 1, 2), dims, pooled=True)
    model = import_model(proto)
    assert sum(not isinstance(dim, int) for dim in known_shape(model.graph.inputs[0])) == 2
    free = laid_out((0, 1, 2), NAMES, pooled=True)
    assert np.array_equal(Executor(program_of(proto)).run(X), run_onnx(free, {"x": X})[0])


def test_a_size_that_is_built_in() -> None:
    """A reshape to 9 steps: no other number of steps runs."""
    g = Graph()
    flat = g.op("Reshape", g.quant("x", CODE, "xq"), g.const([-1, 18], np.int64))
    h = g.op("Reshape", flat, g.const([-1, 9, 2], np.int64))
    proto = g.finish(2, g.quant(h, CODE, "out"), ("batch", 9, 2))
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 9, 2]))
    with pytest.raises(ModelError, match=r"SSMC-M08.*fixed at 9"):
        import_model(proto)

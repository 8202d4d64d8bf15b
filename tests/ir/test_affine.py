"""Affine forms equal the operation itself, on any input, for any spelling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from ssmc.errors import ModelError
from ssmc.ir.affine import Affine, apply, evaluate, variables

A = np.arange(12.0).reshape(3, 4) - 5
Build = Callable[[], tuple[ir.Node, list[object]]]


def node(op_type: str, count: int, **attributes: object) -> ir.Node:
    inputs = [ir.val(f"v{i}") for i in range(count)]
    return ir.node(op_type, inputs, attributes, outputs=[ir.val("y")], name="guilty")


X = object()
CASES: list[tuple[str, ir.Node, list[object]]] = [
    ("add", node("Add", 2), [X, A[0]]),
    ("sub from a constant", node("Sub", 2), [A, X]),
    ("mul", node("Mul", 2), [A, X]),
    ("div", node("Div", 2), [X, np.array(4.0)]),
    ("neg", node("Neg", 1), [X]),
    ("matmul right", node("MatMul", 2), [X, A.T]),
    ("matmul left", node("MatMul", 2), [A.T, X]),
    ("matmul batched", node("MatMul", 2), [np.stack([A.T, 2 * A.T]), X]),
    ("matmul vector", node("MatMul", 2), [X, A[0]]),
    ("gemm", node("Gemm", 3, transB=1, alpha=2.0, beta=0.5), [X, A, np.ones(3)]),
    ("transpose", node("Transpose", 1, perm=[1, 0]), [X]),
    ("reshape", node("Reshape", 2), [X, np.array([2, -1])]),
    ("slice", node("Slice", 4), [X, np.array([1]), np.array([4]), np.array([1])]),
    ("gather", node("Gather", 2, axis=1), [X, np.array([3, 0])]),
    ("concat", node("Concat", 2, axis=0), [X, A]),
    ("unsqueeze", node("Unsqueeze", 2), [X, np.array([-1])]),
    ("expand", node("Expand", 2), [X, np.array([2, 3, 4])]),
    ("reduce sum", node("ReduceSum", 2, keepdims=0), [X, np.array([-1])]),
    ("reduce mean, keep", node("ReduceMean", 2), [X, np.array([1])]),
    ("reduce mean before opset 18", node("ReduceMean", 1, axes=[1], keepdims=0), [X]),
    ("einsum", node("Einsum", 2, equation="ij,kj->ik"), [X, A]),
    ("einsum, implicit output", node("Einsum", 2, equation="ij,kj"), [X, A]),
    ("einsum, constant first", node("Einsum", 2, equation="kj,ij->ik"), [A, X]),
    ("identity", node("Identity", 1), [X]),
]


@pytest.mark.parametrize(("operation", "operands"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_an_affine_form_is_the_operation(operation: ir.Node, operands: list[object]) -> None:
    form = variables((3, 4), 0)
    (result,) = apply(operation, [form if x is X else x for x in operands])  # type: ignore[misc]
    assert isinstance(result, Affine)
    for seed in range(3):
        x = np.random.default_rng(seed).integers(-9, 9, (3, 4)).astype(np.float64)
        (expected,) = evaluate(operation, [x if v is X else v for v in operands])  # type: ignore[misc]
        got = (result.matrix.apply(x.ravel()) + result.constant).reshape(result.shape)
        assert got.shape == expected.shape
        assert np.array_equal(got, expected)


def test_split_gives_several_forms() -> None:
    operation = ir.node("Split", [ir.val("a")], {"axis": 1, "num_outputs": 2}, outputs=[ir.val("b"), ir.val("c")])
    parts = apply(operation, [variables((3, 4), 0)])
    assert [part.shape for part in parts] == [(3, 2), (3, 2)]


@pytest.mark.parametrize(
    ("operation", "operands"),
    [
        (node("Mul", 2), [X, X]),
        (node("MatMul", 2), [X, X]),
        (node("Div", 2), [A, X]),
        (node("Tanh", 1), [X]),
        (node("Einsum", 2, equation="ij,ij->i"), [X, X]),
        (node("Einsum", 2, equation="...j,kj->...k"), [X, A]),
        (node("Gemm", 2, transA=1), [X, A]),
        (node("ReduceSum", 2), [A, X]),
        (node("ReduceSum", 2), [X, X]),
    ],
    ids=lambda v: v.op_type if isinstance(v, ir.Node) else "",
)
def test_what_is_not_affine_is_named(operation: ir.Node, operands: list[object]) -> None:
    form = variables((3, 4), 0)
    with pytest.raises(ModelError) as caught:
        apply(operation, [form if x is X else x for x in operands])  # type: ignore[misc]
    assert (caught.value.code, caught.value.node) == ("SSMC-S01", "guilty")

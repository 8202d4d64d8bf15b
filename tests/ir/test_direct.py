"""Operations in numpy are those of onnx's reference evaluator, bit for bit."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from ssmc.errors import ModelError
from ssmc.ir.affine import evaluate, referred
from ssmc.ir.direct import _RULES, direct

X = np.random.default_rng(0).standard_normal((2, 1, 3, 4)) * 400


def node(op_type: str, count: int, **attributes: object) -> ir.Node:
    inputs = [ir.val(f"v{i}") for i in range(count)]
    return ir.node(op_type, inputs, attributes, outputs=[ir.val("y")])


def ints(*values: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.array(values, np.int64)


FAR = 9223372036854775807
CASES = [
    (node("Identity", 1), [X]),
    (node("Transpose", 1), [X]),
    (node("Transpose", 1, perm=[3, 0, 2, 1]), [X]),
    (node("Reshape", 2), [X, ints(0, -1)]),
    (node("Reshape", 2), [X, ints(4, 6)]),
    (node("Unsqueeze", 2), [X, ints(-1)]),
    (node("Unsqueeze", 2), [X, ints(0, 5)]),
    (node("Unsqueeze", 2), [X, ints(5, 0)]),
    (node("Squeeze", 2), [X, ints(1)]),
    (node("Squeeze", 2), [X, ints(-3)]),
    (node("Squeeze", 1), [X]),
    (node("Concat", 3, axis=-1), [X, X, -X]),
    (node("Gather", 2, axis=-1), [X, np.array(-1)]),
    (node("Gather", 2), [X, ints(1, 0, 1)]),
    (node("Gather", 2, axis=2), [X, ints(2, 0).reshape(1, 2)]),
    (node("Slice", 3), [X, ints(1), ints(2)]),
    (node("Slice", 4), [X, ints(1, 0), ints(FAR, -1), ints(-1, 2)]),
    (node("Slice", 5), [X, ints(-1), ints(-FAR), ints(3), ints(-1)]),
    (node("Slice", 5), [X, ints(0), ints(FAR), ints(3), ints(2)]),
    (node("Relu", 1), [X]),
    (node("Sigmoid", 1), [X]),
    (node("Sigmoid", 1), [np.array([0.0, -0.0, 1e-300, -1e3, 1e3])]),
    (node("Relu", 1), [np.arange(-3, 3)]),
]


@pytest.mark.filterwarnings("ignore:.*encountered in")  # of the evaluator's own exp
@pytest.mark.parametrize(("operation", "operands"), CASES, ids=lambda v: v.op_type if isinstance(v, ir.Node) else "")
def test_it_is_the_evaluators_result(operation: ir.Node, operands: list[np.ndarray]) -> None:  # type: ignore[type-arg]
    found, (expected,) = direct(operation, operands), referred(operation, operands)
    assert found is not None
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)


def test_every_rule_has_a_case() -> None:
    assert {operation.op_type for operation, _ in CASES} == set(_RULES)


def test_the_evaluator_takes_the_rest() -> None:
    axes = node("Squeeze", 1, axes=[1])
    assert direct(axes, [X]) is None
    assert direct(node("Tanh", 1), [X]) is None
    assert np.array_equal(evaluate(node("Tanh", 1), [X / 400])[0], np.tanh(X / 400))


def test_what_the_evaluator_cannot_run_is_the_fault_of_the_file() -> None:
    with pytest.raises(ModelError, match="SSMC-M03"):
        evaluate(node("LayerNormalization", 2, axis=-1, perm=[0]), [X, X[0, 0, 0]])

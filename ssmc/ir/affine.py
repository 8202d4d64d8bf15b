"""Affine forms of tensors: ``y = matrix @ basis + constant``, propagated through standard ONNX operations.

A loop body is affine in its state and input exactly if every value has such a form. Data movement (reshape, slice,
gather, ...) is run on index tensors by onnx's reference evaluator, so that any spelling of it is understood; linear
operations with a constant operand are sparse Jacobians. Coefficients are float64: products of the float32
constants of a model are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from ssmc.errors import ModelError, first_line
from ssmc.ir.build import REAL_TYPES, node_name
from ssmc.ir.direct import direct
from ssmc.ir.rounding import FloatArray, IntArray, round_half_even
from ssmc.ir.sparse import Sparse, stacked

Constant = NDArray[Any]


@dataclass(frozen=True)
class Affine:
    """``matrix @ basis + constant`` for a tensor of ``shape``, flattened in C order.

    Attributes:
        matrix: (numel, basis size).
        constant: (numel,).
    """

    shape: tuple[int, ...]
    matrix: Sparse
    constant: FloatArray


Operand = Affine | Constant


def variables(shape: tuple[int, ...], start: int, scale: FloatArray | float = 1.0) -> Affine:
    """Fresh basis variables, from column ``start`` on, each times ``scale``."""
    size = int(np.prod(shape, dtype=np.int64))
    data = np.broadcast_to(np.asarray(scale, np.float64), shape).ravel().copy()
    matrix = Sparse.of_terms((size, start + size), np.arange(size), start + np.arange(size), data)
    return Affine(shape, matrix, np.zeros(size))


def apply(node: ir.Node, operands: Sequence[Operand | None]) -> list[Operand]:
    """Results of a node on affine forms and constants.

    Raises:
        ModelError: SSMC-S01 where the result is not affine.
    """
    if not any(isinstance(x, Affine) for x in operands):
        return list(evaluate(node, [x for x in operands if not isinstance(x, Affine)]))
    rule = _RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if rule is None:
        raise not_affine(node, f"operation {node.op_type} of a signal")
    return rule(node, operands)


def not_affine(node: ir.Node, fact: str) -> ModelError:
    """The error for a recurrence that no constant matrix describes."""
    return ModelError(
        "SSMC-S01",
        f"the recurrence is not affine with constant coefficients ({fact})",
        "only time-invariant state-space models compile; input-dependent A (as in Mamba) does not",
        node_name(node),
    )


def _signal(node: ir.Node, operands: Sequence[Operand | None], index: int) -> Affine:
    """The operand that must be a signal; another one is, where this one is constant."""
    form = operands[index]
    if not isinstance(form, Affine):
        raise not_affine(node, f"input {index} of {node.op_type} is a constant, another one a signal")
    return form


def evaluate(node: ir.Node, operands: Sequence[Constant | None]) -> list[Constant]:
    """Run one node on constants as onnx's reference evaluator does, real numbers in float64."""
    if node.domain == "ssmc" and node.op_type == "Dequant":
        codes, scale = (np.asarray(x) for x in operands if x is not None)
        return [codes.astype(np.float64) * scale.astype(np.float64)]
    if node.domain == "ssmc" and node.op_type == "Quant":  # of a constant: in float32, as it runs
        x, scale, out, lo, hi = (np.asarray(x, np.float32) for x in operands if x is not None)
        return [(np.clip(round_half_even(x / scale), lo, hi) * out).astype(np.float64)]
    result = direct(node, [None if x is None else _widen(x) for x in operands])
    return referred(node, operands) if result is None else [result]


def referred(node: ir.Node, operands: Sequence[Constant | None]) -> list[Constant]:
    """The same by the evaluator itself; raises ModelError SSMC-M03 where it cannot run the node."""
    from onnx.reference import ReferenceEvaluator

    proto: onnx.NodeProto = ir.to_proto(node)
    feeds = {name: _widen(x) for name, x in zip(proto.input, operands, strict=True) if name and x is not None}
    opset = onnx.helper.make_opsetid("", 17 if node.op_type == "ReduceMean" and "axes" in node.attributes else 21)
    names = [name for name in proto.input if name]
    graph = onnx.helper.make_graph(
        [proto],
        "one",
        [onnx.ValueInfoProto(name=n) for n in dict.fromkeys(names)],
        [onnx.ValueInfoProto(name=n) for n in proto.output if n],
    )
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    try:
        results = ReferenceEvaluator(model).run(None, feeds)
    except Exception as cause:  # of any class: attributes that the operator does not have, shapes that do not fit
        fact = f"onnx cannot compute {node.op_type}: {first_line(cause)}"
        raise ModelError("SSMC-M03", fact, "export the model again", node_name(node)) from None
    return [_widen(np.asarray(out)) for out in results]


def _widen(x: Constant) -> Constant:
    return x.astype(np.float64) if x.dtype.kind == "f" else x


def _move(node: ir.Node, operands: Sequence[Operand | None]) -> list[Operand]:
    """Data movement: run the node on the indices of its elements."""
    if node.op_type == "Cast" and ir.DataType(node.attributes["to"].as_int()) not in REAL_TYPES:
        raise not_affine(node, "a cast that changes values")
    pool: list[Affine] = []
    indices: list[Constant | None] = []
    offset = 0
    for position, x in enumerate(operands):
        if x is None or (isinstance(x, np.ndarray) and not _is_data(node, position)):
            indices.append(x)
            continue
        form = x if isinstance(x, Affine) else constant_form(np.asarray(x))
        size = len(form.constant)
        indices.append((offset + np.arange(size)).reshape(form.shape))
        pool.append(form)
        offset += size
    matrix = stacked([form.matrix for form in pool])
    constant = np.concatenate([form.constant for form in pool])
    return [_take(matrix, constant, np.asarray(index)) for index in evaluate(node, indices)]


def _is_data(node: ir.Node, position: int) -> bool:
    return node.op_type == "Concat" or position == 0


def _take(matrix: Sparse, constant: FloatArray, index: Constant) -> Affine:
    flat = index.ravel().astype(np.int64)
    return Affine(tuple(index.shape), matrix.take(flat), constant[flat])


def constant_form(x: Constant) -> Affine:
    """A constant tensor as an affine form with no variables."""
    return Affine(x.shape, Sparse.empty(x.size), x.astype(np.float64).ravel())


def broadcast(form: Affine, shape: tuple[int, ...]) -> Affine:
    """The form broadcast to ``shape``."""
    if form.shape == shape:
        return form
    index = np.broadcast_to(np.arange(len(form.constant)).reshape(form.shape), shape)
    return _take(form.matrix, form.constant, index)


def _add(node: ir.Node, operands: Sequence[Operand | None]) -> list[Operand]:
    sign = -1.0 if node.op_type == "Sub" else 1.0
    forms = [x if isinstance(x, Affine) else constant_form(np.asarray(x)) for x in operands]
    shape = np.broadcast_shapes(*(form.shape for form in forms))
    width = max(form.matrix.shape[1] for form in forms)
    first, *others = (broadcast(form, shape) for form in forms)
    total = Affine(shape, first.matrix.widened(width), first.constant)
    for form in others:
        matrix = total.matrix.plus(form.matrix.widened(width), sign)
        total = Affine(shape, matrix, total.constant + sign * form.constant)
    return [total]


def scale_by(form: Affine, factor: FloatArray) -> Affine:
    """Elementwise product with a constant tensor, broadcast both ways."""
    shape = np.broadcast_shapes(form.shape, factor.shape)
    wide = broadcast(form, shape)
    flat = np.broadcast_to(factor, shape).ravel()
    return Affine(shape, wide.matrix.scaled(flat), wide.constant * flat)


def _mul(node: ir.Node, operands: Sequence[Operand | None]) -> list[Operand]:
    forms = [x for x in operands if isinstance(x, Affine)]
    if len(forms) == 2:
        raise not_affine(node, "a product of two signals")
    factor = next(np.asarray(x, np.float64) for x in operands if not isinstance(x, Affine))
    return [scale_by(forms[0], factor)]


def _div(node: ir.Node, operands: Sequence[Operand | None]) -> list[Operand]:
    form, divisor = operands
    if not isinstance(form, Affine) or isinstance(divisor, Affine):
        raise not_affine(node, "a division by a signal")
    return [scale_by(form, 1.0 / np.asarray(divisor, np.float64))]


def _neg(node: ir.Node, operands: Sequence[Operand | None]) -> list[Operand]:
    form = _signal(node, operands, 0)
    return [scale_by(form, np.asarray(-1.0))]


def _matmul(node: ir.Node, operands: Sequence[Operand | None]) -> list[Operand]:
    left, right = operands
    if isinstance(left, Affine) and isinstance(right, Affine):
        raise not_affine(node, "a matrix product of two signals")
    if isinstance(left, Affine):
        return [_contract(left, np.asarray(right, np.float64), signal_left=True)]
    return [_contract(_signal(node, operands, 1), np.asarray(left, np.float64), signal_left=False)]


def _contract(form: Affine, weight: FloatArray, signal_left: bool) -> Affine:
    """MatMul with numpy semantics: products broadcast over (..., i, k, j), then summed over k."""
    x = np.arange(len(form.constant)).reshape(form.shape)
    w = weight
    vector_x, vector_w = x.ndim == 1, w.ndim == 1
    if vector_x:
        x = x[None, :] if signal_left else x[:, None]
    if vector_w:
        w = w[:, None] if signal_left else w[None, :]
    a, b = (x, w) if signal_left else (w, x)
    pairs = np.broadcast_arrays(a[..., :, :, None], b[..., None, :, :])
    index, factor = (pairs[0], pairs[1]) if signal_left else (pairs[1], pairs[0])
    shape = (*index.shape[:-2], index.shape[-1])
    out = np.broadcast_to(np.arange(int(np.prod(shape))).reshape(shape)[..., :, None, :], index.shape)
    jacobian = _jacobian(factor.ravel(), out.ravel(), index.ravel(), (int(np.prod(shape)), x.size))
    kept = list(shape)
    if vector_x if signal_left else vector_w:
        del kept[-2]
    if vector_w if signal_left else vector_x:
        del kept[-1]
    return Affine(tuple(kept), jacobian.times(form.matrix), jacobian.apply(form.constant))


def _reduce_sum(node: ir.Node, operands: Sequence[Operand | None]) -> list[Operand]:
    form = _signal(node, operands, 0)
    axes = operands[1] if len(operands) > 1 and operands[1] is not None else None
    if "axes" in node.attributes:  # ReduceMean before opset 18
        axes = np.asarray(node.attributes["axes"].as_ints())
    if isinstance(axes, Affine):
        raise not_affine(node, "axes that depend on a signal")
    keep = node.attributes["keepdims"].as_int() if "keepdims" in node.attributes else 1
    which = tuple(range(len(form.shape))) if axes is None else tuple(int(a) % len(form.shape) for a in np.ravel(axes))
    kept_shape = tuple(1 if a in which else d for a, d in enumerate(form.shape))
    target = np.broadcast_to(np.arange(int(np.prod(kept_shape))).reshape(kept_shape), form.shape).ravel()
    size = len(form.constant)
    count = size // max(int(np.prod(kept_shape)), 1)
    weight = 1.0 / count if node.op_type == "ReduceMean" else 1.0
    terms = target, np.arange(size), np.full(size, weight)
    jacobian = Sparse.of_terms((int(np.prod(kept_shape)), size), *terms)
    shape = kept_shape if keep else tuple(d for a, d in enumerate(form.shape) if a not in which)
    return [Affine(shape, jacobian.times(form.matrix), jacobian.apply(form.constant))]


def _einsum(node: ir.Node, operands: Sequence[Operand | None]) -> list[Operand]:
    """Two operands, one constant: the Jacobian is the einsum of the constant with the identity."""
    if len(operands) != 2 or all(isinstance(x, Affine) for x in operands):
        raise not_affine(node, "an einsum of signals")
    terms, arrow, out = node.attributes["equation"].as_string().replace(" ", "").partition("->")
    if not arrow:  # numpy's rule: the letters that occur once, in alphabetical order
        out = "".join(sorted(letter for letter in terms if letter != "," and terms.count(letter) == 1))
    specs = terms.split(",")
    position = next(i for i, x in enumerate(operands) if isinstance(x, Affine))
    form, weight = _signal(node, operands, position), np.asarray(operands[1 - position], np.float64)
    if "." in node.attributes["equation"].as_string():
        raise not_affine(node, "an einsum with ellipsis")
    sizes: dict[str, int] = {}
    for spec, shape in zip((specs[position], specs[1 - position]), (form.shape, weight.shape), strict=True):
        for letter, size in zip(spec, shape, strict=True):
            sizes[letter] = max(sizes.get(letter, 1), size)
    result = tuple(sizes[letter] for letter in out)
    factor = weight.ravel()[_einsum_index(specs[1 - position], weight.shape, sizes)]
    index = _einsum_index(specs[position], form.shape, sizes)
    jacobian = _jacobian(factor, _einsum_index(out, result, sizes), index, (int(np.prod(result)), len(form.constant)))
    return [Affine(result, jacobian.times(form.matrix), jacobian.apply(form.constant))]


def _einsum_index(spec: str, shape: tuple[int, ...], sizes: dict[str, int]) -> Constant:
    """Flat index into an operand for every term of the sum, the terms spread over all letters in turn."""
    index = np.zeros((1,) * len(sizes), np.int64)
    stride = 1
    for letter, size in zip(reversed(spec), reversed(shape), strict=True):
        axis = list(sizes).index(letter)
        steps = np.arange(sizes[letter]) * (stride if size > 1 else 0)
        index = index + steps.reshape([-1 if a == axis else 1 for a in range(len(sizes))])
        stride *= size
    return np.broadcast_to(index, tuple(sizes.values())).ravel()


def _jacobian(factor: Constant, out: IntArray, index: IntArray, shape: tuple[int, int]) -> Sparse:
    """The terms ``factor`` from element ``index`` to element ``out``."""
    kept = np.flatnonzero(factor)
    return Sparse.of_terms(shape, out[kept], index[kept], factor[kept].astype(np.float64))


def _gemm(node: ir.Node, operands: Sequence[Operand | None]) -> list[Operand]:
    def option(name: str, default: float) -> float:
        return node.attributes[name].value if name in node.attributes else default

    a, b = operands[0], operands[1]
    if not isinstance(a, Affine) or isinstance(b, Affine) or option("transA", 0):
        raise not_affine(node, "a Gemm whose matrix is a signal")
    weight = np.asarray(b, np.float64) * option("alpha", 1.0)
    out = _contract(a, weight.T if option("transB", 0) else weight, signal_left=True)
    bias = operands[2] if len(operands) > 2 else None
    if bias is None or isinstance(bias, Affine):
        return [out] if bias is None else _add(node, [out, bias])
    return _add(node, [out, np.asarray(bias, np.float64) * option("beta", 1.0)])


_MOVES = ("Reshape", "Transpose", "Slice", "Gather", "Concat", "Split", "Squeeze", "Unsqueeze", "Expand", "Flatten")
_SAME = ("Identity", "Cast", "Dropout")
Rule = Callable[[ir.Node, Sequence[Operand | None]], list[Operand]]
_RULES: dict[str, Rule] = {
    **dict.fromkeys((*_MOVES, *_SAME), _move),
    **dict.fromkeys(("Add", "Sub", "Sum"), _add),
    "Mul": _mul,
    "Div": _div,
    "Neg": _neg,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "ReduceSum": _reduce_sum,
    "ReduceMean": _reduce_sum,
    "Einsum": _einsum,
}

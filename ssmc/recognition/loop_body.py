"""What a loop body computes: its quantizers, and affine forms between them.

The body is evaluated once with batch 1 on affine forms (`ssmc.ir.affine`). The basis grows: first the loop's
states and inputs; then, at every quantizer or saturation, its output codes. So every remaining value is affine in
{states, inputs, codes}, with the quantizers' own inputs as further rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ssmc.ir.affine import Affine, Constant, Operand, apply, broadcast, constant_form, evaluate, not_affine, variables
from ssmc.ir.build import constant_array, is_op, node_name
from ssmc.ir.rounding import FloatArray


@dataclass(frozen=True)
class Block:
    """A run of basis variables.

    Attributes:
        kind: ``state`` or ``input`` (real values), ``quant`` (codes; real value ``out_scale * code``) or ``clip``.
        start, shape: columns ``start .. start + numel``.
        form: input of the quantizer or clip, else None.
        scale, out_scale: per element, for ``quant``.
        lo, hi: range per element: codes for ``quant``, real values for ``clip``.
        node: name of the node.
    """

    kind: str
    start: int
    shape: tuple[int, ...]
    form: Affine | None = None
    scale: FloatArray = field(default_factory=lambda: np.ones(0))
    out_scale: FloatArray = field(default_factory=lambda: np.ones(0))
    lo: FloatArray = field(default_factory=lambda: np.zeros(0))
    hi: FloatArray = field(default_factory=lambda: np.zeros(0))
    node: str = ""

    @property
    def size(self) -> int:
        """Number of variables."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class LoopBody:
    """Blocks of the basis, and the affine forms of the next states and of the outputs."""

    blocks: tuple[Block, ...]
    next_states: tuple[Affine, ...]
    outputs: tuple[Affine, ...]


def analyse(body: ir.Graph, state_shapes: list[tuple[int, ...]], input_shapes: list[tuple[int, ...]]) -> LoopBody:
    """Evaluate a Scan body on affine forms; shapes are those of one sample (batch 1).

    Raises:
        ModelError: SSMC-S01 naming the first node that is not affine with constant coefficients.
    """
    environment: dict[ir.Value, Operand] = {}
    blocks: list[Block] = []
    for value, shape, kind in zip(
        body.inputs,
        state_shapes + input_shapes,
        ["state"] * len(state_shapes) + ["input"] * len(input_shapes),
        strict=True,
    ):
        environment[value] = _new_block(blocks, kind, shape)
    for node in body:
        operands = [_operand(environment, value) for value in node.inputs]
        for value, result in zip(node.outputs, _evaluate(node, operands, blocks), strict=False):
            environment[value] = result
    forms = [_form(environment, value) for value in body.outputs]
    count = len(state_shapes)
    return LoopBody(tuple(blocks), tuple(forms[:count]), tuple(forms[count:]))


def _new_block(blocks: list[Block], kind: str, shape: tuple[int, ...], **rest: object) -> Affine:
    start = blocks[-1].start + blocks[-1].size if blocks else 0
    block = Block(kind, start, shape, **rest)  # type: ignore[arg-type]
    blocks.append(block)
    scale = block.out_scale.reshape(shape) if kind == "quant" else 1.0
    return variables(shape, start, scale)


def _operand(environment: Mapping[ir.Value, Operand], value: ir.Value | None) -> Operand | None:
    return None if value is None else _known(environment, value)


def _known(environment: Mapping[ir.Value, Operand], value: ir.Value) -> Operand:
    if value in environment:
        return environment[value]
    array = constant_array(value)
    return outer_constant(value) if array is None else array


def outer_constant(value: ir.Value) -> Constant:
    """A captured constant: integer weights behind ``ssmc::Dequant`` and what is computed from them, in float64."""
    producer = value.producer()
    array = _computed(value)
    if array is None:
        node = producer if producer is not None else next(iter(value.uses())).node
        raise not_affine(node, f"the body reads '{value.name}', which is not constant")
    return array


def _computed(value: ir.Value) -> Constant | None:
    array, producer = constant_array(value), value.producer()
    if array is not None or producer is None:
        return array
    inputs = [_computed(v) if v is not None else None for v in producer.inputs]
    if any(v is not None and x is None for v, x in zip(producer.inputs, inputs, strict=True)):
        return None
    return evaluate(producer, inputs)[producer.outputs.index(value)]


def _form(environment: Mapping[ir.Value, Operand], value: ir.Value) -> Affine:
    operand = _known(environment, value)
    return operand if isinstance(operand, Affine) else constant_form(operand)


def _evaluate(node: ir.Node, operands: list[Operand | None], blocks: list[Block]) -> list[Operand]:
    x = operands[0] if operands else None
    if is_op(node, "Quant", domain="ssmc") and isinstance(x, Affine):
        return [_quantizer(node, x, operands[1:], blocks)]
    if is_op(node, "Clip", "Max", "Min") and any(isinstance(o, Affine) for o in operands):
        return [_clip(node, operands, blocks)]
    return apply(node, operands)


def _quantizer(node: ir.Node, x: Affine, rest: list[Operand | None], blocks: list[Block]) -> Affine:
    if any(isinstance(value, Affine) for value in rest):
        raise not_affine(node, "a scale that depends on a signal")
    scale, out_scale, lo, hi = (np.asarray(value, np.float64) for value in rest)
    shape = np.broadcast_shapes(x.shape, scale.shape, out_scale.shape)
    x = broadcast(x, shape)
    flat = {
        key: np.broadcast_to(array, shape).ravel()
        for key, array in {"scale": scale, "out_scale": out_scale, "lo": lo, "hi": hi}.items()
    }
    return _new_block(blocks, "quant", shape, form=x, node=node_name(node), **flat)


def _clip(node: ir.Node, operands: list[Operand | None], blocks: list[Block]) -> Affine:
    signals = [o for o in operands if isinstance(o, Affine)]
    if len(signals) != 1:
        raise not_affine(node, "a comparison of two signals")
    x = signals[0]
    bounds = _bounds(node, operands)
    x = broadcast(x, np.broadcast_shapes(x.shape, *(bound.shape for bound in bounds)))
    lo, hi = (np.broadcast_to(bound, x.shape).ravel() for bound in bounds)
    previous = _block_behind(x, blocks)
    if previous is not None and _read_once(node):  # Max then Min is one saturation
        merged = Block("clip", previous.start, previous.shape, previous.form, lo=np.maximum(previous.lo, lo),
                       hi=np.minimum(previous.hi, hi), node=previous.node)  # fmt: skip
        blocks[blocks.index(previous)] = merged
        return x
    return _new_block(blocks, "clip", x.shape, form=x, node=node_name(node), lo=lo, hi=hi)


def _read_once(node: ir.Node) -> bool:
    """Whether nothing else reads what this node saturates."""
    signal = next(v for v in node.inputs if v is not None and constant_array(v) is None)
    return len(signal.uses()) == 1 and not signal.is_graph_output()


def _bounds(node: ir.Node, operands: list[Operand | None]) -> tuple[FloatArray, FloatArray]:
    """Saturation bounds of Clip, Max or Min, each broadcastable to the signal."""
    free = np.asarray(-np.inf), np.asarray(np.inf)
    if node.op_type == "Clip":
        given = (*operands[1:], None, None)
        lo, hi = (np.asarray(end if v is None else v, np.float64) for v, end in zip(given[:2], free, strict=True))
        return lo, hi
    constants = [np.asarray(o, np.float64) for o in operands if o is not None and not isinstance(o, Affine)]
    if len(constants) != 1:
        raise not_affine(node, f"{node.op_type} of {len(operands)} operands")
    return (constants[0], free[1]) if node.op_type == "Max" else (free[0], constants[0])


def _block_behind(x: Affine, blocks: list[Block]) -> Block | None:
    """The clip block whose output ``x`` is, element for element."""
    for block in blocks:
        if block.kind == "clip" and block.size == len(x.constant) and not x.constant.any():
            same = np.array_equal(x.matrix.columns, block.start + np.arange(block.size))
            if same and (x.matrix.counts == 1).all() and (x.matrix.values == 1.0).all():
                return block
    return None

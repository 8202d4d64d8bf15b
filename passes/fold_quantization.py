"""Fold scales, biases and non-linear functions into integer operations on codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ssmc.errors import ModelError
from ssmc.folding.emit import Emitter
from ssmc.folding.finish import finish
from ssmc.folding.head_rules import HEAD_RULES
from ssmc.folding.norm_rules import RULES
from ssmc.folding.signals import Coded, Headed, Raw, Signal, Tokens
from ssmc.ir.build import is_op, node_name
from ssmc.pipeline import Effect, Level, Pass, PassResult
from ssmc.recognition.axes import name_axes

EVERY = {**RULES, **HEAD_RULES}
#: what may follow a softmax or argmax: other layouts, and the argmax or logarithm of a softmax
BEHIND_HEADS = ("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast", "Transpose", "ArgMax", "Log")


def supported() -> list[tuple[str, str]]:
    """Operators that have a rule, by name, and their constraints: the first lines of the rules' docstrings."""
    named = ((f"{domain}::{op}" if domain else op, rule) for (domain, op), rule in EVERY.items())
    return sorted((op, str(rule.__doc__).splitlines()[0]) for op, rule in named)


@dataclass(frozen=True)
class FoldQuantization(Pass):
    """Rewrite the real-valued graph as a graph on integer codes.

    Between two quantizers only affine maps, one non-linear function of one code, a product or a sum of two
    codes, a mean over time, rows of an embedding or a state-space kernel can stand, and behind them a clamp (the
    quantizer's range); each becomes one ``ssmc`` operation on codes whose integer weights are the codes that were
    trained, with every scale, bias and batch norm in its requantization.

    Before: canonical graph, recurrences raised.
    After: level *folded*: values are codes with axes (batch, time, channel), or (batch, channel) after a reduction.
    Preserves: the meaning. BOUNDED where weights had to be snapped to the grid that float32 rounded, or an
        output without a quantizer keeps its accumulator grid.
    Refuses: signals without a quantizer (SSMC-Q06), weights on no grid (SSMC-Q05), operations that mix time
        (SSMC-T01) or have no integer form (SSMC-T02), each by node.

    Attributes:
        trial: the quantizers stand for those that the data will give: functions may be undefined at some codes.
    """

    trial: bool = False

    name = "fold-quantization"
    effect = Effect.BOUNDED
    requires = Level.CANONICAL
    level = Level.FOLDED

    def run(self, model: ir.Model) -> PassResult:
        """Walk the graph once and emit a new one."""
        axes = name_axes(model)
        source = model.graph.inputs[0]
        output = model.graph.outputs[0]
        emitter = Emitter(source, axes, self.trial, used={str(output.name)})
        roles = axes.roles[str(source.name)]
        if roles[:2] != ("N", "T"):
            raise ModelError(
                "SSMC-M06", "the input is not (batch, time, features)", "transpose it in the model", str(source.name)
            )
        size = axes.shapes[str(source.name)][2]
        real = source.dtype is ir.DataType.FLOAT
        first = Raw(roles, size, np.ones(size)) if real else Tokens(roles, size)
        signals: dict[ir.Value, Signal] = {source: first}
        for node in model.graph:
            _visit(node, signals, emitter)
        if output not in signals:
            raise ModelError("SSMC-Q06", "the output does not depend on the input", "export again", str(output.name))
        graph = finish(emitter, signals[output], output)
        effect = Effect.EXACT if emitter.exact else Effect.BOUNDED
        folded = ir.Model(graph, ir_version=model.ir_version, producer_name="ssmc")
        return PassResult(folded, tuple(emitter.applied), effect=effect, witnesses=emitter.witnesses)


def _visit(node: ir.Node, signals: dict[ir.Value, Signal], emitter: Emitter) -> None:
    """Give every output of a node its signal; nodes on constants alone are looked up when they are used."""
    if not any(value in signals for value in node.inputs if value is not None):
        return
    if is_op(node, "Shape"):
        return
    rule = EVERY.get((node.domain if node.domain != "ai.onnx" else "", node.op_type))
    if rule is None:
        raise ModelError(
            "SSMC-T02",
            f"operation {node.op_type} has no integer form here",
            "quantize its input and output, or move it out of the model",
            node_name(node),
        )
    operands = [signals.get(v) if v is not None else None for v in node.inputs]
    headed = next((x.head for x in operands if isinstance(x, Headed)), None)
    if headed is not None and node.op_type not in BEHIND_HEADS:
        fact = f"{node.op_type} reads a {headed}, which is computed outside the integer program"
        raise ModelError("SSMC-T02", fact, "leave softmax and argmax to the end of the model", node_name(node))
    results = rule(node, operands, emitter)
    for value, signal in zip(node.outputs, results, strict=False):
        signals[value] = signal
        if isinstance(signal, Coded):
            emitter.witness(signal, str(value.name))

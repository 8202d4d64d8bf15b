"""Rules for what a model does to its outputs after the last quantizer: softmax, log-softmax and argmax."""

from __future__ import annotations

import onnx_ir as ir

from ssmc.folding.elementwise import elementwise
from ssmc.folding.emit import Emitter
from ssmc.folding.operands import Operands, Rule, attribute, refuse, signal_of
from ssmc.folding.signals import Headed, Signal
from ssmc.ir.operations.dequantize import Head

HEADS: dict[str, Head] = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "ArgMax": "argmax"}


def _head(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Over the channels, at the end of the model: computed after dequantization."""
    signal = signal_of(node, operands)
    axis = attribute(node, "axis", 0 if node.op_type == "ArgMax" else -1) % len(signal.roles)
    if signal.roles[axis] != "C":
        raise refuse(node, f"{node.op_type} over axis {axis}, which is not the channels", "take it over the channels")
    if isinstance(signal, Headed) and (node.op_type != "ArgMax" or signal.head == "argmax"):
        raise refuse(node, f"{node.op_type} of a {signal.head}", "end the model with one of them")
    source = signal.source if isinstance(signal, Headed) else signal
    if node.op_type != "ArgMax":
        return [Headed(signal.roles, signal.size, source, HEADS[node.op_type])]
    if attribute(node, "select_last_index", 0):
        raise refuse(node, "an argmax that prefers the last of equals", "prefer the first, which is the default")
    kept = ("1",) if attribute(node, "keepdims", 1) else ()
    roles = (*signal.roles[:axis], *kept, *signal.roles[axis + 1 :])
    return [Headed(roles, 1, source, "argmax")]


def _log(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Of a softmax at the end of the model; any other is a function of one code."""
    signal = signal_of(node, operands)
    if not isinstance(signal, Headed):
        return elementwise(node, operands, emitter)
    if signal.head != "softmax":
        raise refuse(node, f"the logarithm of a {signal.head}", "end the model with one of them")
    return [Headed(signal.roles, signal.size, signal.source, "log_softmax")]


HEAD_RULES: dict[tuple[str, str], Rule] = {**{("", op): _head for op in HEADS}, ("", "Log"): _log}

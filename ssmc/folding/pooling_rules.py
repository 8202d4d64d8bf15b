"""Rules for what ends time: sum, mean and largest value of a sequence, and sum and mean of its last steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ssmc.folding.emit import Emitter, Grid
from ssmc.folding.layout_rules import without
from ssmc.folding.operands import Operands, Rule, attribute, per_channel, real_constant, refuse
from ssmc.folding.signals import Coded, Convolved, Ending, Mean, Newest, Signal, Sliding, Total
from ssmc.recognition.axes import Roles


def _time(node: ir.Node, operands: Operands) -> tuple[Coded | Ending, Roles]:
    """A quantized value that is reduced over time, and the roles of the result."""
    signal, everywhere = operands[0], node.op_type.startswith("Global")
    if isinstance(signal, Coded | Ending):
        axes = list(range(2, len(signal.roles))) if everywhere else _axes(node)
        keep = everywhere or attribute(node, "keepdims", 1)
        if len(axes) == 1 and signal.roles[axes[0]] == "T":
            return signal, without(signal.roles, axes[0] % len(signal.roles), "1" if keep else None)
    fact = f"{node.op_type} over an axis that is not time, or of an unquantized value"
    raise refuse(node, fact, "quantize, then reduce over time", "SSMC-T01")


def _axes(node: ir.Node) -> list[int]:
    if "axes" in node.attributes:
        return list(node.attributes["axes"].as_ints())
    given = node.inputs[1] if len(node.inputs) > 1 else None
    return [] if given is None else real_constant(given, node).astype(np.int64).ravel().tolist()


def _mean(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Over time, of a quantized value, or of its last steps ``x[:, -k:]``."""
    signal, roles = _time(node, operands)
    if isinstance(signal, Coded):
        return [Mean(roles, signal.size, signal, signal.scale, signal.offset)]
    source = signal.source
    means = Sliding(source.roles, source.size, source, source.scale, source.offset, signal.width)
    return [Newest(roles, source.size, means)]


def _total(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Over time, of a quantized value, or of its last steps ``x[:, -k:]``."""
    signal, roles = _time(node, operands)
    if isinstance(signal, Coded):
        return [Total(roles, signal.size, signal, signal.scale, signal.offset)]
    source = signal.source
    if source.offset.any():
        raise refuse(node, "a sum over time of a value plus a constant", "quantize the value itself")
    ones = np.ones((source.size, signal.width))
    return [Newest(roles, source.size, Convolved(source.roles, source.size, source, ones, source.offset))]


def _largest(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Over time, of a quantized value: the largest code of each channel."""
    signal, roles = _time(node, operands)
    if isinstance(signal, Ending):
        raise refuse(node, f"{node.op_type} of the last steps alone", "take their mean or sum", "SSMC-T01")
    name = str(node.outputs[0].name)
    return [replace(emitter.largest(_upright(signal, name, emitter), name), roles=roles)]


def _smallest(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Over time, of a quantized value: what is largest of its negation, negated."""
    minus = [None if signal is None else signal.scaled(np.full(signal.size, -1.0)) for signal in operands]
    (found,) = _largest(node, minus, emitter)
    return [found.scaled(np.full(found.size, -1.0)) or found]


def _upright(signal: Coded, name: str, emitter: Emitter) -> Coded:
    """The same value with codes that grow with it: those of negated channels are negated."""
    if (signal.scale > 0).all():
        return signal
    step, zero = np.abs(signal.scale), np.zeros(signal.size)
    grid = Grid(step, step, min(signal.lo, -signal.hi), max(signal.hi, -signal.lo))
    codes = emitter.close(replace(signal, offset=zero), grid, f"{name}.negated")
    return replace(codes, offset=signal.offset)


def _moving_average(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Exponentially weighted, from the first step on, of a value on the grid that it rounds to."""
    signal, (unit, step, lo, hi) = operands[0], (real_constant(value, node) for value in node.inputs[1:])
    if not isinstance(signal, Coded) or signal.offset.any() or not step.all():
        raise refuse(node, "an exponentially weighted mean or its input is not quantized", "quantize both", "SSMC-Q06")
    if (per_channel(step, signal, node) != signal.scale).any() or signal.lo < float(lo) or signal.hi > float(hi):
        fact = "an exponentially weighted mean rounds on another grid than that of its input, or clips"
        raise refuse(node, fact, "round and clip it as its input's quantizer does", "SSMC-Q06")
    return [emitter.smoothed(signal, float(unit), str(node.outputs[0].name))]


POOLING_RULES: dict[tuple[str, str], Rule] = {
    **{("", op): _mean for op in ("ReduceMean", "GlobalAveragePool")},
    **{("", op): _largest for op in ("ReduceMax", "GlobalMaxPool")},
    ("", "ReduceMin"): _smallest,
    ("", "ReduceSum"): _total,
    ("ssmc", "MovingAverage"): _moving_average,
}

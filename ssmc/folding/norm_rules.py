"""Rules for normalization over channels and causal convolution over time; they come before `rules`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ssmc.folding import rules
from ssmc.folding.convolutions import convolved
from ssmc.folding.delays import delayed, keeps_every_step, last_steps_cut, without_last_steps
from ssmc.folding.emit import Emitter
from ssmc.folding.operands import Operands, Rule, channel_axis, per_channel, real_constant, refuse
from ssmc.folding.signals import Coded, Convolved, Mapped, Mixed, Norm, Padded, Shortened, Signal, Statistic
from ssmc.ir.rounding import IntArray


def _norm_source(node: ir.Node, signal: Signal | None) -> Coded:
    if not isinstance(signal, Coded):
        raise refuse(node, "the input of a normalization is not quantized", "quantize it", "SSMC-Q06")
    if signal.offset.any() or (signal.scale != signal.scale[0]).any():
        raise refuse(node, "the channels of a normalization have different scales", "quantize its input per tensor")
    return signal


def _layer_norm(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Over the channels as last axis, of a quantized value."""
    source = _norm_source(node, operands[0])
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    if axis % len(source.roles) != channel_axis(source.roles) or source.roles[-1] != "C":
        raise refuse(node, f"a normalization over axis {axis}", "normalize the channels, as last axis", "SSMC-T01")
    gain = per_channel(real_constant(node.inputs[1], node), source, node)
    biased = len(node.inputs) > 2 and node.inputs[2] is not None
    offset = per_channel(real_constant(node.inputs[2], node), source, node) if biased else np.zeros(source.size)
    centred = node.op_type == "LayerNormalization"
    return [Norm(source.roles, source.size, source, centred, epsilon, gain, offset)]


def _mean(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Over time, of a quantized value; over channels as the mean of x^2 in an RMS norm."""
    signal = operands[0]
    if not isinstance(signal, Mapped) or not _is_square(signal):
        return rules.RULES["", "ReduceMean"](node, operands, emitter)
    given = node.inputs[1] if len(node.inputs) > 1 else None
    axes = [] if given is None else [int(a) % len(signal.roles) for a in np.ravel(real_constant(given, node))]
    keeps = "keepdims" not in node.attributes or node.attributes["keepdims"].as_int() == 1
    if axes != [channel_axis(signal.roles)] or not keeps:
        raise refuse(node, f"a mean square over axes {axes}", "normalize the channels, keeping the axis", "SSMC-T01")
    roles = tuple("1" if axis in axes else role for axis, role in enumerate(signal.roles))
    return [Statistic(roles, 1, _norm_source(node, signal.source), 0.0, "mean square")]


def _is_square(signal: Mapped) -> bool:
    identity = signal.source.mapped()
    return identity is not None and np.array_equal(signal.table, identity.table**2)


def _root(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Of a quantized value, with a constant exponent; in an RMS norm, of the mean of x^2 plus epsilon."""
    signal = operands[0]
    if not isinstance(signal, Statistic):
        rule = rules.RULES.get(("", node.op_type))
        if rule is None:
            raise refuse(node, f"{node.op_type} of a signal has no integer form", "quantize its input")
        return rule(node, operands, emitter)
    stage = _STAGES.get((signal.stage, _spelling(node)))
    if stage is None:
        raise refuse(node, f"{node.op_type} of a {signal.stage}", "write x / sqrt(mean(x^2) + eps)")
    return [replace(signal, stage=stage)]


_STAGES = {
    ("mean square", "Sqrt"): "root",
    ("root", "Reciprocal"): "inverse root",
    ("mean square", "Pow -0.5"): "inverse root",
    ("mean square", "Pow 0.5"): "root",
}


def _spelling(node: ir.Node) -> str:
    if node.op_type != "Pow":
        return node.op_type
    return f"Pow {float(np.ravel(real_constant(node.inputs[1], node))[0]):g}"


def _mul(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """By constants, one a channel; of two quantized values, or functions of one; in an RMS norm, x * (1 / rms)."""
    statistic = next((x for x in operands if isinstance(x, Statistic)), None)
    other = next((x for x in operands if isinstance(x, Coded)), None)
    if statistic is None:
        return rules.RULES["", "Mul"](node, operands, emitter)
    return [_rms_norm(node, other, statistic, "inverse root")]


def _div(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """By constants other than 0, one a channel; in an RMS norm, x / rms or 1 / rms."""
    numerator, statistic = operands
    if not isinstance(statistic, Statistic):
        return rules.RULES["", "Div"](node, operands, emitter)
    if numerator is None and statistic.stage == "root" and (real_constant(node.inputs[0], node) == 1).all():
        return [replace(statistic, stage="inverse root")]
    return [_rms_norm(node, numerator, statistic, "root")]


def _rms_norm(node: ir.Node, x: Signal | None, statistic: Statistic, stage: str) -> Norm:
    source = statistic.source
    own = isinstance(x, Coded) and x.value is source.value and not x.offset.any()
    if not isinstance(x, Coded) or not own or statistic.stage != stage:
        raise refuse(node, "a norm divides something other than its own input", "write x / sqrt(mean(x^2) + eps)")
    return Norm(x.roles, x.size, source, False, statistic.epsilon, x.scale / source.scale, np.zeros(x.size))


def _conv(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Over time: kernel 1 over channels, or causal, depthwise or small and dense, with stride and dilation."""
    weight = real_constant(node.inputs[1], node)
    if operands[0] is None or weight.ndim != 3 or weight.shape[2] == 1:
        return rules.RULES["", "Conv"](node, operands, emitter)
    return [convolved(node, operands[0], weight)]


def _pad(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """By zeros before the first step, in front of a convolution, or in place of as many last steps: a delay."""
    signal = operands[0]
    pads = real_constant(node.inputs[1], node).astype(np.int64)
    axes = node.inputs[3] if len(node.inputs) > 3 else None
    if axes is not None and signal is not None:
        pads = _of_every_axis(pads, real_constant(axes, node).astype(np.int64), len(signal.roles))
    if signal is not None and not pads.any():
        return [signal]
    value = node.inputs[2] if len(node.inputs) > 2 else None
    zero = value is None or not real_constant(value, node).any()
    constant = "mode" not in node.attributes or node.attributes["mode"].as_string() == "constant"
    if isinstance(signal, Coded | Shortened) and zero and constant and len(pads) == 2 * len(signal.roles):
        before, after = pads[: len(signal.roles)], pads[len(signal.roles) :]
        time = signal.roles.index("T") if "T" in signal.roles else 0
        source, cut = (signal.source, signal.cut) if isinstance(signal, Shortened) else (signal, 0)
        steps, cut = int(before[time]), cut - int(after[time])
        if np.abs(pads).sum() == steps + abs(int(after[time])) and cut == steps > 0:
            return [delayed(node, source, steps, emitter)]
        if not after.any() and before.sum() == steps and not cut:
            return [Padded(signal.roles, signal.size, source, steps)]
    raise refuse(node, "a padding that is not zeros before the first step", "pad time with zeros, before", "SSMC-T01")


def _of_every_axis(pads: IntArray, axes: IntArray, rank: int) -> IntArray:
    """Paddings before and behind some axes as those of all."""
    every = np.zeros((2, rank), np.int64)
    every[:, axes] = pads.reshape(2, -1)
    return every.ravel()


def _slice(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Of neighbouring channels, of all steps or the last, of a tail that a convolution's padding or a delay left."""
    signal = operands[0]
    if signal is not None and keeps_every_step(node, signal, emitter):
        return [signal]
    shorter = without_last_steps(node, signal, emitter)
    if shorter is not None:
        return [shorter]
    if not isinstance(signal, Convolved | Mixed) or not signal.tail:
        return rules.RULES["", "Slice"](node, operands, emitter)
    if last_steps_cut(node, signal, emitter) != signal.tail:
        raise refuse(node, "a slice that does not cut the convolution's tail", "keep the first T steps", "SSMC-T01")
    return [replace(signal, tail=0)]


RULES: dict[tuple[str, str], Rule] = {
    **rules.RULES,
    ("", "LayerNormalization"): _layer_norm,
    ("", "RMSNormalization"): _layer_norm,
    ("", "ReduceMean"): _mean,
    **{("", op): _root for op in ("Sqrt", "Reciprocal", "Pow")},
    ("", "Mul"): _mul,
    ("", "Div"): _div,
    ("", "Conv"): _conv,
    ("", "Pad"): _pad,
    ("", "Slice"): _slice,
}

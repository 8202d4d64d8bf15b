"""Causal convolutions over time as signals: depthwise, or dense over few channels; strides and missing padding.

A convolution is computed at the rate of its input. A stride, and padding that does not reach back to the first step,
leave steps out: then only every k-th is picked, from the first on that the convolution gives.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssmc.folding.operands import attribute, real_constant, refuse
from ssmc.folding.signals import Coded, Convolved, Mixed, Padded, Picked, Signal
from ssmc.ir.rounding import FloatArray

MOST_STATES = 256  # past inputs of all channels that a dense convolution may keep


def convolved(node: ir.Node, signal: Signal, weight: FloatArray) -> Signal:
    """The output of a ``Conv`` node on (N, C, T); weight (out, C or 1, K).

    Raises:
        ModelError: SSMC-T01 where it looks ahead, or keeps too much; SSMC-Q06 where its input is not quantized.
    """
    stride, dilation = (_over_time(node, key) for key in ("strides", "dilations"))
    taps = _dilated(weight, dilation)[..., ::-1].copy()
    width, groups = taps.shape[2], attribute(node, "group", 1)
    pads = tuple(node.attributes["pads"].as_ints()) if "pads" in node.attributes else (0, 0)
    before, source = (signal.before, signal.source) if isinstance(signal, Padded) else (0, signal)
    if not isinstance(source, Coded) or source.offset.any():
        raise refuse(node, "the input of a convolution is not quantized", "quantize it", "SSMC-Q06")
    first = width - 1 - before - pads[0]
    tail = pads[1] if first == 0 and stride == 1 and pads[1] == width - 1 else 0
    if first < 0 or pads[1] != tail:
        remedy = f"pad at most {width - 1} steps before, and none behind"
        raise refuse(node, f"a convolution padded by {pads} looks ahead", remedy, "SSMC-T01")
    biased = len(node.inputs) > 2 and node.inputs[2] is not None
    offset = real_constant(node.inputs[2], node) if biased else np.zeros(len(weight))
    found = _full_rate(node, (signal.roles, source), taps, groups, offset, tail)
    return Picked(signal.roles, found.size, found, stride, first) if stride > 1 or first else found


def _full_rate(
    node: ir.Node, given: tuple[tuple[str, ...], Coded], taps: FloatArray, groups: int, offset: FloatArray, tail: int
) -> Signal:
    """Every step, with zeros before the first; taps (out, C or 1, K), the newest first."""
    (roles, source), size = given, len(taps)
    if roles != ("N", "C", "T"):
        raise refuse(node, f"a convolution over axes {roles}", "give (batch, channels, time)", "SSMC-T01")
    if groups == source.size == size:
        return Convolved(roles, size, source, taps[:, 0], offset, tail)
    states = (taps.shape[2] - 1) * source.size
    if states > MOST_STATES:
        fact = f"a convolution in {groups} groups that keeps {states} past inputs"
        remedy = f"use a depthwise convolution, or a dense one that keeps at most {MOST_STATES}"
        raise refuse(node, fact, remedy, "SSMC-T01")
    return Mixed(roles, size, source, ungrouped(taps, groups), offset, tail)


def ungrouped(weight: FloatArray, groups: int) -> FloatArray:
    """The weight (out, C, K) of a convolution in groups (out, C / groups, K), with zeros between them."""
    size, each, width = weight.shape
    wide = np.zeros((size, groups * each, width))
    for group, rows in enumerate(np.split(np.arange(size), groups)):
        wide[rows, group * each : (group + 1) * each] = weight[rows]
    return wide


def _over_time(node: ir.Node, key: str) -> int:
    return int(node.attributes[key].as_ints()[0]) if key in node.attributes else 1


def _dilated(weight: FloatArray, dilation: int) -> FloatArray:
    """The same kernel with its zeros written out."""
    wide = np.zeros((*weight.shape[:2], (weight.shape[2] - 1) * dilation + 1))
    wide[..., ::dilation] = weight
    return wide

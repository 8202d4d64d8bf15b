"""A value delayed by whole steps: as many zeros in front as steps are cut off behind, in either order.

Of k zeros in front a window may leave some out as well, ``pad(x, k)[:, s : s + T]``: a delay by k - s.

A delay is a state space that keeps the last inputs; its codes are those of its input.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ssmc.folding.emit import Emitter, Grid
from ssmc.folding.operands import real_constant, refuse
from ssmc.folding.signals import Coded, Convolved, Padded, Shortened, Signal
from ssmc.folding.step_counts import ends_with_sequence
from ssmc.ir.build import is_op

LONGEST = 512


def delayed(node: ir.Node, signal: Coded, steps: int, emitter: Emitter) -> Coded:
    """``x[t - steps]``, 0 before the first step.

    Raises:
        ModelError: SSMC-Q06 where no code is 0, SSMC-T01 where it is longer than `LONGEST`.
    """
    if steps > LONGEST:
        fact = f"a delay by {steps} steps, each of which is a state of every channel"
        raise refuse(node, fact, f"delay by at most {LONGEST}", "SSMC-T01")
    if signal.offset.any() or not signal.lo <= 0 <= signal.hi:
        fact = "a delay of a value that has no code for 0, which stands before the first step"
        raise refuse(node, fact, "quantize it with a zero point in its range, and add constants behind", "SSMC-Q06")
    ones, taps = np.ones(signal.size), np.zeros((signal.size, steps + 1))
    taps[:, -1] = 1.0
    codes = Convolved(signal.roles, signal.size, replace(signal, scale=ones), taps, np.zeros(signal.size))
    grid = Grid(ones, ones, signal.lo, signal.hi)
    return replace(emitter.close(codes, grid, str(node.outputs[0].name)), scale=signal.scale)


def without_last_steps(node: ir.Node, signal: Signal | None, emitter: Emitter) -> Signal | None:
    """What a Slice that cuts off the last steps gives: a delay behind a padding, or what a padding makes one.

    None where the node is another slice.
    """
    if isinstance(signal, Padded):
        first, cut = _cut(node, signal, emitter) or (0, 0)
        steps = signal.before - first
        if cut != signal.before or steps < 0:
            return None
        return delayed(node, signal.source, steps, emitter) if steps else signal.source
    if not isinstance(signal, Coded):
        return None
    cut = last_steps_cut(node, signal, emitter)
    padded = all(is_op(use.node, "Pad") for use in node.outputs[0].uses())
    if cut and padded and not node.outputs[0].is_graph_output():
        return Shortened(signal.roles, signal.size, signal, cut)
    return None


def keeps_every_step(node: ir.Node, signal: Signal, emitter: Emitter) -> bool:
    """Whether a slice takes all that there is, as ``x[:, : x.shape[1]]`` does. Lengths are measured."""
    return _cut(node, signal, emitter) == (0, 0)


def last_steps_cut(node: ir.Node, signal: Signal | None, emitter: Emitter) -> int:
    """How many last steps a slice cuts off and nothing else; 0: it is another one. Lengths are measured."""
    first, cut = _cut(node, signal, emitter) or (0, 0)
    return 0 if first else cut


def _cut(node: ir.Node, signal: Signal | None, emitter: Emitter) -> tuple[int, int] | None:
    """The first step that a slice keeps, and how many steps it cuts off in all; None: it cuts something else."""
    given, out = node.inputs[0], node.outputs[0]
    if signal is None or given is None or "T" not in signal.roles:
        return None
    follows = ends_with_sequence(node.inputs[2], given, emitter.axes)
    if "T" not in emitter.axes.roles.get(str(out.name), ()) or not follows:
        return None
    starts, *steps = [real_constant(value, node) for value in (node.inputs[1], *node.inputs[4:]) if value is not None]
    before, after = (emitter.axes.shapes[str(value.name)] for value in (given, out))
    cut, time = [a - b for a, b in zip(before, after, strict=True)], signal.roles.index("T")
    whole = (starts.size == 1 or not starts.any()) and (starts >= 0).all() and all((step == 1).all() for step in steps)
    return (int(starts.flat[0]), cut[time]) if whole and sum(map(abs, cut)) == cut[time] else None

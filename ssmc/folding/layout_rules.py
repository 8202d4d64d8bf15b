"""Rules that move axes and channels, and those that lower the rate: layout, slices, pooling over windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ssmc.folding.emit import Emitter
from ssmc.folding.operands import (
    Operands,
    Rule,
    attribute,
    makers,
    part_role,
    part_size,
    real_constant,
    refuse,
    signal_of,
)
from ssmc.folding.signals import Coded, Ending, Grouped, Mapped, Picked, Signal, Sliding, Tokens
from ssmc.ir.build import ENDLESS, REAL_TYPES, WHOLE_TYPES, is_op, required
from ssmc.ir.operations.downsample import RESTS, Rest
from ssmc.ir.rounding import IntArray
from ssmc.recognition.axes import Roles

FAR = float(1 << 62)


def _transpose(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Anywhere."""
    signal = signal_of(node, operands)
    perm = node.attributes["perm"].as_ints() if "perm" in node.attributes else range(len(signal.roles))[::-1]
    parts = [axis for axis in perm if part_size(signal.roles[axis]) is not None]
    if parts != sorted(parts):
        fact = f"a transpose of the channels' own axes {signal.roles}"
        raise refuse(node, fact, "keep the order of the axes that make up the channels", "SSMC-T01")
    return [replace(signal, roles=tuple(signal.roles[a] for a in perm))]


def _reshape(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Legal while batch, time and channels stay in order and whole; channels may stand on several axes."""
    signal = signal_of(node, operands)
    name = str(node.outputs[0].name)
    measured = _with_parts(emitter.axes.roles[name], emitter.axes.shapes[name])
    one = {"C": "1"} if signal.size == 1 else {}  # an axis of one channel may come and go
    atoms, new = (_atoms(tuple(one.get(role, role) for role in roles)) for roles in (signal.roles, measured))
    order = [a for a in atoms if a in ("N", "T")]
    apart = [a for a in new if a != "C"]  # merged axes keep their own order; axes that stand apart must show it
    if [a == "C" for a in atoms] != [a == "C" for a in new] or ("NT" not in measured and apart != order):
        raise refuse(
            node, f"a reshape from axes {signal.roles} to {measured}", "keep batch, time and channels apart", "SSMC-T01"
        )
    merged = "".join(order)
    single = iter(order)
    roles = tuple(merged if role == "NT" else next(single) if role in ("N", "T") else role for role in measured)
    return [replace(signal, roles=roles)]


def _with_parts(roles: Roles, shape: tuple[int, ...]) -> Roles:
    """Measured roles; where the channels stand on several axes, their lengths."""
    if roles.count("C") < 2:
        return roles
    return tuple(part_role(size) if role == "C" else role for role, size in zip(roles, shape, strict=True))


def _atoms(roles: Roles) -> list[str]:
    """Roles without axes of length 1, batch and time apart, and neighbouring axes of channels as one."""
    found: list[str] = []
    for role in roles:
        atoms = list(role) if role in ("NT", "TN") else ["c" if part_size(role) else role]
        found += [atom for atom in atoms if atom != "1" and not (atom == "c" and found[-1:] == ["c"])]
    return ["C" if atom == "c" else atom for atom in found]


def _identity(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Anywhere; dropout as in evaluation."""
    return [signal_of(node, operands)]


def _cast(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Legal to types that hold every value: float32 and float64, and for ids int32 and int64."""
    signal, to = signal_of(node, operands), ir.DataType(attribute(node, "to", 0))
    if to not in (REAL_TYPES + WHOLE_TYPES if isinstance(signal, Tokens) else REAL_TYPES):
        raise refuse(node, f"a cast to {to.name} changes values", "quantize by QuantizeLinear, or keep float32")
    return [signal]


def _channels(node: ir.Node, signal: Signal, start: int, stop: int, emitter: Emitter, name: str) -> Signal:
    if start == 0 and stop == signal.size:
        return signal
    direct = signal.channels(np.arange(start, stop))
    if direct is not None:
        return direct
    if isinstance(signal, Mapped):
        source = emitter.slice(signal.source, start, stop, name)
        table = signal.table if len(signal.table) == 1 else signal.table[start:stop]
        return replace(signal, size=stop - start, source=source, table=table)
    if isinstance(signal, Coded):
        return emitter.slice(signal, start, stop, name)
    raise refuse(node, "channels of an unquantized value are taken apart", "quantize it first", "SSMC-Q06")


def _chosen(node: ir.Node, signal: Signal, index: IntArray, emitter: Emitter, name: str) -> Signal:
    """The channels ``index``: runs of consecutive ones, joined two by two."""
    cuts = np.flatnonzero(np.diff(index) != 1) + 1
    runs = np.split(index, cuts)
    if len(runs) == 1:
        return _channels(node, signal, int(index[0]), int(index[-1]) + 1, emitter, name)
    direct = signal.channels(index)
    if direct is not None:
        return direct
    if not isinstance(signal, Coded):
        raise refuse(node, "channels of an unquantized value are put in another order", "quantize it first", "SSMC-Q06")
    parts = [emitter.slice(signal, int(run[0]), int(run[-1]) + 1, f"{name}.{run[0]}") for run in runs]
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=False)
        odd = parts[len(parts) // 2 * 2 :]
        parts = [*(emitter.joined(a, b, f"{name}.joined") for a, b in pairs), *odd]
    return parts[0]


def _split(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Of channels."""
    signal = signal_of(node, operands)
    axis = attribute(node, "axis", 0) % len(signal.roles)
    if signal.roles[axis] != "C":
        raise refuse(node, f"a split of axis {signal.roles[axis]}", "only channels may be split", "SSMC-T01")
    sizes = [emitter.axes.shapes[str(out.name)][axis] for out in node.outputs]
    ends = np.cumsum([0, *sizes])
    return [
        _channels(node, signal, int(a), int(b), emitter, str(out.name))
        for a, b, out in zip(ends[:-1], ends[1:], node.outputs, strict=True)
    ]


def _slice(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Of neighbouring channels, of the last step, or of the last steps on their way into a mean."""
    signal = signal_of(node, operands)
    if any(is_op(one, "Shape") for value in node.inputs[1:3] for one in makers(value)):
        remedy = "take all steps, the last ones, or a window of a padded value that is as long as the sequence"
        raise refuse(node, "a slice whose ends are computed from lengths", remedy, "SSMC-T01")
    start, stop = (np.clip(real_constant(required(node, i), node), -FAR, FAR).astype(np.int64) for i in (1, 2))
    given = [real_constant(v, node).astype(np.int64) if v is not None else None for v in node.inputs[3:]]
    axes, steps = [*given, None, None][:2]
    stride = 1 if steps is None else int(steps[0])
    if len(start) == 1 and axes is not None and signal.roles[int(axes[0])] == "T" and stride > 1:
        return [_strided(node, signal, (int(start[0]), int(stop[0]), stride), emitter)]
    if len(start) != 1 or axes is None or stride != 1:
        raise refuse(node, "a slice of several axes or with a stride", "slice channels one axis at a time", "SSMC-T01")
    axis = int(axes[0]) % len(signal.roles)
    if start[0] == 0 and stop[0] >= ENDLESS:
        return [signal]
    if signal.roles[axis] == "T" and start[0] < 0 and stop[0] >= ENDLESS and isinstance(signal, Coded):
        if start[0] < -1:
            return [Ending(signal.roles, signal.size, signal, -int(start[0]))]
        newest = emitter.last(signal, str(node.outputs[0].name))
        return [replace(newest, roles=without(signal.roles, axis, "1"))]
    if signal.roles[axis] != "C":
        raise refuse(
            node, f"a slice of axis {signal.roles[axis]}", "only channels or the last step may be taken", "SSMC-T01"
        )
    first, last = (int(np.clip(v + signal.size if v < 0 else v, 0, signal.size)) for v in (start[0], stop[0]))
    return [_channels(node, signal, first, last, emitter, str(node.outputs[0].name))]


def _strided(node: ir.Node, signal: Signal, span: tuple[int, int, int], emitter: Emitter) -> Signal:
    """``x[:, start::step]``: a lower rate."""
    start, stop, step = span
    if start < 0 or stop < ENDLESS:
        fact = f"a slice of time from {start} to {stop}"
        raise refuse(node, fact, "start at a fixed step and go on to the end", "SSMC-T01")
    if isinstance(signal, Coded):
        return emitter.picked(signal, step, start, str(node.outputs[0].name))
    return Picked(signal.roles, signal.size, signal, step, start)


def _average_pool(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Means over groups of steps: a lower rate; or at every step over the last ones."""
    signal = signal_of(node, operands)
    window = _window(node, signal)
    if window is not None:
        return [window]
    kernel = node.attributes["kernel_shape"].as_ints()
    strides, pads = (tuple(node.attributes[k].as_ints()) if k in node.attributes else () for k in ("strides", "pads"))
    k, along = int(np.prod(kernel)), dict(zip(signal.roles[2:], kernel, strict=False))
    plain = not any(pads) and strides == tuple(kernel) and along.get("T") == k
    if not plain or attribute(node, "ceil_mode", 0) * attribute(node, "count_include_pad", 0):
        fact = f"a pooling of kernel {tuple(kernel)}, strides {strides} and pads {pads} over axes {signal.roles}"
        raise refuse(
            node,
            fact,
            "average over groups (kernel = stride, no padding) or over the last steps (stride 1, padded in front)",
            "SSMC-T01",
        )
    if not isinstance(signal, Coded):
        raise refuse(node, "the input of a pooling is not quantized", "quantize it", "SSMC-Q06")
    rest: Rest = RESTS[attribute(node, "ceil_mode", 0)]
    return [Grouped(signal.roles, signal.size, signal, signal.scale, signal.offset, k, rest)]


def _window(node: ir.Node, signal: Signal) -> Sliding | None:
    """The mean of the last steps, of fewer in the beginning: stride 1, padded in front by all but one of them."""
    kernel = np.array(node.attributes["kernel_shape"].as_ints())
    pads = np.array(node.attributes["pads"].as_ints() if "pads" in node.attributes else [0] * 2 * len(kernel))
    strides = node.attributes["strides"].as_ints() if "strides" in node.attributes else [1]
    width, along = int(np.prod(kernel)), dict(zip(signal.roles[2:], kernel.tolist(), strict=False))
    in_front = np.array_equal(pads, np.concatenate([kernel - 1, 0 * kernel]))
    causal = in_front and set(strides) == {1} and along.get("T") == width > 1
    if not isinstance(signal, Coded) or not causal or attribute(node, "count_include_pad", 0):
        return None
    return Sliding(signal.roles, signal.size, signal, signal.scale, signal.offset, width)


def without(roles: Roles, axis: int, put: str | None) -> Roles:
    """The roles without an axis, or with ``put`` in its place."""
    return tuple(r if a != axis else put for a, r in enumerate(roles) if a != axis or put is not None)  # type: ignore[misc]


def _gather(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """The last step, or channels in any order."""
    signal = signal_of(node, operands)
    index = real_constant(node.inputs[1], node).astype(np.int64)
    axis = attribute(node, "axis", 0) % len(signal.roles)
    name = str(node.outputs[0].name)
    if signal.roles[axis] == "T" and index.ndim == 0 and index == -1 and isinstance(signal, Coded):
        return [replace(emitter.last(signal, name), roles=without(signal.roles, axis, None))]
    if signal.roles[axis] == "C" and index.ndim == 1 and len(index):
        return [_chosen(node, signal, index % signal.size, emitter, name)]
    raise refuse(
        node, f"a gather over axis {signal.roles[axis]}", "only channels or the last step may be taken", "SSMC-T01"
    )


def _concat(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Of channels, every operand quantized."""
    if any(x is None for x in operands):
        raise refuse(node, "a constant is joined to a signal", "add it after a matrix, as a bias")
    parts = [x for x in operands if isinstance(x, Coded)]
    if len(parts) < len(operands):
        raise refuse(node, "an unquantized value is joined to others", "quantize every operand", "SSMC-Q06")
    first = parts[0]
    axis = attribute(node, "axis", 0) % len(first.roles)
    widened = {tuple("C" if a == axis and role == "1" else role for a, role in enumerate(x.roles)) for x in parts}
    if len(widened) > 1 or widened.copy().pop()[axis] != "C" or len({x.rate for x in parts}) > 1:
        raise refuse(node, f"a join along axis {first.roles[axis]}", "only channels may be joined", "SSMC-T01")
    roles, name = widened.pop(), str(node.outputs[0].name)
    joined = replace(first, roles=roles)
    for index, part in enumerate(parts[1:], 1):
        joined = emitter.joined(joined, part, name if index == len(parts) - 1 else f"{name}.{index}")
    return [joined]


LAYOUT_RULES: dict[tuple[str, str], Rule] = {
    **{("", op): _reshape for op in ("Reshape", "Squeeze", "Unsqueeze", "Flatten")},
    **{("", op): _identity for op in ("Identity", "Dropout")},
    ("", "Cast"): _cast,
    ("", "Transpose"): _transpose,
    ("", "Concat"): _concat,
    ("", "Split"): _split,
    ("", "Slice"): _slice,
    ("", "Gather"): _gather,
    ("", "AveragePool"): _average_pool,
}

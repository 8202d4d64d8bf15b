"""How every supported operation acts on signals (`ssmc.importers.signals`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ssmc.errors import ModelError
from ssmc.importers.axes import Roles
from ssmc.importers.fold_emit import Emitter, Grid, unquantized_weights
from ssmc.importers.signals import Added, Averaged, Coded, Dense, KernelOutput, Mapped, Product, Signal
from ssmc.ir.affine import evaluate
from ssmc.ir.build import constant_array, node_name
from ssmc.ir.grid import factor_rows
from ssmc.ir.ops import constants
from ssmc.ir.rounding import FloatArray

Operands = Sequence[Signal | None]
Rule = Callable[[ir.Node, Operands, Emitter], list[Signal]]


def refuse(node: ir.Node, fact: str, remedy: str, code: str = "SSMC-T02") -> ModelError:
    """An error at this node."""
    return ModelError(code, fact, remedy, node_name(node))


def real_constant(value: ir.Value | None, node: ir.Node) -> FloatArray:
    """The real value of a constant expression, ``ssmc::Dequant`` included, exact products in float64."""
    array = constant_array(value)
    if array is not None:
        return np.asarray(array, np.float64)
    producer = value.producer() if value is not None else None
    if producer is None:
        raise refuse(
            node, f"'{value.name if value else ''}' is neither a signal nor a constant", "fold it before export"
        )
    inputs = [real_constant(v, node) if v is not None else None for v in producer.inputs]
    kept = [
        constant_array(v) if constant_array(v) is not None else x for v, x in zip(producer.inputs, inputs, strict=True)
    ]
    index = next(i for i, out in enumerate(producer.outputs) if out is value)
    return np.asarray(evaluate(producer, kept)[index], np.float64)


def channel_axis(roles: Roles) -> int | None:
    """Position of the channels; None where there is one channel and its axis is a 1."""
    return roles.index("C") if "C" in roles else None


def per_channel(constant: FloatArray, signal: Signal, node: ir.Node) -> FloatArray:
    """A broadcast constant as one number per channel (size,)."""
    rank = len(signal.roles)
    if constant.ndim > rank:
        raise refuse(node, f"a constant of shape {constant.shape} widens the signal", "use a constant per channel")
    shape = (1,) * (rank - constant.ndim) + constant.shape
    axis = channel_axis(signal.roles)
    if any(size != 1 for a, size in enumerate(shape) if a != axis):
        raise refuse(
            node,
            f"a constant of shape {constant.shape} varies over time or batch",
            "use a constant per channel",
            "SSMC-T01",
        )
    return np.broadcast_to(constant.reshape(-1), (signal.size,)).astype(np.float64)


def _quant(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    signal = operands[0]
    assert signal is not None
    step, scale, lo, hi = (np.asarray(constant_array(v), np.float64) for v in node.inputs[1:])
    grid = Grid(per_channel(step, signal, node), per_channel(scale, signal, node), int(lo), int(hi))
    return [emitter.close(signal, grid, str(node.outputs[0].name))]


def _split_operands(node: ir.Node, operands: Operands) -> tuple[Signal, FloatArray, int]:
    position = next(i for i, x in enumerate(operands) if x is not None)
    signal = operands[position]
    assert signal is not None
    constant = real_constant(node.inputs[1 - position], node)
    return signal, per_channel(constant, signal, node), position


def _held(signal: Signal | None, node: ir.Node, what: str) -> list[Signal]:
    if signal is None:
        raise refuse(node, f"{what} stands between an unquantized value and its quantizer", "quantize before it")
    return [signal]


def _mul(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    a, b = operands
    if a is not None and b is not None:
        return [_product(node, a, b)]
    signal, factor, _ = _split_operands(node, operands)
    return _held(signal.scaled(factor), node, "a product")


def _product(node: ir.Node, a: Signal, b: Signal) -> Signal:
    same = _on_one_table(a, b)
    if same is not None:
        return replace(same[0], table=same[0].table * same[1].table)
    if isinstance(a, Coded) and isinstance(b, Coded) and a.size == b.size:
        if a.offset.any() or b.offset.any():
            raise refuse(node, "a factor has a constant added after its quantizer", "quantize the factors")
        return Product(a.roles, a.size, a, b, a.scale * b.scale, np.zeros(a.size))
    raise refuse(
        node, "a factor of a product is not quantized", "quantize both factors (a gate after its sigmoid)", "SSMC-Q06"
    )


def _on_one_table(a: Signal, b: Signal) -> tuple[Mapped, Mapped] | None:
    """Both signals as functions of the same code, where they are (x * sigmoid(x))."""
    left = a.mapped() if isinstance(a, Coded) else a
    right = b.mapped() if isinstance(b, Coded) else b
    if isinstance(left, Mapped) and isinstance(right, Mapped) and left.source.value is right.source.value:
        return left, right
    return None


def _div(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    if operands[0] is None or operands[1] is not None:
        raise refuse(node, "a division by a signal", "multiply by a quantized table instead")
    signal, divisor, _ = _split_operands(node, operands)
    return _held(signal.scaled(1.0 / divisor), node, "a division")


def _add(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    a, b = operands
    sign = -1.0 if node.op_type == "Sub" else 1.0
    if a is not None and b is not None:
        return [_sum(node, a, b, sign)]
    signal, constant, position = _split_operands(node, operands)
    if node.op_type == "Sub" and position == 1:
        return _held((signal.scaled(np.full(signal.size, -1.0)) or signal).shifted(constant), node, "a sum")
    return _held(signal.shifted(sign * constant), node, "a sum")


def _sum(node: ir.Node, a: Signal, b: Signal, sign: float) -> Signal:
    same = _on_one_table(a, b) if not (isinstance(a, Coded) and isinstance(b, Coded)) else None
    if same is not None:
        return replace(same[0], table=same[0].table + sign * same[1].table)
    if isinstance(a, Coded) and isinstance(b, Coded) and a.size == b.size and a.rate == b.rate:
        signed = b.scaled(np.full(b.size, sign))
        assert isinstance(signed, Coded)
        zero = np.zeros(a.size)
        return Added(a.roles, a.size, replace(a, offset=zero), replace(signed, offset=zero), a.offset + signed.offset)
    raise refuse(node, "a term of a sum is not quantized", "quantize both branches before they are added", "SSMC-Q06")


def _matmul(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    a, b = operands
    if a is not None and b is not None:
        raise refuse(node, "a matrix product of two signals", "only constant matrices compile")
    signal = a if a is not None else b
    assert signal is not None
    weight = real_constant(node.inputs[1 if a is not None else 0], node)
    axis = len(signal.roles) - (1 if a is not None else 2)
    if weight.ndim != 2:
        raise refuse(node, f"a weight of shape {weight.shape}", "use a matrix")
    return [_dense(node, signal, weight.T if a is not None else weight, axis)]


def _dense(node: ir.Node, signal: Signal, weight: FloatArray, axis: int) -> Dense:
    """``weight`` (out, in) applied over ``axis``."""
    if not isinstance(signal, Coded):
        raise refuse(node, "the input of a matrix is not quantized", "quantize it", "SSMC-Q06")
    if signal.roles[axis] not in ("C", "1") or weight.shape[1] != signal.size:
        raise refuse(node, "a matrix acts on an axis that is not the channels", "only channels may mix", "SSMC-T01")
    same = (signal.scale == signal.scale[0]).all()  # then it stays out of the grid, where the product would be rounded
    found = factor_rows(weight if same else weight * signal.scale)
    if found is None:
        raise unquantized_weights(node_name(node))
    codes, gain, exact = found
    gain = gain * signal.scale[0] if same else gain
    roles = tuple("C" if a == axis else r for a, r in enumerate(signal.roles))
    return Dense(roles, len(weight), signal, codes, gain, weight @ signal.offset, exact)


def _gemm(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    def option(name: str, default: float) -> float:
        return float(node.attributes[name].value) if name in node.attributes else default

    signal = operands[0]
    if signal is None or option("transA", 0):
        raise refuse(node, "the signal is not the first factor", "use MatMul(signal, weight)")
    weight = real_constant(node.inputs[1], node) * option("alpha", 1.0)
    dense = _dense(node, signal, weight if option("transB", 0) else weight.T, len(signal.roles) - 1)
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return [dense]
    bias = real_constant(node.inputs[2], node) * option("beta", 1.0)
    return [dense.shifted(per_channel(bias, dense, node))]


def _conv(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """A convolution over time with kernel 1 is a matrix over channels."""
    signal = operands[0]
    weight = real_constant(node.inputs[1], node)
    pads, strides = (node.attributes[k].as_ints() if k in node.attributes else () for k in ("pads", "strides"))
    pointwise = weight.ndim == 3 and weight.shape[2] == 1 and _attribute(node, "group", 1) == 1
    if signal is None or not pointwise or any(pads) or any(stride != 1 for stride in strides):
        raise refuse(
            node, f"a convolution of shape {weight.shape}", "only kernel 1 compiles; put time into the SSM", "SSMC-T01"
        )
    dense = _dense(node, signal, weight[:, :, 0], 1)
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return [dense]
    return [dense.shifted(real_constant(node.inputs[2], node))]


def _attribute(node: ir.Node, name: str, default: int) -> int:
    return node.attributes[name].as_int() if name in node.attributes else default


def _state_space(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    source = operands[0]
    if not isinstance(source, Coded) or source.roles != ("N", "T", "C"):
        raise refuse(node, "the input of the recurrence is not quantized", "quantize it", "SSMC-Q06")
    c = constants(node)
    step = c["step_y"]
    opened = KernelOutput(("N", "T", "C"), step.size, node, source, np.ones(step.size), np.zeros(step.size))
    if not step.any():
        return [opened]
    if not step.all():
        raise refuse(node, "only some outputs of the recurrence are quantized", "quantize all", "SSMC-Q06")
    lo, hi = c["lo_y"], c["hi_y"]
    value = emitter.kernel(opened, None, node_name(node))
    emitter.applied.append(node_name(node))
    zero = np.zeros(step.size)
    return [Coded(opened.roles, step.size, value, int(lo.min()), int(hi.max()), step.ravel(), zero, "step")]


def _elementwise(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """A function of one code becomes a table, evaluated in float64."""
    position = next(i for i, x in enumerate(operands) if x is not None)
    signal = operands[position]
    table = signal.mapped() if isinstance(signal, Coded) else signal
    if not isinstance(table, Mapped):
        raise refuse(
            node, f"the input of {node.op_type} is not quantized (to at most 12 bits)", "quantize it", "SSMC-Q06"
        )

    arrays = [constant_array(value) for value in node.inputs]
    others = [a for i, a in enumerate(arrays) if i != position and node.inputs[i] is not None]
    if any(array is None for array in others):
        raise refuse(node, f"{node.op_type} of two signals", "only constants may be combined with a signal here")
    if any(array is not None and array.size != 1 for array in others):
        raise refuse(node, f"{node.op_type} with an array", "use one constant for all channels")

    def function(x: FloatArray) -> FloatArray:
        given = [x if i == position else array for i, array in enumerate(arrays)]
        return np.asarray(evaluate(node, given)[0], np.float64)

    return [table.apply(function)]


def _transpose(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    signal = operands[0]
    assert signal is not None
    perm = node.attributes["perm"].as_ints() if "perm" in node.attributes else range(len(signal.roles))[::-1]
    return [replace(signal, roles=tuple(signal.roles[a] for a in perm))]


def _reshape(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """Reshape, Squeeze, Unsqueeze, Flatten: legal while batch, time and channels stay in order and whole."""
    signal = operands[0]
    assert signal is not None
    measured = emitter.axes.roles[str(node.outputs[0].name)]
    atoms = [atom for role in signal.roles for atom in (list(role) if role in ("NT", "TN") else [role]) if atom != "1"]
    new = [atom for role in measured for atom in (["N", "T"] if role == "NT" else [role]) if atom != "1"]
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


def _identity(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    signal = operands[0]
    assert signal is not None
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


def _split(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    signal = operands[0]
    assert signal is not None
    axis = _attribute(node, "axis", 0) % len(signal.roles)
    if signal.roles[axis] != "C":
        raise refuse(node, f"a split of axis {signal.roles[axis]}", "only channels may be split", "SSMC-T01")
    sizes = [emitter.axes.shapes[str(out.name)][axis] for out in node.outputs]
    ends = np.cumsum([0, *sizes])
    return [
        _channels(node, signal, int(a), int(b), emitter, str(out.name))
        for a, b, out in zip(ends[:-1], ends[1:], node.outputs, strict=True)
    ]


def _slice(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    signal = operands[0]
    assert signal is not None
    given = [real_constant(v, node).astype(np.int64) if v is not None else None for v in node.inputs[1:]]
    start, stop, axes, steps = [*given, None, None][:4]
    assert start is not None
    assert stop is not None
    if len(start) != 1 or axes is None or (steps is not None and steps[0] != 1):
        raise refuse(node, "a slice of several axes or with a stride", "slice channels one axis at a time", "SSMC-T01")
    axis = int(axes[0]) % len(signal.roles)
    if signal.roles[axis] == "T" and start[0] == -1 and isinstance(signal, Coded):
        return [replace(emitter.last(signal, str(node.outputs[0].name)), roles=_without(signal.roles, axis, "1"))]
    if signal.roles[axis] != "C":
        raise refuse(
            node, f"a slice of axis {signal.roles[axis]}", "only channels or the last step may be taken", "SSMC-T01"
        )
    first, last = (int(np.clip(v + signal.size if v < 0 else v, 0, signal.size)) for v in (start[0], stop[0]))
    return [_channels(node, signal, first, last, emitter, str(node.outputs[0].name))]


def _without(roles: Roles, axis: int, put: str | None) -> Roles:
    return tuple(r if a != axis else put for a, r in enumerate(roles) if a != axis or put is not None)  # type: ignore[misc]


def _gather(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    """The last step, or consecutive channels."""
    signal = operands[0]
    assert signal is not None
    index = real_constant(node.inputs[1], node).astype(np.int64)
    axis = _attribute(node, "axis", 0) % len(signal.roles)
    name = str(node.outputs[0].name)
    if signal.roles[axis] == "T" and index.ndim == 0 and index == -1 and isinstance(signal, Coded):
        return [replace(emitter.last(signal, name), roles=_without(signal.roles, axis, None))]
    if signal.roles[axis] == "C" and index.ndim == 1 and np.array_equal(index, index[0] + np.arange(len(index))):
        return [_channels(node, signal, int(index[0]), int(index[0]) + len(index), emitter, name)]
    raise refuse(
        node, f"a gather over axis {signal.roles[axis]}", "only channels or the last step may be taken", "SSMC-T01"
    )


def _mean(node: ir.Node, operands: Operands, emitter: Emitter) -> list[Signal]:
    signal = operands[0]
    given = node.inputs[1] if len(node.inputs) > 1 else None
    axes = real_constant(given, node).astype(np.int64) if given is not None else np.zeros(0, np.int64)
    if "axes" in node.attributes:
        axes = np.asarray(node.attributes["axes"].as_ints())
    if not isinstance(signal, Coded) or len(axes) != 1 or signal.roles[int(axes[0])] != "T":
        raise refuse(
            node,
            "a mean over an axis that is not time, or of an unquantized value",
            "quantize, then average over time",
            "SSMC-T01",
        )
    keep = _attribute(node, "keepdims", 1)
    roles = _without(signal.roles, int(axes[0]) % len(signal.roles), "1" if keep else None)
    return [Averaged(roles, signal.size, signal, signal.scale, signal.offset)]


_FUNCTIONS = (
    "Relu", "Sigmoid", "Tanh", "Gelu", "Erf", "HardSigmoid", "HardSwish", "Elu", "LeakyRelu", "Softplus", "Exp", "Abs",
    "Sqrt", "Clip", "Mish", "Selu", "Sin", "Cos", "Sign", "Softsign", "Neg", "Pow", "Max", "Min", "Swish",
)  # fmt: skip

RULES: dict[tuple[str, str], Rule] = {
    ("ssmc", "Quant"): _quant,
    ("ssmc", "StateSpace"): _state_space,
    ("ssmc", "StateSpaceAfter"): _state_space,
    **{("", op): _elementwise for op in _FUNCTIONS},
    **{("", op): _reshape for op in ("Reshape", "Squeeze", "Unsqueeze", "Flatten")},
    **{("", op): _identity for op in ("Identity", "Dropout", "Cast")},
    ("", "Mul"): _mul,
    ("", "Div"): _div,
    ("", "Add"): _add,
    ("", "Sub"): _add,
    ("", "MatMul"): _matmul,
    ("", "Gemm"): _gemm,
    ("", "Conv"): _conv,
    ("", "Transpose"): _transpose,
    ("", "Split"): _split,
    ("", "Slice"): _slice,
    ("", "Gather"): _gather,
    ("", "ReduceMean"): _mean,
}

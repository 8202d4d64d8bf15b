"""Read a graph on codes as the streaming `Program` that targets execute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike

from ssmc.errors import ModelError
from ssmc.ir import program as p
from ssmc.ir.build import constant_array, node_name
from ssmc.ir.functions import input_names
from ssmc.ir.parts import constants_to_matrix
from ssmc.ir.quant import QuantType
from ssmc.ir.requant import LIMIT, REMEMBERED, Requant, make_requant
from ssmc.ir.rounding import FloatArray, IntArray

Constants = dict[str, FloatArray]
MOST_NORM = 1 << 22


@dataclass
class _Reader:
    """State of one walk: types of the values read so far."""

    values: dict[str, p.Codes] = field(default_factory=dict)

    def ends(self, name: str) -> tuple[int, int]:
        """Range of a value's codes."""
        quant = self.values[name].quant
        return quant.lo, quant.hi


def read_program(model: ir.Model) -> p.Program:
    """The program of a graph at level *folded* or later: one dataclass per node, requantizations proven."""
    reader = _Reader()
    ops = []
    for node in model.graph:
        op, codes = _RULES[node.op_type](node, reader)
        ops.append(op)
        if codes is not None:
            reader.values[op.output] = codes
    source = model.graph.inputs[0]
    first, last = ops[0], ops[-1]
    assert source.shape is not None
    assert isinstance(first, p.Quantize)
    return p.Program(
        input_name=str(source.name),
        input_size=int(source.shape[2]),  # type: ignore[arg-type]
        output_name=last.output,
        output_size=reader.values[last.inputs[0]].size,
        ops=tuple(ops),
        values=reader.values,
    )


def constants(node: ir.Node) -> Constants:
    """The node's constant inputs by their names in the definition, float64."""
    named = zip(input_names(node.op_type), node.inputs, strict=True)
    arrays = {key: constant_array(value) for key, value in named}
    return {key: np.asarray(array, np.float64) for key, array in arrays.items() if array is not None}


def signals(node: ir.Node) -> tuple[str, ...]:
    """Names of the node's inputs that are not constants."""
    return tuple(str(v.name) for v in node.inputs if v is not None and constant_array(v) is None)


def ratios(gain: FloatArray, step: FloatArray) -> tuple[Fraction, ...]:
    """Exact ``gain / step``, flattened."""
    pairs = np.broadcast_arrays(gain, step)
    return tuple(map(_quotient, *(np.asarray(pair, np.float64).ravel().tolist() for pair in pairs)))


@lru_cache(maxsize=REMEMBERED)
def _quotient(a: float, b: float) -> Fraction:
    """``a / b``, one object for equal numbers: rows share few scales."""
    return Fraction(a) / Fraction(b)


def real_offsets(offset: FloatArray, step: FloatArray) -> FloatArray:
    """The real constants b whose float64 quotient ``b / step`` is ``offset``: float32 numbers where there are such."""
    offset, step = np.broadcast_arrays(np.asarray(offset, np.float64), np.asarray(step, np.float64))
    wide = offset * step
    short = wide.astype(np.float32).astype(np.float64)
    return np.where(short / step == offset, short, np.where(wide / step == offset, wide, np.nan))


def _offsets(offset: FloatArray, step: FloatArray) -> tuple[Fraction, ...]:
    """Exact ``b / step``, flattened: 1/6 and not the float nearest to it, so that ties stay ties."""
    flat = np.broadcast_arrays(offset.ravel(), step.ravel(), real_offsets(offset.ravel(), step.ravel()))
    return tuple(
        _quotient(o, 1.0) if b != b else _quotient(b, s)  # b is nan where there is no such constant
        for o, s, b in zip(*(array.tolist() for array in flat), strict=True)
    )


def _requant(c: Constants, reach: tuple[IntArray, IntArray], node: ir.Node, suffix: str = "") -> Requant:
    gain, step, offset = c[f"gain{suffix}"], c[f"step{suffix}"], c[f"offset{suffix}"]
    size = reach[0].size
    lo, hi = (np.broadcast_to(c[f"{key}{suffix}"].ravel(), (size,)).astype(np.int64) for key in ("lo", "hi"))
    return make_requant(
        ratios(gain.ravel(), np.broadcast_to(step.ravel(), (size,))),
        _offsets(np.broadcast_to(offset.ravel(), (size,)), step),
        lo, hi, (reach[0].ravel(), reach[1].ravel()), node_name(node),
    )  # fmt: skip


def _codes(size: int, lo: ArrayLike, hi: ArrayLike, rate: p.Rate) -> p.Codes:
    """Type of a code value; its scale is 1, since the meaning of codes is in the operations that read them."""
    return p.Codes(size, QuantType(int(np.min(lo)), int(np.max(hi)), np.ones(())), rate)


def _quantize(node: ir.Node, reader: _Reader) -> tuple[p.Op, p.Codes]:
    c = constants(node)
    quant = QuantType(int(c["lo"]), int(c["hi"]), c["scale"])
    x = node.inputs[0]
    assert x is not None
    assert x.shape is not None
    op = p.Quantize(node_name(node), (str(x.name),), str(node.outputs[0].name), quant)
    return op, p.Codes(int(x.shape[2]), quant, "step")  # type: ignore[arg-type]


def _ids(node: ir.Node, reader: _Reader) -> tuple[p.Op, p.Codes]:
    quant = QuantType(0, int(constants(node)["hi"]), np.ones(()))
    x = node.inputs[0]
    assert x is not None
    return p.Ids(node_name(node), (str(x.name),), str(node.outputs[0].name), quant), p.Codes(1, quant, "step")


def _linear(node: ir.Node, reader: _Reader) -> tuple[p.Op, p.Codes]:
    c = constants(node)
    (x,) = signals(node)
    matrix = constants_to_matrix(c["W"][None], c)
    lo, hi = reader.ends(x)
    reach = matrix.reach(np.full((1, matrix.inputs), lo), np.full((1, matrix.inputs), hi))
    op = p.Linear(node_name(node), (x,), str(node.outputs[0].name), matrix, _requant(c, reach, node))
    return op, _codes(matrix.outputs, c["lo"], c["hi"], reader.values[x].rate)


def _kernel(node: ir.Node, reader: _Reader) -> tuple[p.Op, p.Codes]:
    c = constants(node)
    (u,) = signals(node)
    keep = c["keep"].astype(np.int64)
    groups, n = keep.shape
    matrix = constants_to_matrix(c["W"], c)
    drive = _drive_range(c, reader.ends(u), matrix.inputs - n)
    names = ("dac_lo", "dac_hi", "reg_lo", "reg_hi", "r0")
    dac_lo, dac_hi, reg_lo, reg_hi, r0 = (c[name].astype(np.int64) for name in names)
    pair = node.op_type.startswith("KernelPair")
    output = constants_to_matrix(c["W_y"], c, "_y") if pair else None
    requant = _requant(c, matrix.reach(*drive), node)
    requant_y = _requant(c, output.reach(*drive), node, "_y") if output is not None else None
    op = p.StateSpace(
        node_name(node), (u,), str(node.outputs[0].name), matrix, requant, keep, np.log2(c["unit"]).astype(np.int64),
        dac_lo, dac_hi, reg_lo, reg_hi, r0, output, requant_y, node.op_type.startswith("KernelPairAfter"),
    )  # fmt: skip
    lo, hi = (c["lo_y"], c["hi_y"]) if pair else (c["lo"][:, n:], c["hi"][:, n:])
    return op, _codes(groups * op.n_output, lo, hi, "step")


def _drive_range(c: Constants, u: tuple[int, int], inputs: int) -> tuple[IntArray, IntArray]:
    """Range of [R; u] per group, each (G, n + m)."""
    edge = np.ones((len(c["keep"]), inputs))
    lo = np.concatenate([c["dac_lo"], edge * u[0]], 1)
    hi = np.concatenate([c["dac_hi"], edge * u[1]], 1)
    return lo.astype(np.int64), hi.astype(np.int64)


def _table(node: ir.Node, reader: _Reader) -> tuple[p.Op, p.Codes]:
    c = constants(node)
    (x,) = signals(node)
    table = c["table"].astype(np.int64)
    op = p.Table(node_name(node), (x,), str(node.outputs[0].name), table, int(c["lo"]))
    size = max(reader.values[x].size, len(table))
    return op, _codes(size, table.min(), table.max(), reader.values[x].rate)


def _product(node: ir.Node, reader: _Reader) -> tuple[p.Op, p.Codes]:
    c = constants(node)
    a, b = signals(node)
    size = reader.values[a].size
    corners = [i * j for i in reader.ends(a) for j in reader.ends(b)]
    reach = np.full(size, min(corners)), np.full(size, max(corners))
    op = p.Product(node_name(node), (a, b), str(node.outputs[0].name), _requant(c, reach, node))
    return op, _codes(size, c["lo"], c["hi"], reader.values[a].rate)


def _sum(node: ir.Node, reader: _Reader) -> tuple[p.Op, p.Codes]:
    c = constants(node)
    a, b = signals(node)
    size = reader.values[a].size
    shape = (size,)
    step = np.broadcast_to(c["step"], shape)
    left, right = (ratios(np.broadcast_to(c[key], shape), step) for key in ("gain_a", "gain_b"))
    offset = _offsets(np.broadcast_to(c["offset"], shape), step)
    reach = max(map(abs, reader.ends(a))), max(map(abs, reader.ends(b)))
    lo, hi = (np.broadcast_to(c[key], shape).astype(np.int64) for key in ("lo", "hi"))
    rows = [fit_sum(row, reach) for row in zip(left, right, offset, strict=True)]
    numbers = np.array([row[:4] for row in rows], np.int64)
    op = p.Sum(
        name=node_name(node),
        inputs=(a, b),
        output=str(node.outputs[0].name),
        multiplier=numbers[:, :2].T.copy(),
        offset=numbers[:, 2],
        shift=numbers[:, 3],
        lo=lo,
        hi=hi,
        bound=max(row[4] for row in rows),
    )
    return op, _codes(size, lo, hi, reader.values[a].rate)


def fit_sum(row: tuple[Fraction, Fraction, Fraction], reach: tuple[int, int]) -> tuple[int, int, int, int, float]:
    """Multipliers, offset and shift of ``a x1 + b x2 + c``: exact where a shift exists, else the finest that fits.

    Returns:
        (M_a, M_b, offset, shift, bound): bound is the largest error of the sum before rounding, in output codes.
    """
    best = (0, 0, 0, 0, 0.0)
    for shift in range(48):
        numbers = [round(value * (1 << shift)) for value in row]
        size = abs(numbers[0]) * reach[0] + abs(numbers[1]) * reach[1] + abs(numbers[2]) + (1 << shift)
        if shift and 2 * size >= LIMIT:
            break
        errors = [abs(value - Fraction(n, 1 << shift)) for value, n in zip(row, numbers, strict=True)]
        bound = errors[0] * reach[0] + errors[1] * reach[1] + errors[2]
        best = (*numbers, shift, float(bound))  # type: ignore[assignment]
        if bound == 0:
            break
    return best


def _slice(node: ir.Node, reader: _Reader) -> tuple[p.Op, p.Codes]:
    c = constants(node)
    (x,) = signals(node)
    start, stop = int(c["start"][0]), int(c["stop"][0])
    source = reader.values[x]
    op = p.Slice(node_name(node), (x,), str(node.outputs[0].name), start, stop)
    return op, p.Codes(stop - start, source.quant, source.rate)


def _norm(node: ir.Node, reader: _Reader) -> tuple[p.Op, p.Codes]:
    c = constants(node)
    (x,) = signals(node)
    size = reader.values[x].size
    gain, offset = (np.broadcast_to(v, (size,)) for v in (c["gain"] / c["step"], c["offset"]))
    if size * max(map(abs, reader.ends(x))) >= MOST_NORM:
        fact = f"{size} channels of codes up to {max(map(abs, reader.ends(x)))} overflow its integer variance"
        raise ModelError("SSMC-T03", fact, "normalize fewer channels or narrower codes", node_name(node))
    shift = 20 + 28 - int(np.ceil(np.log2(max(float(np.abs(gain).max()), 2.0**-10))))
    scaled = np.array([round(Fraction(float(g)) * (1 << (shift - 20))) for g in gain], np.int64)
    moved = np.array([round(Fraction(float(b)) * (1 << shift)) for b in offset], np.int64)
    epsilon = round(Fraction(float(c["epsilon"])) * size * size * (1 << p.NORM_FRACTION))
    root, top = float(np.sqrt(size)), float(np.abs(gain).max())
    bound = top * (2.0**-21 + root * (2.0**-29 + 2.0**-18 / max(size - 1, 1))) + root * 2.0 ** (19 - shift)
    op = p.Norm(
        name=node_name(node),
        inputs=(x,),
        output=str(node.outputs[0].name),
        centred=bool(c["centred"]),
        epsilon=epsilon,
        gain=scaled,
        offset=moved,
        shift=shift,
        lo=int(c["lo"]),
        hi=int(c["hi"]),
        bound=bound + 2.0 ** -(shift + 1),
    )
    return op, _codes(size, c["lo"], c["hi"], reader.values[x].rate)


def _mean(node: ir.Node, reader: _Reader) -> tuple[p.Op, p.Codes]:
    c = constants(node)
    (x,) = signals(node)
    size = reader.values[x].size
    ratio = ratios(np.broadcast_to(c["gain"], (size,)), np.broadcast_to(c["step"], (size,)))
    op = p.Mean(node_name(node), (x,), str(node.outputs[0].name), ratio, int(c["lo"]), int(c["hi"]))
    return op, _codes(size, c["lo"], c["hi"], "sequence")


def _last(node: ir.Node, reader: _Reader) -> tuple[p.Op, p.Codes]:
    (x,) = signals(node)
    source = reader.values[x]
    return p.Last(node_name(node), (x,), str(node.outputs[0].name)), p.Codes(source.size, source.quant, "sequence")


def _dequantize(node: ir.Node, reader: _Reader) -> tuple[p.Op, None]:
    c = constants(node)
    (x,) = signals(node)
    return p.Dequantize(node_name(node), (x,), str(node.outputs[0].name), c["scale"]), None


_RULES: dict[str, Callable[[ir.Node, _Reader], tuple[p.Op, p.Codes | None]]] = {
    "Quantize": _quantize,
    "Ids": _ids,
    "Linear": _linear,
    "LinearParts": _linear,
    "Kernel": _kernel,
    "KernelPair": _kernel,
    "KernelPairAfter": _kernel,
    "KernelParts": _kernel,
    "KernelPairParts": _kernel,
    "KernelPairAfterParts": _kernel,
    "Table": _table,
    "Product": _product,
    "Sum2": _sum,
    "Norm": _norm,
    "Slice": _slice,
    "Mean": _mean,
    "Last": _last,
    "Dequantize": _dequantize,
}

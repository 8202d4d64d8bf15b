"""Matrices and biases fitted to what the layers in front of them really give, layer after layer.

What is rounded and clipped in front of a matrix moves the mean of its sums, and shrinks or turns the rest; a mean over
time at the model's end averages noise away, but not that. With x' the quantized input of a layer, behind layers that
are fitted already, and z = W x + b its sum in the float model, on the calibration data:

    W' of least |(x' - E[x']) W' - (z - E[z])|^2, near W where the data say little (`ssmc.analysis.refit.fitted`)
    W' in codes, each rounding made good by the codes after it (`least_rounded`; GPTQ, arXiv 2210.17323)
    b' = E[z] - E[W' x']            (empirical bias correction: Nagel et al. 2019, arXiv 1906.04721, section 4.2)

A bias is a real number in front of a quantizer and costs nothing. Where a layer's W is no plain matrix, has zeros that
are to stay, or the data are few, its bias alone is corrected.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from ssmc.analysis.refit import fitted, least_rounded
from ssmc.data import Samples
from ssmc.folding.points import Plan
from ssmc.ir.build import constant_array, graph_of, is_op, node_name, required
from ssmc.ir.rounding import FloatArray
from ssmc.quantize.config import QuantizeConfig, weight_limit
from ssmc.quantize.nodes import QuantizedNodes
from ssmc.quantize.steps import weight_codes
from ssmc.verify import Session, show

#: runs of the model at most: where there are more layers, neighbours are fitted together
MOST_RUNS = 12
TOGETHER = 16  # sequences of one length
ENOUGH = 10  # rows of data for each input
MOST_ROWS = 1 << 14
STEPS = np.array([2.0, 1.0, 0.5])


@dataclass(frozen=True)
class Layer:
    """A matrix with a constant (C,) that is added to what it delivers.

    Attributes:
        value: the sum.
        axis: of its channels.
        node, position: which takes the constant as that input.
        matrix: node of the matrix.
        weight: (inputs, C) in the float model; None where it is no plain matrix.
        sums: of the float model, a row for every step of every sequence; filled in by `with_sums`.
        mean: of the sums, every sequence counting the same, (C,).
    """

    value: ir.Value
    axis: int
    node: ir.Node
    position: int
    matrix: ir.Node
    weight: FloatArray | None
    sums: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    mean: FloatArray = field(default_factory=lambda: np.zeros(0))

    def rows(self, values: FloatArray) -> FloatArray:
        """Values of the sum with a row for every step."""
        return np.moveaxis(values, self.axis, -1).reshape(-1, values.shape[self.axis])

    def with_sums(self, seen: list[FloatArray]) -> Layer:
        """With what the float model gives, an array a sequence."""
        rows = [self.rows(values) for values in seen]
        return replace(self, sums=np.concatenate(rows), mean=np.mean([each.mean(0) for each in rows], 0))


def layers(plan: Plan) -> list[Layer]:
    """Matrices of a plan that have a bias, in the order of the graph."""
    found = (_layer(node, position) for node, position in plan.matrices)
    return [layer for layer in found if layer is not None]


def _layer(matrix: ir.Node, position: int) -> Layer | None:
    if matrix.op_type in ("Conv", "Gemm"):
        bias = constant_array(matrix.inputs[2]) if len(matrix.inputs) > 2 else None
        beta = matrix.attributes.get("beta")
        if bias is None or bias.ndim != 1 or (beta is not None and beta.as_float() != 1):
            return None
        return Layer(matrix.outputs[0], 1, matrix, 2, matrix, None)
    uses = list(matrix.outputs[0].uses())
    if len(uses) != 1 or not is_op(uses[0].node, "Add"):
        return None
    add, other = uses[0].node, 1 - uses[0].idx
    bias, weight = constant_array(add.inputs[other]), constant_array(matrix.inputs[position])
    if bias is None or bias.ndim != 1:
        return None
    plain = position == 1 and weight is not None and weight.ndim == 2 and (weight != 0).all()
    kept = np.asarray(weight, np.float64) if plain else None
    return Layer(add.outputs[0], -1, add, other, matrix, kept)


def fit(
    model: ir.Model, every: list[Layer], samples: Samples, kind: np.dtype[np.generic], config: QuantizeConfig
) -> None:
    """Fit weights and biases of a quantized model, in place.

    Args:
        model: whose nodes the layers name.
        every: the layers, with their sums in the float model.
        samples: the calibration sequences that these are of.
        kind: what the model takes.
        config: widths of weights.
    """
    size = max(-(-len(every) // MOST_RUNS), 1)
    for start in range(0, len(every), size):
        some = every[start : start + size]
        for layer, seen in zip(some, _seen(ir.to_proto(model), some, samples, kind), strict=True):
            bias = _bias(layer) + layer.mean - np.mean([each.mean(0) for each in seen.sums], 0)
            inputs = np.concatenate(seen.inputs) if seen.inputs else np.zeros((0, 1))
            own = config.at(node_name(layer.matrix))
            if own.weight_bits > 1 and len(inputs) >= ENOUGH * inputs.shape[1]:
                weight = _set_weight(layer, inputs, own)
                bias = layer.mean - np.mean([each.mean(0) for each in seen.inputs], 0) @ weight
            _set(layer.node, layer.position, bias, f"{layer.value.name}.bias")


def _bias(layer: Layer) -> FloatArray:
    found = constant_array(layer.node.inputs[layer.position])
    if found is None:
        raise ValueError(f"{layer.value.name} has lost its bias")
    return np.asarray(found, np.float64)


def _set(node: ir.Node, position: int, array: FloatArray, name: str) -> None:
    node.replace_input_with(position, QuantizedNodes(graph_of(node), place=node).const(name, array))


def _set_weight(layer: Layer, inputs: FloatArray, config: QuantizeConfig) -> FloatArray:
    """Give the matrix the codes that fit ``inputs`` (rows, in) to its float sums best; returns what they are."""
    assert layer.weight is not None
    every = -(-len(inputs) // MOST_ROWS)
    x, z = (rows[::every] - rows[::every].mean(0) for rows in (inputs, layer.sums))
    gram = x.T @ x
    wanted = fitted(gram, z.T @ x, layer.weight.T)
    _, step = weight_codes(wanted.T, config.weight_bits, 1, config.power_of_two)
    limit, steps = weight_limit(config.weight_bits), np.outer(STEPS, step)
    codes, step = (found[0] for found in least_rounded(gram[None], wanted[None], steps[None], limit))
    name = f"{node_name(layer.matrix)}.fitted"
    nodes = QuantizedNodes(graph_of(layer.matrix), place=layer.matrix)
    layer.matrix.replace_input_with(1, nodes.weight(codes.T.astype(np.int64), step, 1, name))
    return np.asarray((codes * step[:, None]).T)


@dataclass(frozen=True)
class _Seen:
    """Rows of each sequence: of a layer's sums, and of its inputs where it is a plain matrix."""

    sums: list[FloatArray]
    inputs: list[FloatArray]


def _seen(proto: onnx.ModelProto, some: list[Layer], samples: Samples, kind: np.dtype[np.generic]) -> list[_Seen]:
    """What some layers see in the quantized model."""
    plain = [layer.weight is not None for layer in some]
    names = [str(layer.value.name) for layer in some]
    inputs = [str(required(layer.matrix, 0).name) for layer in some]
    shown = list(dict.fromkeys([*names, *(name for name, one in zip(inputs, plain, strict=True) if one)]))
    source = proto.graph.input[0].name
    show(proto, shown)
    session, found = Session(proto), {name: [np.zeros((0, 0))] * len(samples) for name in shown}
    for indices in _batches(samples):
        batch = np.stack([samples.sequence(index) for index in indices]).astype(kind)
        for name, values in zip(shown, _of_each(session, source, batch, shown), strict=True):
            for index, one in zip(indices, values, strict=True):
                found[name][index] = one.astype(np.float64)
    full = [index for index, length in enumerate(samples.lengths.tolist()) if length]
    return [
        _Seen(
            [layer.rows(found[name][index]) for index in full],
            [found[x][index].reshape(-1, found[x][index].shape[-1]) for index in full] if one else [],
        )
        for layer, name, x, one in zip(some, names, inputs, plain, strict=True)
    ]


def _of_each(
    session: Session, source: str, batch: NDArray[np.generic], names: list[str]
) -> list[list[NDArray[np.generic]]]:
    """Values of every sequence as a run of it alone gives them; all at once where each begins with the batch."""
    first = session.run({source: batch[:1]}, names)
    if all(one.shape[:1] == (1,) for one in first):
        every = session.run({source: batch}, names)
        if all(values.shape[:1] == (len(batch),) for values in every):
            return [[one[None] for one in values] for values in every]
    others = [session.run({source: batch[index : index + 1]}, names) for index in range(1, len(batch))]
    return [list(values) for values in zip(first, *others, strict=True)]


def _batches(samples: Samples) -> Iterator[list[int]]:
    """Sequences of one length at a time, without those that have no step."""
    by_length: dict[int, list[int]] = {}
    for index, length in enumerate(samples.lengths.tolist()):
        by_length.setdefault(length, []).append(index)
    for length, which in by_length.items():
        yield from (which[at : at + TOGETHER] for at in range(0, len(which) if length else 0, TOGETHER))

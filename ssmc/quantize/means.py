"""Biases that take back what quantization moves in the mean, layer after layer.

Rounding and clipping in front of a matrix move the mean of what it delivers, and a mean over time at the model's end
averages noise away, but not that. With z the sum and its bias in the float model, z' the same in the quantized one,

    bias  <-  bias + E[z] - E[z']        over the calibration data, one number for each output

(empirical bias correction: Nagel et al. 2019, arXiv 1906.04721, section 4.2). A layer is corrected after those in front
of it, so that each makes good what is left; a bias is a real number in front of a quantizer and costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir

from ssmc.data import Samples
from ssmc.folding.points import Plan
from ssmc.ir.build import constant_array, graph_of
from ssmc.ir.rounding import FloatArray
from ssmc.quantize.nodes import Nodes
from ssmc.verify import Session

#: runs of the model at most: where there are more layers, neighbours are corrected together
MOST_RUNS = 12
TOGETHER = 16  # sequences of one length


@dataclass(frozen=True)
class Bias:
    """A constant (C,) that is added to what a matrix delivers.

    Attributes:
        value: the sum. axis: of its channels.
        node, position: which takes the constant as that input.
    """

    value: ir.Value
    axis: int
    node: ir.Node
    position: int

    def mean(self, values: FloatArray) -> FloatArray:
        """Of ``values`` of the sum, for each channel."""
        return np.asarray(np.moveaxis(values, self.axis, -1).reshape(-1, values.shape[self.axis]).mean(0))


def biases(plan: Plan) -> list[Bias]:
    """Biases of the matrices of a plan, in the order of the graph; a matrix without one is left out."""
    found = (_bias_of(node) for node, _ in plan.matrices)
    return [bias for bias in found if bias is not None]


def _bias_of(matrix: ir.Node) -> Bias | None:
    if matrix.op_type in ("Conv", "Gemm"):
        own = constant_array(matrix.inputs[2]) if len(matrix.inputs) > 2 else None
        return None if own is None or own.ndim != 1 else Bias(matrix.outputs[0], 1, matrix, 2)
    uses = list(matrix.outputs[0].uses())
    if len(uses) != 1 or uses[0].node.op_type != "Add":
        return None
    position = 1 - uses[0].idx
    own = constant_array(uses[0].node.inputs[position])
    return None if own is None or own.ndim != 1 else Bias(uses[0].node.outputs[0], -1, uses[0].node, position)


def correct(
    model: ir.Model, every: list[Bias], wanted: list[FloatArray], samples: Samples, kind: np.dtype[np.generic]
) -> None:
    """Move the biases of a quantized model, in place.

    Args:
        model: whose nodes hold the biases.
        every: the biases.
        wanted: mean of every sum in the float model.
        samples: calibration sequences.
        kind: what the model takes.
    """
    for some in _stages(list(zip(every, wanted, strict=True))):
        seen = _means(ir.to_proto(model), [bias for bias, _ in some], samples, kind)
        for (bias, mean), now in zip(some, seen, strict=True):
            found = constant_array(bias.node.inputs[bias.position])
            if found is None:
                raise ValueError(f"{bias.value.name} has lost its bias")
            nodes = Nodes(graph_of(bias.node), place=bias.node)
            new = nodes.const(f"{bias.value.name}.bias", found.astype(np.float64) + mean - now, found.dtype.type)
            bias.node.replace_input_with(bias.position, new)


def _stages(every: list[tuple[Bias, FloatArray]]) -> Iterator[list[tuple[Bias, FloatArray]]]:
    """One after the other, or neighbours together where there are more than `MOST_RUNS`."""
    size = max(-(-len(every) // MOST_RUNS), 1)
    yield from (every[start : start + size] for start in range(0, len(every), size))


def _means(proto: onnx.ModelProto, some: list[Bias], samples: Samples, kind: np.dtype[np.generic]) -> list[FloatArray]:
    """Means of some sums over the sequences, each of which counts the same."""
    names = [str(bias.value.name) for bias in some]
    known = {output.name for output in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    session, source = Session(proto), proto.graph.input[0].name
    total, count = [np.zeros(1)] * len(some), 0
    for batch in _batches(samples):
        results = session.run({source: batch.astype(kind)}, names)
        count += len(batch)
        means = (bias.mean(values.astype(np.float64)) for bias, values in zip(some, results, strict=True))
        total = [before + len(batch) * mean for before, mean in zip(total, means, strict=True)]
    return [sums / max(count, 1) for sums in total]


def _batches(samples: Samples) -> Iterator[FloatArray]:
    """Sequences (N, T, d) of one length at a time, without those that have no step."""
    by_length: dict[int, list[int]] = {}
    for index, length in enumerate(samples.lengths.tolist()):
        by_length.setdefault(length, []).append(index)
    for length, which in by_length.items():
        for start in range(0, len(which) if length else 0, TOGETHER):
            yield np.stack([samples.sequence(index) for index in which[start : start + TOGETHER]])

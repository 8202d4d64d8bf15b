"""Where a float graph needs quantizers, so that every operation between two of them has an integer form.

A value is *raw* (the model's input, scaled), *coded* (a quantizer's output), *converted* (a kernel's output: codes of
a step of its own per channel), *dense* (a matrix of coded values), *mean* (or sum, of steps: it takes no constant),
*open* (any other sum that waits for a quantizer) or *mapped* (a function of coded values). Operations that need coded
operands get them: a quantizer goes in front of the first such operation, and serves them all. A function of one code
takes a kernel's output as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ssmc.errors import ModelError
from ssmc.folding.elementwise import CLAMPS, FUNCTIONS, of_two_signals
from ssmc.folding.operands import part_size
from ssmc.ir.build import constant_array, is_op, node_name
from ssmc.recognition.axes import Axes

LAYOUT = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast", "Dropout", "Expand"})
SELECT = frozenset({"Split", "Slice", "Gather"})
AFFINE = frozenset({"Add", "Sub", "Mul", "Div", "BatchNormalization"})
SAME = frozenset({"Identity", "Cast", "Dropout"})
BY_NUMBER = FUNCTIONS | AFFINE | SAME
HEADS = frozenset({"Softmax", "LogSoftmax", "ArgMax", "Log"})
REDUCTIONS = frozenset({"ReduceMean", "ReduceSum", "GlobalAveragePool"})
LARGEST = frozenset({"ReduceMax", "ReduceMin", "GlobalMaxPool"})
MATRICES = frozenset({"MatMul", "Gemm", "Conv"})
NORMS = frozenset({"LayerNormalization", "RMSNormalization"})


@dataclass
class Plan:
    """Values to quantize in order of the graph, kernels, and matrices with the position of their weight.

    ``means``: exponentially weighted ones that start at the first step. ``output_per_step``: the output is a signal,
    not one result of the sequence.
    """

    points: list[ir.Value] = field(default_factory=list)
    inputs: set[ir.Value] = field(default_factory=set)
    outputs: set[ir.Value] = field(default_factory=set)
    kernels: list[ir.Node] = field(default_factory=list)
    means: list[ir.Node] = field(default_factory=list)
    matrices: list[tuple[ir.Node, int]] = field(default_factory=list)
    output_per_step: bool = False


def is_quantizer(node: ir.Node | None) -> bool:
    """Whether a node is a quantizer of a signal."""
    return is_op(node, "Quant", domain="ssmc")


def maker(value: ir.Value | None) -> ir.Node | None:
    """The node that makes a value, behind changes of layout."""
    node = None if value is None else value.producer()
    while node is not None and node.op_type in LAYOUT and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node


def plan_quantizers(model: ir.Model, axes: Axes) -> Plan:
    """Where the graph needs quantizers: walked until a walk that knows all of them from the start needs no more.

    Raises:
        ModelError: SSMC-T02 an operation has no integer form, SSMC-Q06 the output does not depend on the input.
    """
    known: frozenset[ir.Value] = frozenset()
    while True:
        plan = Planner(model, axes, known).plan
        if known.issuperset(plan.points):
            return plan
        known = known.union(plan.points)


class Planner:
    """Walks the graph once; ``plan`` is the result.

    A value that is made number by number from one other has that as its *root*: functions of several values with the
    same root are functions of its code. Its *stem* lies further up where constants of every channel stand between. A
    quantizer is better off behind these: only functions of several values that have no root in common take the stem.
    """

    def __init__(self, model: ir.Model, axes: Axes, known: frozenset[ir.Value]) -> None:
        self.axes, self.known = axes, known
        self.plan = Plan(output_per_step="T" in "".join(axes.roles.get(str(model.graph.outputs[0].name), ())))
        source, output = model.graph.inputs[0], model.graph.outputs[0]
        self.kinds: dict[ir.Value, str] = {source: "raw"}
        self.coded: set[ir.Value] = set()  # the points, to look up
        self.roots: dict[ir.Value, ir.Value] = {}
        self.above: dict[ir.Value, ir.Value] = {}  # on the way to the stem
        self.tabled: set[ir.Value] = set()  # what only a table computes
        if source in known:
            self._coded(source)
        for node in model.graph:
            self._visit(node)
        if output not in self.kinds:
            fact = "the output does not depend on the input"
            raise ModelError("SSMC-Q06", fact, "export again", str(output.name))
        if self.kinds.get(output) not in ("coded", "head"):
            self._coded(output)
            self.plan.outputs.add(output)

    def _coded(self, value: ir.Value) -> None:
        """Put a quantizer behind ``value`` unless there is one."""
        if self._kind(value) == "coded":
            return
        if self.kinds[value] == "raw":
            self.plan.inputs.add(value)
        self.plan.points.append(value)
        self.coded.add(value)

    def _kind(self, value: ir.Value) -> str:
        return "coded" if value in self.coded else self.kinds[value]

    def _visit(self, node: ir.Node) -> None:
        signals = [v for v in node.inputs if v is not None and v in self.kinds]
        if not signals or is_op(node, "Shape"):
            return
        kind = self._result(node, signals)
        for out in node.outputs:
            self.kinds[out] = kind
            if out in self.known:
                self._coded(out)
        if node.op_type in BY_NUMBER:
            self._trace(node, signals)

    def _trace(self, node: ir.Node, signals: list[ir.Value]) -> None:
        """Note the root and the stem of what a node makes number by number, and what needs a table."""
        out, op = node.outputs[0], node.op_type
        roots = {self._root(value) for value in signals}
        constants = [constant_array(value) for value in node.inputs if value is not None and value not in signals]
        alike = op in FUNCTIONS or all(array is not None and array.size == 1 for array in constants)
        if len(roots) == 1 and alike:
            self.roots[out] = roots.pop()
        stems = {*signals} if len(signals) == 1 else {self._stem(value) for value in signals}
        if len(stems) == 1 and (alike or all(self._of_channels(array, out) for array in constants)):
            self.above[out] = stems.pop()
        if self.kinds[out] == "mapped" and (op not in CLAMPS or not self.tabled.isdisjoint(signals)):
            self.tabled.add(out)

    def _root(self, value: ir.Value) -> ir.Value:
        return value if value in self.coded else self.roots.get(value, value)

    def _stem(self, value: ir.Value) -> ir.Value:
        while value not in self.coded and value in self.above:
            value = self.above[value]
        return value

    def _of_channels(self, constant: NDArray[Any] | None, value: ir.Value) -> bool:
        """Whether an operand of ``value`` is one number, or one for every channel."""
        roles = self.axes.roles.get(str(value.name), ())
        if constant is None or constant.ndim > len(roles):
            return False
        axes = zip(reversed(constant.shape), reversed(roles), strict=False)
        return all(size == 1 or role == "C" or part_size(role) for size, role in axes)

    def _shared(self, value: ir.Value) -> ir.Value:
        """The root of a value where others read its code too, else the value."""
        root = self._root(value)
        taken = root in self.coded and root not in self.plan.inputs
        return root if taken or (root is not value and len(root.uses()) > 1) else value

    def _one_code(self, signals: list[ir.Value], origin: Callable[[ir.Value], ir.Value]) -> bool:
        """Whether the ``origin`` of all of them is one value; it gets a quantizer if it is."""
        first, *others = map(origin, signals)
        if any(other is not first for other in others):
            return False
        if self._kind(first) != "converted":
            self._coded(first)
        return True

    def _result(self, node: ir.Node, signals: list[ir.Value]) -> str:
        first = signals[0]
        op = node.op_type
        if is_quantizer(node):
            return "coded"
        if is_op(node, "StateSpace", "StateSpaceAfter", domain="ssmc"):
            self.plan.kernels.append(node)
            return "converted"
        if is_op(node, "MovingAverage", domain="ssmc"):
            self._coded(first)
            self.plan.means.append(node)
            return "coded"
        if op in LAYOUT or (op in HEADS and self.kinds[first] == "head"):
            return self._kind(first)
        if op in HEADS and op != "Log":
            if self._kind(first) != "coded":
                self.plan.outputs.add(first)
            self._coded(first)
            return "head"
        if self.kinds[first] == "head":
            fact = f"{op} reads a softmax or argmax, which is computed outside the integer program"
            raise ModelError("SSMC-T02", fact, "leave softmax and argmax to the end of the model", node_name(node))
        if op == "Concat":
            return self._concat(signals)
        if op == "Gather" and node.inputs[0] not in self.kinds:  # rows of a table, by ids
            if not is_op(maker(node.inputs[0]), "Dequant", domain="ssmc"):
                self.plan.matrices.append((node, 0))
            return "converted"
        if op in SELECT:
            if self._kind(first) not in ("dense", "coded", "converted") or self._over_time(node, first):
                self._coded(first)
            return self._kind(first)
        if op in LARGEST or op == "Pad":
            self._coded(first)
            return "coded"
        if op in MATRICES and len(signals) == 1:
            return self._matrix(node, first)
        inverse = op == "Div" and node.inputs[1] in signals
        if op in AFFINE and len(signals) == 1 and not inverse:
            return self._affine(node, first)
        if (
            len(signals) > 1
            and op in AFFINE
            and not self.tabled.isdisjoint(signals)
            and self._one_code(signals, self._root)
        ):
            return "mapped"
        if op in ("Add", "Sub", "Mul") or op in NORMS or op in ("AveragePool", *REDUCTIONS):
            for value in signals:
                self._coded(value)
            return "mean" if op in ("AveragePool", *REDUCTIONS) else "open"
        if len(signals) > 1 and (op in FUNCTIONS or inverse):
            if not self._one_code(signals, self._root) and not self._one_code(signals, self._stem):
                raise of_two_signals(node)
            return "mapped"
        if op in FUNCTIONS or inverse:
            if self._kind(first) not in ("mapped", "converted"):
                self._coded(self._shared(first))
            return "mapped"
        fact = f"operation {op} has no integer form here"
        raise ModelError("SSMC-T02", fact, "replace it, or move it out of the model", node_name(node))

    def _concat(self, signals: list[ir.Value]) -> str:
        """Codes side by side; every part has a step of its own, so that what follows needs one for all."""
        for value in signals:
            if self._kind(value) != "converted":
                self._coded(value)
        return "converted"

    def _over_time(self, node: ir.Node, value: ir.Value) -> bool:
        """Whether a node takes some steps of a value; not where it cuts off what a convolution has behind the last."""
        roles = self.axes.roles.get(str(value.name), ())
        out = self.axes.roles.get(str(node.outputs[0].name), ())
        if "T" not in roles or "T" not in out:
            return "T" in roles
        before, after = (self.axes.shapes[str(one.name)] for one in (value, node.outputs[0]))
        return before[roles.index("T")] != after[out.index("T")] and not is_op(maker(value), "Conv")

    def _matrix(self, node: ir.Node, signal: ir.Value) -> str:
        self._coded(signal)
        position = 1 - list(node.inputs).index(signal) if node.op_type == "MatMul" else 1
        if not is_op(maker(node.inputs[position]), "Dequant", domain="ssmc"):
            self.plan.matrices.append((node, position))
        return "dense"

    def _affine(self, node: ir.Node, signal: ir.Value) -> str:
        kind = self._kind(signal)
        constants = [constant_array(v) for v in node.inputs if v is not None and v is not signal]
        positive = all(c is not None and (np.asarray(c, np.float64) > 0).all() for c in constants)
        scales = node.op_type in ("Mul", "Div") and positive
        if (kind == "raw" and not scales) or (kind == "mean" and node.op_type not in ("Mul", "Div")):
            self._coded(signal)
            kind = "coded"
        return "open" if kind in ("coded", "converted") and not scales else kind

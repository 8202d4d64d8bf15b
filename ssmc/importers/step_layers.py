"""One layer of a step: what lies between some states and their next values, as a Scan over all steps.

What lies between a state and its next value becomes the body, with the matrices that read inputs and states; what comes
before and behind is applied to all steps at once, batch and time in one axis, so that no operator changes its rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import add_constant, is_op
from ssmc.ir.node_builder import NodeBuilder

ELEMENTWISE = ("Mul", "Div", "Neg", "Identity", "Cast", "Unsqueeze", "Squeeze", "Reshape", "Transpose", "Expand")
MATRICES = ("MatMul", "Gemm", "Einsum", "ReduceSum")
JOINS = ("Add", "Sub", "Concat", "Split", "Slice", "Gather")


@dataclass(frozen=True)
class Steps:
    """A graph that computes one step, on rows that hold all steps of all sequences.

    Attributes:
        graph: where it stands; shapes: of its values, at some batch.
        rows: values (N T, ...) that it reads; lengths: batch and time.
        pairs: states (N, ...) and their next values.
        starts: first values of the states.
        ends: nodes that read the step's results and are no part of it.
    """

    graph: ir.Graph
    shapes: dict[str, tuple[int, ...]]
    rows: Sequence[ir.Value]
    lengths: ir.Value
    pairs: Mapping[ir.Value, ir.Value]
    starts: Mapping[ir.Value, ir.Value]
    ends: frozenset[ir.Node] = frozenset()

    def scan_layers(self, name: str) -> None:
        """Put a Scan in the place of every layer: of states that depend on each other."""
        layers = self._layers()
        for index, layer in enumerate(layers):
            own = f"{name}.{index}" if len(layers) > 1 else name
            _Layer(self, {state: self.pairs[state] for state in layer}, own).rewrite()

    def between(self) -> Iterator[ir.Node]:
        """What lies between states and their next values, in every layer."""
        for layer in self._layers():
            yield from _Layer(self, {state: self.pairs[state] for state in layer}, "").between()

    def _layers(self) -> list[list[ir.Value]]:
        """States that depend on each other, those first on which others depend."""
        import networkx as nx

        needs = nx.DiGraph()
        needs.add_nodes_from(self.pairs)
        for state in self.pairs:
            reached = behind(self.graph, [state])
            needs.add_edges_from((state, other) for other, following in self.pairs.items() if following in reached)
        parts = nx.condensation(needs)
        order = list(self.pairs)
        chosen = [sorted(parts.nodes[part]["members"], key=order.index) for part in nx.topological_sort(parts)]
        return [list(layer) for layer in chosen]


def behind(graph: ir.Graph, values: Iterable[ir.Value]) -> set[ir.Value]:
    """These values and all that depend on them."""
    found = set(values)
    for node in graph:
        if any(value in found for value in node.inputs):
            found |= set(node.outputs)
    return found


@dataclass
class _Layer:
    """Some states, taken out of a step.

    Attributes:
        pairs: states to their next values.
        stateful, changing: values that depend on these states, and on any input or state.
        later: values that depend on a state of another layer.
        inside: nodes of the body in order; fed: values that it reads from outside; given: values that it hands out.
    """

    step: Steps
    pairs: dict[ir.Value, ir.Value]
    name: str
    stateful: set[ir.Value] = field(default_factory=set)
    changing: set[ir.Value] = field(default_factory=set)
    later: set[ir.Value] = field(default_factory=set)
    inside: list[ir.Node] = field(default_factory=list)
    fed: list[ir.Value] = field(default_factory=list)
    given: list[ir.Value] = field(default_factory=list)

    @property
    def graph(self) -> ir.Graph:
        """Where the step stands."""
        return self.step.graph

    def rewrite(self) -> None:
        """Put a Scan, and reshapes around it, in the place of the layer."""
        others = [state for state in self.step.pairs if state not in self.pairs]
        self.later = behind(self.graph, others)
        self.changing = behind(self.graph, [*self.step.rows, *self.step.pairs])
        chosen = self.between()
        chosen |= self._read_outs(chosen)
        self._pull_in(chosen)
        self.inside = [node for node in self.graph if node in chosen]
        self.given = self._handed_out(chosen)
        self._emit()

    def between(self) -> set[ir.Node]:
        """Nodes on the way from a state to a next state."""
        self.stateful = behind(self.graph, self.pairs)
        wanted, found = set(self.pairs.values()), set()
        for node in reversed(list(self.graph)):
            if any(out in wanted and out in self.stateful and out not in self.pairs for out in node.outputs):
                found.add(node)
                wanted |= {value for value in node.inputs if value is not None and value in self.stateful}
        return found

    def _read_outs(self, between: set[ir.Node]) -> set[ir.Node]:
        """The first matrix that reads the states, with the sums and products by constants around it."""
        matrices: dict[ir.Value, int] = {value: 0 for value in self.pairs}
        matrices |= {out: 0 for node in between for out in node.outputs}
        found = set()
        for node in self.graph:
            read = [v for v in node.inputs if v in self.stateful]
            if node in self.step.ends or any(v in self.later for v in node.inputs):
                continue
            if node in between or not read or any(v not in matrices for v in read) or not self._is_affine(node):
                continue
            count = max(matrices[v] for v in read if v is not None) + is_op(node, *MATRICES)
            if count <= 1:
                found.add(node)
                matrices |= {out: count for out in node.outputs}
        for node in reversed(list(self.graph)):
            if node in found and self._repeats(node, found | between):
                found.remove(node)
        return found

    def _repeats(self, node: ir.Node, chosen: set[ir.Node]) -> bool:
        """Whether it is the last of the body, and all that it reads is handed out to others besides."""
        alone = all(use.node not in chosen for out in node.outputs for use in out.uses())
        read = [value for value in node.inputs if value is not None and value in self.stateful]
        return alone and all(any(use.node not in chosen for use in value.uses()) for value in read)

    def _is_affine(self, node: ir.Node) -> bool:
        """Whether it is linear in what changes, without a constant added."""
        signals = [value for value in node.inputs if value in self.changing]
        others = [value for value in node.inputs if value is not None and value not in self.changing]
        if is_op(node, "Add", "Sub"):
            return not others
        if is_op(node, "Gemm"):
            return len(signals) == 1 and len(others) == 1
        return is_op(node, *JOINS) or (is_op(node, *ELEMENTWISE, *MATRICES) and len(signals) == 1)

    def _pull_in(self, chosen: set[ir.Node]) -> None:
        """The matrix through which an input drives the states, and products by constants behind it."""
        order = list(self.graph)
        read = [v for node in order if node in chosen for v in node.inputs]
        read += list(self.pairs.values())
        outside = [v for v in dict.fromkeys(read) if v in self.changing and v not in self.stateful]
        outside.sort(key=lambda v: not is_op(v.producer(), *MATRICES))
        for value in outside:
            self._pull(value, chosen, 1)

    def _pull(self, value: ir.Value, chosen: set[ir.Node], matrices: int) -> None:
        node = value.producer()
        if value in self.fed or value in self.pairs:
            return
        direct = node is None or not self._is_affine(node) or is_op(node, *JOINS)
        if direct or (is_op(node, *MATRICES) and not matrices):
            self.fed.append(value)
            return
        assert node is not None
        chosen.add(node)
        left = matrices - is_op(node, *MATRICES)
        for source in node.inputs:
            if source is not None and source in self.changing:
                if left:
                    self._pull(source, chosen, left)
                elif source not in self.fed:
                    self.fed.append(source)

    def _handed_out(self, chosen: set[ir.Node]) -> list[ir.Value]:
        """What nodes outside read of the body, and what is a result."""
        made = [*self.pairs, *(out for node in self.inside for out in node.outputs)]
        found = []
        for value in made:
            outside = any(use.node not in chosen and value in self.stateful for use in value.uses())
            if value in self.stateful and (outside or value.is_graph_output()):
                found.append(value)
        return found

    def _emit(self) -> None:
        graph, name, lengths = self.graph, self.name, self.step.lengths
        body, ahead = self._body(f"{name}.body"), StepNodes(graph)
        rows = [ahead.unflattened(v, lengths, self._size(v), f"{name}.u{i}") for i, v in enumerate(self.fed)]
        scan = ir.node(
            "Scan", [*(self.step.starts[state] for state in self.pairs), *rows],
            {"body": body, "num_scan_inputs": len(rows)}, name=name, num_outputs=len(self.pairs) + len(self.given),
        )  # fmt: skip
        for index, out in enumerate(scan.outputs):
            out.name = f"{name}.result{index}"
        graph.append(scan)
        results = scan.outputs[len(self.pairs) :]
        for index, (value, stacked) in enumerate(zip(self.given, results, strict=True)):
            flat = ahead.flattened(stacked, self._size(value), f"{name}.y{index}")
            self.step.shapes[str(flat.name)] = self.step.shapes[str(value.name)]
            self._hand_on(value, flat)
        graph.sort()

    def _size(self, value: ir.Value) -> tuple[int, ...]:
        return self.step.shapes[str(value.name)][1:]

    def _hand_on(self, value: ir.Value, flat: ir.Value) -> None:
        """Have what is outside read the Scan's output."""
        inside = set(self.inside)
        for use in list(value.uses()):
            if use.node not in inside:
                use.node.replace_input_with(use.idx, flat)
        for index, output in enumerate(self.graph.outputs):
            if output is value:
                value.name, flat.name = f"{value.name}.step", value.name
                flat.type = value.type
                self.graph.outputs[index] = flat

    def _body(self, name: str) -> ir.Graph:
        """Copies of the nodes inside, on values of their own."""
        old = [*self.pairs, *self.fed]
        new = [ir.val(f"{name}.{v.name}", dtype=v.dtype) for v in old]
        known: dict[ir.Value | None, ir.Value | None] = dict(zip(old, new, strict=True))
        nodes = []
        for node in self.inside:
            inputs = [known.get(v, v) for v in node.inputs]
            copy = ir.Node(node.domain, node.op_type, inputs, node.attributes.values(), num_outputs=len(node.outputs),
                           name=node.name)  # fmt: skip
            for before, after in zip(node.outputs, copy.outputs, strict=True):
                known[before], after.name = after, f"{name}.{before.name}"
                after.type = before.type
            nodes.append(copy)
        results = []
        for index, value in enumerate((*self.pairs.values(), *self.given)):
            end = ir.node("Identity", [known[value]], name=f"{name}.end{index}")
            end.outputs[0].name, end.outputs[0].dtype = f"{name}.end{index}", value.dtype or ir.DataType.FLOAT
            nodes.append(end)
            results.append(end.outputs[0])
        return ir.Graph(new, results, nodes=nodes, name=name, opset_imports={"": 21})


class StepNodes(NodeBuilder):
    """Builds what stands around the Scans of a step's layers."""

    def const(self, numbers: Sequence[int], name: str) -> ir.Value:
        """Whole numbers."""
        return add_constant(self.graph, name, list(numbers), np.int64)

    def reshaped(self, value: ir.Value, shape: Sequence[int], name: str) -> ir.Value:
        """In a constant shape."""
        return self.op("Reshape", [value, self.const(shape, f"{name}.shape")], name)

    def zeros(self, batch: ir.Value, dims: Sequence[int], name: str) -> ir.Value:
        """(N, ...)."""
        shape = self.op("Concat", [batch, self.const(dims, f"{name}.dims")], f"{name}.shape", axis=0)
        return self.op("ConstantOfShape", [shape], name)

    def unflattened(self, value: ir.Value, lengths: ir.Value, dims: Sequence[int], name: str) -> ir.Value:
        """(N T, ...) as (T, N, ...)."""
        shape = self.op("Concat", [lengths, self.const(dims, f"{name}.dims")], f"{name}.shape", axis=0)
        apart = self.op("Reshape", [value, shape], f"{name}.apart")
        return self.op("Transpose", [apart], name, perm=[1, 0, *range(2, 2 + len(dims))])

    def flattened(self, value: ir.Value, dims: Sequence[int], name: str) -> ir.Value:
        """(T, N, ...) as (N T, ...)."""
        turned = self.op("Transpose", [value], f"{name}.turned", perm=[1, 0, *range(2, 2 + len(dims))])
        return self.reshaped(turned, [-1, *dims], name)

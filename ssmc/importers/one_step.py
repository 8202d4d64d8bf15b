"""A model of one step, with its states as inputs and outputs, as a Scan over a sequence.

What lies between a state and its next value becomes the body, with the matrices that read inputs and states; what comes
before and behind is applied to all steps at once, batch and time in one axis, so that no operator changes its rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx_ir as ir

from ssmc.budgets import Budgets
from ssmc.errors import ModelError
from ssmc.importers.inputs import Parts
from ssmc.importers.joined_steps import join_inputs
from ssmc.importers.pairing import Shapes, pair_states
from ssmc.ir.build import add_constant, is_op, remove_dead
from ssmc.trial import LimitedSession, shape_of

ELEMENTWISE = ("Mul", "Div", "Neg", "Identity", "Cast", "Unsqueeze", "Squeeze", "Reshape", "Transpose", "Expand")
MATRICES = ("MatMul", "Gemm", "Einsum", "ReduceSum")
JOINS = ("Add", "Sub", "Concat", "Split", "Slice", "Gather")
BATCH = 3
SCAN = "one_step"


def one_step_to_scan(model: ir.Model, states: Mapping[str, str], budgets: Budgets, source: str) -> Parts:
    """Rewrite a model that takes one step. ``states``: names, input to output.

    Returns:
        The inputs whose columns it takes side by side, where it has several besides its states (`input_parts`).

    Raises:
        ModelError: SSMC-M14 where its states cannot be told, or have no batch axis.
        UsageError: SSMC-U07 where one run takes more seconds of CPU than the budget.
    """
    graph = model.graph
    if len(graph.inputs) < 2 or len(graph.outputs) < 2 or any(is_op(node, "Scan", "Loop") for node in graph):
        return ()
    shapes = _measured(model, budgets, source)
    pairs = pair_states(graph, shapes, states)
    xs = [value for value in graph.inputs if value not in pairs]
    joined, parts = join_inputs(graph, xs, shapes) if len(xs) > 1 else (shapes, ())
    _Step(graph, joined, pairs).rewrite()
    return parts


def _measured(model: ir.Model, budgets: Budgets, source: str) -> dict[str, tuple[int, ...]]:
    """Shapes of every value at a batch of 3."""
    proto = ir.to_proto(model)
    names = [out for node in proto.graph.node for out in node.output if out]
    known = {out.name for out in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    feeds = {}
    for value in model.graph.inputs:
        if value.shape is None or len(value.shape) < 2 or isinstance(value.shape[0], int):
            fact = f"shape {value.shape} does not begin with a dynamic batch"
            raise ModelError("SSMC-M14", fact, "export states as (batch, ...) with a dynamic batch", str(value.name))
        dims = [BATCH, *(int(dim) if isinstance(dim, int) else 1 for dim in value.shape.dims[1:])]
        feeds[str(value.name)] = np.zeros(dims, (value.dtype or ir.DataType.FLOAT).numpy())
    results = LimitedSession(proto, budgets, source).run(feeds, names)
    return {name: x.shape for name, x in feeds.items()} | {n: shape_of(x) for n, x in zip(names, results, strict=True)}


@dataclass
class _Step:
    """The graph of one step, taken apart.

    Attributes:
        pairs: state inputs to their next values.
        stateful, changing: values that depend on a state, and on any input.
        inside: nodes of the body in order; fed: values that it reads from outside; given: values that it hands out.
    """

    graph: ir.Graph
    shapes: Shapes
    pairs: dict[ir.Value, ir.Value]
    stateful: set[ir.Value] = field(default_factory=set)
    changing: set[ir.Value] = field(default_factory=set)
    inside: list[ir.Node] = field(default_factory=list)
    fed: list[ir.Value] = field(default_factory=list)
    given: list[ir.Value] = field(default_factory=list)

    def rewrite(self) -> None:
        """Put a Scan, and reshapes around it, in the place of the step."""
        graph = self.graph
        (x,), (y,) = ([v for v in side if v not in known] for side, known in (
            (graph.inputs, self.pairs), (graph.outputs, set(self.pairs.values()))
        ))  # fmt: skip
        self.stateful, self.changing = self._behind(self.pairs), self._behind(graph.inputs)
        chosen = self._between()
        chosen |= self._read_outs(chosen)
        self._pull_in(chosen)
        self.inside = [node for node in graph if node in chosen]
        self.given = self._handed_out(chosen, y)
        self._emit(x, y)

    def _behind(self, values: Iterable[ir.Value]) -> set[ir.Value]:
        found = set(values)
        for node in self.graph:
            if any(value in found for value in node.inputs):
                found |= set(node.outputs)
        return found

    def _between(self) -> set[ir.Node]:
        """Nodes on the way from a state to a next state."""
        wanted, found = set(self.pairs.values()), set()
        for node in reversed(list(self.graph)):
            if any(out in wanted for out in node.outputs) and any(out in self.stateful for out in node.outputs):
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
            if node in between or not read or any(v not in matrices for v in read) or not self._is_affine(node):
                continue
            count = max(matrices[v] for v in read if v is not None) + is_op(node, *MATRICES)
            if count <= 1:
                found.add(node)
                matrices |= {out: count for out in node.outputs}
        return found

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

    def _handed_out(self, chosen: set[ir.Node], y: ir.Value) -> list[ir.Value]:
        """What nodes outside read of the body, and the result where it is made there."""
        made = [*self.pairs, *(out for node in self.inside for out in node.outputs)]
        found = []
        for value in made:
            outside = any(use.node not in chosen and value in self.stateful for use in value.uses())
            if value in self.stateful and (outside or value is y):
                found.append(value)
        return found

    def _emit(self, x: ir.Value, y: ir.Value) -> None:
        graph, name = self.graph, SCAN
        body = self._body(f"{name}.body")
        x_dims = self.shapes[str(x.name)][1:]
        sequence = ir.val(str(x.name), dtype=x.dtype, shape=ir.Shape(["batch", "time", *x_dims]))
        ahead = _Nodes(graph, graph[0])
        flat = ahead.reshaped(sequence, [-1, *x_dims], f"{name}.flat")
        lengths = ahead.op("Shape", [sequence], f"{name}.lengths", start=0, end=2)
        batch = ahead.op("Shape", [sequence], f"{name}.batch", start=0, end=1)
        sizes = [self.shapes[str(state.name)][1:] for state in self.pairs]
        starts = [ahead.zeros(batch, dims, f"{name}.start{i}") for i, dims in enumerate(sizes)]
        x.replace_all_uses_with(flat)
        self.fed = [flat if value is x else value for value in self.fed]
        self.shapes = {**self.shapes, f"{name}.flat": (BATCH, *x_dims)}
        first = next(node for node in graph if node in self.inside)
        read = [*self.fed, *(v for node in self.inside for v in node.inputs if v not in self.stateful)]
        makers = {value.producer() for value in read if value is not None} - set(self.inside)
        last = max((list(graph).index(maker) for maker in makers if maker is not None), default=-1)
        place = list(graph)[max(last + 1, list(graph).index(first))]
        middle = _Nodes(graph, place)
        sizes = [self.shapes[str(value.name)][1:] for value in self.fed]
        rows = [middle.unflattened(v, lengths, sizes[i], f"{name}.u{i}") for i, v in enumerate(self.fed)]
        scan = ir.node(
            "Scan", [*starts, *rows], {"body": body, "num_scan_inputs": len(rows)}, name=name,
            num_outputs=len(starts) + len(self.given),
        )  # fmt: skip
        for index, out in enumerate(scan.outputs):
            out.name = f"{name}.result{index}"
        graph.insert_before(place, scan)
        self._hand_on(scan, middle, x, y, sequence, lengths)

    def _hand_on(
        self, scan: ir.Node, middle: _Nodes, x: ir.Value, y: ir.Value, sequence: ir.Value, lengths: ir.Value
    ) -> None:
        graph, inside = self.graph, set(self.inside)
        results = dict(zip(self.given, scan.outputs[len(self.pairs) :], strict=True))
        result = y
        for index, (value, stacked) in enumerate(results.items()):
            dims = self.shapes[str(value.name)][1:]
            flat = middle.flattened(stacked, dims, f"{SCAN}.y{index}")
            for use in list(value.uses()):
                if use.node not in inside:
                    use.node.replace_input_with(use.idx, flat)
            result = flat if value is y else result
        end = _Nodes(graph, None)
        size = self.shapes[str(y.name)][1:]
        shape = end.op("Concat", [lengths, end.const(size, f"{SCAN}.size")], f"{SCAN}.shape", axis=0)
        named = str(y.name)
        y.name = f"{named}.step"
        out = end.op("Reshape", [result, shape], f"{SCAN}.output")
        out.name = named
        out.type, out.shape = y.type, ir.Shape(["batch", "time", *size])
        graph.inputs.clear()
        graph.inputs.append(sequence)
        graph.outputs.clear()
        graph.outputs.append(out)
        remove_dead(graph)

    def _body(self, name: str) -> ir.Graph:
        """Copies of the nodes inside, on values of their own."""
        old = [*self.pairs, *self.fed]
        new = [ir.val(f"{name}.{v.name}", dtype=v.dtype) for v in old]
        known: dict[ir.Value | None, ir.Value | None] = dict(zip(old, new, strict=True))
        nodes = []
        for node in self.inside:
            inputs = [known.get(v, v) for v in node.inputs]
            copy = ir.Node(node.domain, node.op_type, inputs, node.attributes.values(), num_outputs=len(node.outputs),
                           name=f"{name}.{node.name}")  # fmt: skip
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


@dataclass
class _Nodes:
    """Builds nodes before ``place``, or at the end."""

    graph: ir.Graph
    place: ir.Node | None

    def op(self, kind: str, inputs: Sequence[ir.Value], name: str, **attributes: int | list[int]) -> ir.Value:
        node = ir.node(kind, list(inputs), attributes or None, name=name)
        node.outputs[0].name = name
        if self.place is None:
            self.graph.append(node)
        else:
            self.graph.insert_before(self.place, node)
        return node.outputs[0]

    def const(self, numbers: Sequence[int], name: str) -> ir.Value:
        return add_constant(self.graph, name, list(numbers), np.int64)

    def reshaped(self, value: ir.Value, shape: Sequence[int], name: str) -> ir.Value:
        return self.op("Reshape", [value, self.const(shape, f"{name}.shape")], name)

    def zeros(self, batch: ir.Value, dims: Sequence[int], name: str) -> ir.Value:
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

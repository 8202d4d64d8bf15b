"""Where a graph holds copies of one step: which nodes belong to which, what they read, carry on and collect."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import constant_array, is_op, required

PATTERN = 2
FEWEST = 5


class UnequalError(Exception):
    """Why the steps of a loop are not copies of each other."""


@dataclass(frozen=True)
class Read:
    """A slice of a sequence: ``value`` is ``source`` at one place of ``axis``, which it keeps with length 1 or not."""

    value: ir.Value
    source: ir.Value
    axis: int
    keeps: bool
    step: int


@dataclass(frozen=True)
class Collected:
    """``node`` puts one value of every step side by side along ``axis``: a new one, or one of length 1 in each."""

    node: ir.Node
    axis: int
    new_axis: bool
    entries: tuple[ir.Value, ...]


@dataclass
class Copies:
    """The steps of an unrolled loop.

    Attributes:
        length: number of steps. sequences: the slices that every step reads, by step.
        nodes: of every step, in order. collected: what leaves the loop step by step.
        levels: step of every value that depends on a slice.
    """

    length: int
    sequences: list[list[Read]]
    nodes: list[list[ir.Node]] = field(default_factory=list)
    collected: list[Collected] = field(default_factory=list)
    levels: dict[ir.Value, int] = field(default_factory=dict)

    def level(self, value: ir.Value) -> int:
        """The step that computes a value; -1 for what no step computes."""
        return self.levels.get(value, -1)

    def reads(self, step: int) -> list[ir.Value]:
        """What a step reads of the sequences."""
        return [sequence[step].value for sequence in self.sequences]

    def cut(self, step: int) -> list[ir.Value]:
        """What a step reads of the step before, in order of the graph."""
        own = {v for node in self.nodes[step] for v in node.inputs if v is not None}
        carried = [v for node in self.nodes[step - 1] for v in node.outputs if v in own]
        early = [v for v in own if -1 < self.level(v) < step - 1]
        if early:
            raise UnequalError(f"step {step} reads '{early[0].name}' of an earlier step than the one before")
        return carried

    def values(self, step: int) -> list[ir.Value]:
        """All values of a step, what it starts from included."""
        return [*self.reads(step), *self.cut(step), *(v for node in self.nodes[step] for v in node.outputs)]

    def states(self) -> list[tuple[ir.Value, ir.Value]]:
        """Of the pattern: what it starts from, and what the next step has in its place."""
        return list(zip(self.cut(PATTERN), self.cut(PATTERN + 1), strict=True))


def find(graph: ir.Graph) -> Copies | None:
    """The first unrolled loop of a graph: sequences of one length that are read slice by slice."""
    whole = [group for group in _in_order(graph) if _size_read(group) == len(group)]
    if not whole:
        return None
    length = len(whole[0])
    first = [[g[step] for step in range(length)] for g in whole if len(g) == length]
    copies = Copies(length, first[:1])
    _assign(graph, copies)
    for sequence in first[1:]:  # other sequences that the same steps read
        if copies.level(sequence[0].source) < 0 and not _behind(sequence[0].source, copies):
            copies.sequences.append(sequence)
    _assign(graph, copies)
    return copies if copies.nodes[PATTERN] else None


def of_no_length(graph: ir.Graph) -> list[Read]:
    """What reads the first steps of a sequence, one by one, whose length is not known; empty where nothing does."""
    found = (group for group in _in_order(graph) if not isinstance(_size_read(group), int))
    return list(next(found, {}).values())


def _in_order(graph: ir.Graph) -> list[dict[int, Read]]:
    """Slices by step, of every sequence of which the steps 0, 1, 2, .. are read, and at least `FEWEST`."""
    groups: dict[tuple[ir.Value, int, bool], dict[int, Read]] = {}
    for node in graph:
        for read in _reads(node):
            groups.setdefault((read.source, read.axis, read.keeps), {}).setdefault(read.step, read)
    return [group for group in groups.values() if len(group) >= FEWEST and sorted(group) == list(range(len(group)))]


def _size_read(group: dict[int, Read]) -> object:
    """Declared length of the axis that is read."""
    shape = group[0].source.shape
    return None if shape is None else shape[group[0].axis]


def _reads(node: ir.Node) -> list[Read]:
    """Slices of length 1 at constant places: Gather, Slice and Split."""
    source = node.inputs[0] if node.inputs else None
    if source is None or source.shape is None or constant_array(source) is not None:
        return []
    rank = len(source.shape)
    if is_op(node, "Gather"):
        place = constant_array(node.inputs[1])
        if place is None or place.size != 1 or place.ndim > 1:
            return []
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
        return [_read(node.outputs[0], source, axis % rank, place.ndim == 1, int(place.ravel()[0]))]
    if is_op(node, "Slice"):
        given = [constant_array(v) for v in node.inputs[1:]]
        if len(given) < 3 or any(g is None or g.size != 1 for g in given):
            return []
        start, end, axis, *step = (int(np.ravel(g)[0]) for g in given if g is not None)
        alone = end == start + 1 and step in ([], [1]) and start >= 0
        return [_read(node.outputs[0], source, axis % rank, True, start)] if alone else []
    if is_op(node, "Split"):
        axis = node.attributes["axis"].as_int() % rank if "axis" in node.attributes else 0
        if source.shape[axis] == len(node.outputs):
            return [_read(value, source, axis, True, step) for step, value in enumerate(node.outputs)]
    return []


def _read(value: ir.Value, source: ir.Value, axis: int, keeps: bool, step: int) -> Read:
    size = source.shape[axis] if source.shape is not None else None
    return Read(value, source, axis, keeps, step + size if step < 0 and isinstance(size, int) else step)


def _assign(graph: ir.Graph, copies: Copies) -> None:
    """Sort the nodes into steps: each into that of its latest slice, or the next (`_carried_on`)."""
    copies.levels = {read.value: read.step for sequence in copies.sequences for read in sequence}
    copies.collected, behind = [], set[ir.Value]()
    slices, order = set(copies.levels), []
    for node in graph:
        inputs = [v for v in node.inputs if v is not None]
        if any(v in behind for v in inputs):
            behind.update(node.outputs)
            continue
        found = _collects(node, copies)
        if found is not None:
            copies.collected.append(found)
            behind.update(node.outputs)
            continue
        level = max((copies.level(v) for v in inputs), default=-1)
        if level >= 0 and not slices.intersection(node.outputs):
            order.append(node)
            copies.levels.update(dict.fromkeys(node.outputs, level))
    later = {out: step for step in range(copies.length - 1) for out in _carried_on(order, copies, step)}
    copies.levels.update({out: step + 1 for out, step in later.items()})
    copies.nodes = [[] for _ in range(copies.length)]
    for node in order:
        copies.nodes[copies.levels[node.outputs[0]]].append(node)


def _carried_on(order: list[ir.Node], copies: Copies, step: int) -> list[ir.Value]:
    """What is to be computed by the next step: so that the fewest numbers are carried on to it.

    A minimal cut between what reads the slices of this step or is collected, and what the next step reads: every
    value has its size as capacity, and of equal cuts the values that several nodes read are taken.
    """
    import networkx as nx

    own = [node for node in order if copies.levels[node.outputs[0]] == step]
    inside = {v for node in own for v in node.outputs}
    stays = {v for c in copies.collected for v in c.entries if v in inside}
    flow = nx.DiGraph()
    for node in reversed(own):
        inputs = [v for v in node.inputs if v in inside]
        if not stays.isdisjoint(node.outputs):
            stays.update(v for v in inputs if v is not None)
        others = [v for v in node.inputs if v is not None and v not in inside and copies.level(v) >= 0]
        fixed = bool(others) or not stays.isdisjoint(node.outputs)  # reads a slice, or what the step before carries on
        for out in node.outputs:
            uses = list(out.uses())
            flow.add_edge((out, "in"), (out, "out"), capacity=_size(out) * 2 + (len(uses) == 1))
            flow.add_edges_from(((v, "out"), (out, "in")) for v in inputs)
            if fixed:
                flow.add_edge("start", (out, "in"))
            if any(copies.level(use.node.outputs[0]) > step for use in uses):
                flow.add_edge((out, "out"), "end")
    if "start" not in flow or "end" not in flow:
        return []
    _, (kept, _) = nx.minimum_cut(flow, "start", "end")
    return [v for v in inside if (v, "in") not in kept]


def _size(value: ir.Value) -> int:
    """Known sizes of a value multiplied."""
    dims = value.shape if value.shape is not None else ()
    return int(np.prod([dim for dim in dims if isinstance(dim, int)], dtype=np.int64))


def _behind(value: ir.Value, copies: Copies) -> bool:
    """Whether a value is computed from what the loop collects."""
    todo, ends = [value], {out for c in copies.collected for out in c.node.outputs}
    seen = set(todo)
    while todo:
        current = todo.pop()
        if current in ends:
            return True
        producer = current.producer()
        new = [v for v in producer.inputs if v is not None and v not in seen] if producer is not None else []
        seen.update(new)
        todo += new
    return False


def _collects(node: ir.Node, copies: Copies) -> Collected | None:
    """A Concat of one value of every step, in order."""
    if is_op(node, "ConcatFromSequence"):
        made = required(node, 0).producer()
        new = "new_axis" in node.attributes and node.attributes["new_axis"].as_int() == 1
        if not is_op(made, "SequenceConstruct") or made is None:
            return None
        entries = [required(made, i) for i in range(len(made.inputs))]
        return _collected(node, entries, new, copies)
    if not is_op(node, "Concat") or len(node.inputs) != copies.length:
        return None
    parts = [required(node, i) for i in range(len(node.inputs))]
    makers = [part.producer() for part in parts]
    axis = node.attributes["axis"].as_int()
    if all(maker is not None and is_op(maker, "Unsqueeze") and _adds(maker, axis) for maker in makers):
        return _collected(node, [required(maker, 0) for maker in makers if maker is not None], True, copies)
    return _collected(node, parts, False, copies)


def _adds(node: ir.Node, axis: int) -> bool:
    axes = constant_array(node.inputs[1])
    return axes is not None and axes.size == 1 and int(axes.ravel()[0]) == axis


def _collected(node: ir.Node, entries: list[ir.Value], new_axis: bool, copies: Copies) -> Collected | None:
    if [copies.level(v) for v in entries] != list(range(copies.length)):
        return None
    axis, shape = node.attributes["axis"].as_int(), entries[0].shape
    if axis < 0:
        if shape is None:
            return None
        axis += len(shape) + new_axis
    return Collected(node, axis, new_axis, tuple(entries))


def attributes(node: ir.Node) -> dict[str, object]:
    """Attributes to compare; tensors by their bytes."""
    return {a.name: a.value.tobytes() if isinstance(a.value, ir.TensorProtocol) else a.value
            for a in node.attributes.values() if isinstance(a, ir.Attr)}  # fmt: skip

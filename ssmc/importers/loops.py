"""A ``Loop`` over time as ``Scan``: as jax writes it (scan outputs), and torch.jit.script and onnxscript (sequences).

A Loop carries what it likes and takes its inputs apart itself, by the number of the iteration. It is a Scan where it
runs through, reads every sequence only at that number, and hands what does not change on unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ssmc.errors import ModelError
from ssmc.importers.loop_ends import as_counter, counts, is_below_length, limit_of
from ssmc.importers.loop_reads import PASSED_ON, aliases, ends_slices, read_at
from ssmc.importers.loop_writes import Written, written
from ssmc.ir.build import ENDLESS, add_constant, constant_array, is_op, node_name, remove_dead, required

REMEDY = "write the recurrence as one Scan over time (torch._higher_order_ops.scan), or one step with its state"


def loops_to_scans(model: ir.Model) -> bool:
    """Rewrite every Loop of the main graph; whether there was one.

    Raises:
        ModelError: SSMC-S03 where a Loop is no Scan, with what keeps it from being one.
    """
    loops = [node for node in model.graph if is_op(node, "Loop")]
    for node in loops:
        _Loop(model.graph, node).rewrite()
    if loops:
        remove_dead(model.graph)
    return bool(loops)


@dataclass
class _Loop:
    """One Loop on its way to a Scan.

    Attributes:
        states, sequences: indices of carried values that change from step to step, and of those that collect outputs.
        written: of the latter, tensors that are written to at the iteration's number.
        scanned: sequences that are read by the iteration's number, (outer value, axis) and what the body reads instead.
    """

    main: ir.Graph
    node: ir.Node
    states: list[int] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    written: dict[int, Written] = field(default_factory=dict)
    scanned: list[tuple[ir.Value, int, ir.Value]] = field(default_factory=list)

    def refuse(self, fact: str) -> ModelError:
        """The error at this loop."""
        return ModelError("SSMC-S03", f"this Loop is no scan over time: {fact}", REMEDY, node_name(self.node))

    def rewrite(self) -> None:
        """Put a Scan in the Loop's place."""
        body = self.node.attributes["body"].as_graph()
        number, condition, *carried = body.inputs
        for index, value in enumerate(carried):
            self._carry(body, index, value)
        self._check_condition(body, condition)
        self._check_count()
        remove_dead(body)  # the places at which outputs were written
        for index in self.written:
            if carried[index].uses():
                raise self.refuse(f"it reads '{carried[index].name}', to which it writes its outputs")
        self._move_out(body)
        self._read_by_number(body, number)
        collected = [self._collected(body, index) for index in self.sequences]
        makers = {index: body.outputs[1 + index].producer() for index in self.sequences}
        grown = {index: _axis_of(node) if is_op(node, "Concat") else None for index, node in makers.items()}
        grown |= {index: one.axis for index, one in self.written.items() if one.keeps}
        stacked = list(body.outputs[1 + len(carried) :])
        new_states = [body.outputs[1 + index] for index in self.states]
        states = [carried[index] for index in self.states]
        body.inputs.clear()
        body.inputs.extend([*states, *(inner for *_, inner in self.scanned)])
        body.outputs.clear()
        body.outputs.extend(once(body, [*new_states, *stacked, *collected]))
        remove_dead(body)
        self._emit(body, len(stacked), grown)

    def _check_condition(self, body: ir.Graph, condition: ir.Value) -> None:
        """Refuse conditions but ``number < length``; whether it holds for every step the comparison shows."""
        given, after = self.node.inputs[1], _source(body.outputs[0])
        if given is not None and not _is_true(given) and not is_below_length(given, None):
            raise self.refuse("whether it starts depends on a condition")
        if after is not condition and not _is_true(after) and not is_below_length(after, body.inputs[0]):
            raise self.refuse("it ends by a condition")
        body.outputs[0] = condition
        remove_dead(body)

    def _check_count(self) -> None:
        """Refuse a number of steps with an upper limit: short sequences do not show it."""
        given = self.node.inputs[0]
        limit, known = limit_of(given), constant_array(given)
        if limit is not None:
            raise self.refuse(f"{node_name(limit)} ({limit.op_type}) limits the number of its steps")
        if known is not None and int(known.ravel()[0]) < ENDLESS:
            raise self.refuse(f"{int(known.ravel()[0])} limits the number of its steps")

    def _carry(self, body: ir.Graph, index: int, value: ir.Value) -> None:
        """Sort a carried value: unchanged ones become what the loop was given."""
        after, given = body.outputs[1 + index], required(self.node, 2 + index)
        producer = after.producer()
        if _source(after) is value:
            value.replace_all_uses_with(given)
            self.node.outputs[index].replace_all_uses_with(given)
        elif counts(value, after, given) and not self.node.outputs[index].uses():
            value.replace_all_uses_with(as_counter(body, value))
        elif is_op(producer, "SequenceInsert") or _grows(producer, value):
            self.sequences.append(index)
        elif (found := written(_source(after).producer(), value, body.inputs[0])) is not None:
            self.sequences.append(index)
            self.written[index] = found
            body.outputs[1 + index] = found.value
        else:
            self.states.append(index)

    def _move_out(self, body: ir.Graph) -> None:
        """What a step computes of outer values alone is the same in every step."""
        for node in list(body):
            inputs = [value for value in node.inputs if value is not None]
            results = set(node.outputs) & set(body.outputs)
            if inputs and not results and not any(_inside(value, body) for value in inputs):
                body.remove(node)
                self.main.insert_before(self.node, node)

    def _read_by_number(self, body: ir.Graph, number: ir.Value) -> None:
        """Every Gather of an outer sequence at the iteration's number becomes an input of the body."""
        for alias in aliases(number):
            for use in list(alias.uses()):
                node = use.node
                read = read_at(node, use.idx, alias, number)
                if read is None:
                    if not is_op(node, *PASSED_ON, "Unsqueeze", "Reshape") and not ends_slices(node, number):
                        raise self.refuse(f"{node_name(node)} computes with the number of the step")
                    continue
                if _inside(read.source, body):
                    raise self.refuse(f"{node_name(node)} reads a step of what the loop computes")
                inner = ir.val(f"{node.outputs[0].name}.scanned", dtype=node.outputs[0].dtype)
                self.scanned.append((read.source, read.axis, inner))
                self._replace_read(body, node, read.keeps, read.axis, inner)
        if not self.scanned:
            raise self.refuse("it reads no sequence step by step")

    def _replace_read(self, body: ir.Graph, node: ir.Node, widened: bool, axis: int, inner: ir.Value) -> None:
        new = inner
        if widened:
            axes = add_constant(self.main, f"{inner.name}.axis", [axis], np.int64)
            back = ir.node("Unsqueeze", [inner, axes], name=f"{inner.name}.wide")
            back.outputs[0].name = f"{inner.name}.wide"
            body.insert_before(node, back)
            new = back.outputs[0]
        node.outputs[0].replace_all_uses_with(new)
        body.remove(node, safe=True)

    def _collected(self, body: ir.Graph, index: int) -> ir.Value:
        """What a step inserts at the end of a sequence, or tensor, that begins empty and that nothing else reads."""
        if index in self.written:
            return self.written[index].value
        insert = body.outputs[1 + index].producer()
        assert insert is not None
        if is_op(insert, "Concat"):
            return required(insert, 1)
        empty = required(self.node, 2 + index).producer()
        carried = body.inputs[2 + index]
        at_end = len(insert.inputs) < 3 or insert.inputs[2] is None
        alone = insert.inputs[0] is carried and len(carried.uses()) == 1
        if not alone or not at_end or not is_op(empty, "SequenceEmpty"):
            raise self.refuse(f"{node_name(insert)} does more than append to an empty sequence")
        return required(insert, 1)

    def _emit(self, body: ir.Graph, stacked: int, grown: dict[int, int | None]) -> None:
        """``grown``: the axis along which a tensor grows, in place of a sequence."""
        given = [required(self.node, 2 + index) for index in self.states]
        outer = [self._time_first(value, axis) for value, axis, _ in self.scanned]
        attributes: dict[str, ir.Graph | int] = {"body": body, "num_scan_inputs": len(outer)}
        count = len(self.states) + stacked + len(self.sequences)
        scan = ir.node("Scan", [*given, *outer], attributes, num_outputs=count, name=node_name(self.node))
        self.main.insert_before(self.node, scan)
        carried = len(self.node.outputs) - stacked
        old = [self.node.outputs[i] for i in (*self.states, *range(carried, carried + stacked), *self.sequences)]
        for value, new in zip(old, scan.outputs, strict=True):
            new.name, value.name = value.name, f"{value.name}.loop"
            new.dtype = value.dtype if value.dtype is not None else ir.DataType.FLOAT
        first = count - len(self.sequences)
        for value, new in zip(old[:first], scan.outputs[:first], strict=True):
            value.replace_all_uses_with(new, replace_graph_outputs=True)
        for index, value, new in zip(self.sequences, old[first:], scan.outputs[first:], strict=True):
            axis = grown[index]
            if index in self.written and axis is None:
                turned = self._turned(new, self.written[index].axis, len(self.written[index].value.shape or ()))
                value.replace_all_uses_with(turned, replace_graph_outputs=True)
            elif axis is None:
                self._stack(value, new)
            else:
                joined = self._joined(self.node, new, axis)
                value.replace_all_uses_with(joined, replace_graph_outputs=True)
        self.main.remove(self.node, safe=True)

    def _time_first(self, value: ir.Value, axis: int) -> ir.Value:
        """A scanned value with the axis that the loop walks in front."""
        if axis == 0:
            return value
        if value.shape is None:
            raise self.refuse(f"the rank of '{value.name}' is not known")
        others = [a for a in range(len(value.shape)) if a != axis % len(value.shape)]
        perm = [axis % len(value.shape), *others]
        turned = ir.node("Transpose", [value], {"perm": perm}, name=f"{node_name(self.node)}.{value.name}")
        turned.outputs[0].name, turned.outputs[0].type = f"{node_name(self.node)}.{value.name}", value.type
        self.main.insert_before(self.node, turned)
        return turned.outputs[0]

    def _stack(self, sequence: ir.Value, stacked: ir.Value) -> None:
        """Outputs (T, ...) of a Scan where a sequence of outputs was put together."""
        for use in list(sequence.uses()):
            node = use.node
            new_axis = node.attributes["new_axis"].as_int() if "new_axis" in node.attributes else 0
            if not is_op(node, "ConcatFromSequence"):
                raise self.refuse(f"{node_name(node)} reads the sequence of outputs other than as one tensor")
            axis = node.attributes["axis"].as_int()
            value = stacked
            if not new_axis:
                value = self._joined(node, stacked, axis)
            elif axis:
                value = self._moved(node, stacked, axis)
            node.outputs[0].replace_all_uses_with(value, replace_graph_outputs=True)
            self.main.remove(node, safe=True)

    def _joined(self, node: ir.Node, stacked: ir.Value, axis: int) -> ir.Value:
        """Outputs of length 1 along ``axis`` of each step, joined along it."""
        if axis < 0:
            raise self.refuse(f"{node_name(node)} counts its axis from the end")
        axes = add_constant(self.main, f"{stacked.name}.axis", [axis + 1], np.int64)
        narrow = ir.node("Squeeze", [stacked, axes], name=f"{stacked.name}.narrow")
        narrow.outputs[0].name, narrow.outputs[0].type = f"{stacked.name}.narrow", stacked.type
        self.main.insert_before(self.node, narrow)
        if not axis:
            return narrow.outputs[0]
        rank = len(stacked.shape) - 1 if stacked.shape is not None else 3
        perm = [*range(1, axis + 1), 0, *range(axis + 1, rank)]
        turned = ir.node("Transpose", narrow.outputs, {"perm": perm}, name=f"{stacked.name}.joined")
        turned.outputs[0].name, turned.outputs[0].type = f"{stacked.name}.joined", stacked.type
        self.main.insert_before(self.node, turned)
        return turned.outputs[0]

    def _turned(self, stacked: ir.Value, axis: int, rank: int) -> ir.Value:
        """Outputs (T, ...) of steps of this rank with time as another axis."""
        if not axis:
            return stacked
        perm = [*range(1, axis + 1), 0, *range(axis + 1, max(rank, axis + 1) + 1)]
        node = ir.node("Transpose", [stacked], {"perm": perm}, name=f"{stacked.name}.turned")
        node.outputs[0].name, node.outputs[0].type = f"{stacked.name}.turned", stacked.type
        self.main.insert_before(self.node, node)
        return node.outputs[0]

    def _moved(self, node: ir.Node, stacked: ir.Value, axis: int) -> ir.Value:
        if axis < 0 and node.outputs[0].shape is None:
            raise self.refuse(f"{node_name(node)} counts its axis from the end of an unknown shape")
        rank = len(node.outputs[0].shape) if node.outputs[0].shape is not None else axis + 2
        axis %= rank
        perm = [*range(1, axis + 1), 0, *range(axis + 1, rank)]
        turned = ir.node("Transpose", [stacked], {"perm": perm}, name=f"{node_name(node)}.turned")
        turned.outputs[0].name = f"{node_name(node)}.turned"
        self.main.insert_before(node, turned)
        return turned.outputs[0]


def _source(value: ir.Value) -> ir.Value:
    """Where a value comes from, behind Identity and Cast."""
    producer = value.producer()
    while producer is not None and is_op(producer, *PASSED_ON):
        value = required(producer, 0)
        producer = value.producer()
    return value


def _is_true(value: ir.Value) -> bool:
    array = constant_array(value)
    return array is not None and bool(array.all())


def _grows(node: ir.Node | None, value: ir.Value) -> bool:
    """Whether a node appends to a carried tensor that nothing else reads."""
    joins = node is not None and is_op(node, "Concat") and len(node.inputs) == 2
    return joins and node is not None and node.inputs[0] is value and len(value.uses()) == 1


def _axis_of(node: ir.Node | None) -> int | None:
    return node.attributes["axis"].as_int() if node is not None and "axis" in node.attributes else None


def _inside(value: ir.Value, body: ir.Graph) -> bool:
    producer = value.producer()
    return value in body.inputs if producer is None else producer.graph is body


def once(body: ir.Graph, values: list[ir.Value]) -> list[ir.Value]:
    """A body may not return one value twice, nor an outer one."""
    out, taken = [], {node.name for node in body}
    for index, value in enumerate(values):
        name = f"{body.name}.result{index}"
        while name in taken:
            name = f"{name}.once"
        copy = ir.node("Identity", [value], name=name)
        copy.outputs[0].name = name
        copy.outputs[0].type = value.type
        body.append(copy)
        out.append(copy.outputs[0])
    return out

"""The first runs of a model that others wrote: within limits on time and memory, before anything else runs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from functools import cache
from itertools import islice, takewhile
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from ssmc.budgets import Budgets
from ssmc.errors import ModelError
from ssmc.ir.build import carried, is_op, known_shape, node_name
from ssmc.verify import exposed, input_sizes, random_feeds, refusals, serialized, session_options

MOST_BYTES = 4 << 30
POLL_S = 0.1
MOST_STEPS = 256  # the first two numbers of steps that a model takes are looked for among so many,
PATIENCE_S = 1.0  # and for so many seconds of CPU
MIXING_STEPS = 8  # what one state takes from another sequence reaches an output through others


class LimitedSession:
    """A model in onnxruntime, as `ssmc.verify.Session`, that may hold a loop without end: every run is limited."""

    def __init__(self, model: ir.Model | onnx.ModelProto, budgets: Budgets, source: str) -> None:
        """Load the model; ``source`` names it in errors.

        Raises:
            ModelError: SSMC-M05 where onnxruntime does not accept it.
        """
        import onnxruntime as ort

        self.budgets, self.source = budgets, source
        options = session_options()
        _register_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
        with refusals():
            self.session = ort.InferenceSession(serialized(model), options, providers=["CPUExecutionProvider"])

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: list[str] | None = None) -> list[Any]:
        """The outputs, or those named: arrays, and lists of them where the model has sequences.

        Raises:
            ModelError: SSMC-M05 where onnxruntime cannot run it, or it asks for more than `MOST_BYTES`.
            UsageError: SSMC-U07 where it takes more seconds of CPU than the budget.
        """
        import onnxruntime as ort

        if outputs == []:  # onnxruntime would give all
            return []
        limits, done = ort.RunOptions(), threading.Event()
        limits.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        watch = threading.Thread(target=_end_after, args=(limits, self.budgets.seconds, done), daemon=True)
        watch.start()
        try:
            with refusals():
                return list(self.session.run(outputs, dict(feeds), limits))
        except ModelError:
            if limits.terminate:
                what = "seconds and more to run a few steps"
                self.budgets.require("seconds", self.budgets.seconds + 1, what, self.source)
            raise
        finally:
            done.set()
            watch.join()


def shape_of(result: Any) -> tuple[int, ...]:
    """Shape of an output; a sequence of tensors has its length, an optional value that is missing nothing."""
    if isinstance(result, np.ndarray):
        return tuple(result.shape)
    return () if result is None else (len(result),)


def try_model(model: ir.Model, budgets: Budgets, source: str) -> None:
    """Run an imported model on two steps of one sequence, then of two.

    Raises:
        ModelError: SSMC-M05 where onnxruntime cannot run it, or it asks for more than `MOST_BYTES`; SSMC-M15 where a
            value holds no number at all, or one that no input reaches is no number somewhere, which a quantizer behind
            it would hide; SSMC-M18 where the result of a sequence depends on another of its batch.
        UsageError: SSMC-U07 where it takes more seconds of CPU than the budget.
    """
    proto, names = exposed(model)
    _require_constants(proto, budgets, source)
    session = LimitedSession(proto, budgets, source)
    results = session.run(random_feeds(model, batch=1, steps=2), names)
    reached = _reached(model)
    for name, value in zip(names, results, strict=True):
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or not value.size:
            continue
        lost = np.isnan(value)
        if lost.all() or (lost.any() and name not in reached):
            raise _no_number(name)
    _require_apart(model, session)


def require_any_length(model: ir.Model, budgets: Budgets, source: str) -> None:
    """Say of a model that did not run whether it does at some numbers of steps, such as the multiples of 20.

    Raises:
        ModelError: SSMC-T05 where it does.
    """
    given, session = model.graph.inputs[0], LimitedSession(model, budgets, source)
    free = [axis for axis, dim in enumerate(known_shape(given)) if not isinstance(dim, int)]
    for axis in reversed(free):  # either may be time
        which = _lengths(session, given, axis)
        if which:
            fact = f"it runs only where the number of steps is {which}"
            remedy = "take means by AveragePool, or steps by a Slice with a step, which leave a rest"
            raise ModelError("SSMC-T05", fact, remedy, str(given.name))


def _lengths(session: LimitedSession, given: ir.Value, axis: int) -> str:
    """The lengths of an axis, beside a batch of one, that a model takes; empty where they show no period."""
    sizes, dtype = input_sizes(given, 1, 1), (given.dtype or ir.DataType.FLOAT).numpy()

    def runs(length: int) -> bool:
        shape = [length if index == axis else size for index, size in enumerate(sizes)]
        try:
            results = session.run({str(given.name): np.zeros(shape, dtype)})
        except ModelError:
            return False
        return 1 in shape_of(results[0])[:2]  # still one sequence

    end = time.process_time() + PATIENCE_S
    tried = takewhile(lambda _: time.process_time() < end, range(1, MOST_STEPS + 1))
    first, second = [*islice(filter(runs, tried), 2), 0, 0][:2]
    every = second - first
    if every < 2 or not runs(second + every):
        return ""
    return f"{first}, {second}, {second + every}, ..." if first % every else f"a multiple of {every}"


def _require_apart(model: ir.Model, session: LimitedSession) -> None:
    """What a Scan makes of the first of two sequences is the same whatever it makes of the second.

    The same numbers: shapes and operations are the same. Sequences that are mixed elsewhere are found where they are.
    """
    scans = [node for node in model.graph if is_op(node, "Scan")]
    ends = {node_name(node): _sequences_of(node) for node in scans}
    names = list(dict.fromkeys(name for pair in ends.values() for name, _ in (*pair[0], *pair[1])))
    if not names:
        return
    feeds = [random_feeds(model, seed, batch=2, steps=MIXING_STEPS) for seed in (0, 1)]
    for name, data in feeds[1].items():
        data[0] = feeds[0][name][0]
    try:
        before, after = (dict(zip(names, session.run(feed, names), strict=True)) for feed in feeds)
    except ModelError:  # it takes no batch of two: later checks say more
        return

    def moves(ends: list[tuple[str, int]]) -> bool:
        pairs = [(np.moveaxis(before[name], axis, 0), np.moveaxis(after[name], axis, 0)) for name, axis in ends]
        return any(not _first_kept(old, new) for old, new in pairs)

    for node, (inputs, outputs) in ends.items():
        if moves(outputs) and not moves(inputs):
            fact = "what the loop makes of a sequence depends on the others of its batch"
            raise ModelError("SSMC-M18", fact, "keep the batch axis out of means, sums and reshapes", node)


def _first_kept(old: NDArray[Any], new: NDArray[Any]) -> bool:
    """Whether the first of two sequences is the same in both (T, ...): the batch is an axis of length 2."""
    axes = [axis for axis in range(1, old.ndim) if old.shape[axis] == 2]
    return any(np.array_equal(old.take(0, axis), new.take(0, axis), equal_nan=True) for axis in axes)


def _sequences_of(scan: ir.Node) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Names of what a Scan reads and writes step by step, with the axis of the steps."""
    count, ends = carried(scan), []
    for values, key in ((scan.inputs[count:], "scan_input_axes"), (scan.outputs[count:], "scan_output_axes")):
        axes = scan.attributes[key].as_ints() if key in scan.attributes else [0] * len(values)
        ends.append([(str(value.name), axis) for value, axis in zip(values, axes, strict=True) if value is not None])
    return ends[0], ends[1]


def _require_constants(proto: onnx.ModelProto, budgets: Budgets, source: str) -> None:
    """Refuse what a loop computes of constants alone and is no number: a quantizer behind it would hide it.

    Raises:
        ModelError: SSMC-M15.
    """
    graph, names = onnx.GraphProto(name="constants"), dict[str, str]()
    stored = [tensor.name for tensor in proto.graph.initializer]
    bodies = [attribute.g for node in proto.graph.node for attribute in node.attribute if attribute.HasField("g")]
    for number, body in enumerate(bodies):
        known = {name: name for name in stored}
        for node in body.node:
            if any(attribute.HasField("g") for attribute in node.attribute) or not known.keys() >= {*node.input} - {""}:
                continue
            known |= {name: f"{number}.{name}" for name in node.output}
            names |= {known[name]: name for name in node.output if name}
            copy = graph.node.add()
            copy.CopyFrom(node)
            copy.input[:] = [known.get(name, "") for name in node.input]
            copy.output[:] = [known.get(name, "") for name in node.output]
    if not names:
        return
    read = {name for node in graph.node for name in node.input}
    graph.initializer.extend(tensor for tensor in proto.graph.initializer if tensor.name in read)
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    made = onnx.ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import, functions=proto.functions)
    made.graph.CopyFrom(graph)
    for name, value in zip(names.values(), LimitedSession(made, budgets, source).run({}, list(names)), strict=True):
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and np.isnan(value).any():
            raise _no_number(name)


def _no_number(name: str) -> ModelError:
    fact = "it is NaN, whatever the input"
    return ModelError("SSMC-M15", fact, "look for 0 / 0, inf - inf or the root of a negative number", name)


def _reached(model: ir.Model) -> set[str]:
    """Names of the values of the main graph that may depend on an input: loops and branches may read it inside."""
    found = {str(value.name) for value in model.graph.inputs}
    for node in model.graph:
        holds_graph = any(
            isinstance(value, ir.Attr) and value.type is ir.AttributeType.GRAPH for value in node.attributes.values()
        )
        if holds_graph or found & {str(value.name) for value in node.inputs if value is not None}:
            found |= {str(value.name) for value in node.outputs}
    return found


def _end_after(run: object, seconds: int, done: threading.Event) -> None:
    """Have the run ended once this process has worked for so long."""
    last = time.process_time() + seconds
    while not done.wait(POLL_S):
        if time.process_time() > last:
            run.terminate = True  # type: ignore[attr-defined]
            return


@cache
def _register_arena() -> None:
    """One arena of limited size for all first runs of this process."""
    import onnxruntime as ort

    place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(place, ort.OrtArenaCfg(MOST_BYTES, 1, -1, -1))

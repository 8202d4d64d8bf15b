"""A loop over a fixed number of steps that the exporter wrote out, step by step, becomes one ``Scan`` again.

Every step reads its own slice of a sequence, and what the step before computed. The third step is the pattern: each
later one must hold the same nodes with the same constants, forward; the first two, of which optimizers simplify what
starts at zero, are followed backward as far as they go. onnxruntime compares the result with the file.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common

from ssmc.budgets import Budgets
from ssmc.errors import ModelError, VerificationError
from ssmc.importers.buffers import join_writes
from ssmc.importers.protos import parsed
from ssmc.importers.rewritten import require_same
from ssmc.importers.unrolled_emit import emit
from ssmc.importers.unrolled_find import PATTERN, Copies, UnequalError, attributes, find, of_no_length
from ssmc.ir.build import constant_array, node_name, remove_dead

REMEDY = "write the recurrence as one Scan over time (torch._higher_order_ops.scan), or export one step with its state"


def roll_up(proto: onnx.ModelProto, budgets: Budgets, source: str) -> onnx.ModelProto:
    """The model with its unrolled loops as Scans; itself where there are none.

    Raises:
        ModelError: SSMC-M03 where onnx_ir cannot read it, SSMC-M17 an unrolled loop whose steps differ.
        VerificationError: SSMC-V08 where the Scan computes something else.
    """
    shape = proto.graph.input[0].type.tensor_type.shape.dim
    if len(proto.graph.input) != 1 or all(dim.dim_value == 0 for dim in shape):
        return proto
    try:
        return _rolled_up(proto, budgets, source, first=0)
    except VerificationError as error:  # an optimizer leaves the same of a start at zero and of one at the first step
        try:
            return _rolled_up(proto, budgets, source, first=1)
        except (ModelError, VerificationError):
            raise error from None


def _rolled_up(proto: onnx.ModelProto, budgets: Budgets, source: str, first: int) -> onnx.ModelProto:
    model = parsed(proto, source)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.NameFixPass()(model)  # a file may leave nodes without names
    join_writes(model, budgets, source)
    rolled = False
    while (copies := find(model.graph)) is not None:
        try:
            emit(model.graph, copies, _images(copies), _starts(copies, first))
        except UnequalError as error:
            fact = f"a loop was unrolled into {copies.length} steps, and {error}"
            raise ModelError("SSMC-M17", fact, REMEDY, node_name(copies.nodes[PATTERN][0])) from None
        remove_dead(model.graph)
        rolled = True
    if not rolled:
        _refuse_any_length(model.graph)
        return proto
    made = _without_shapes(ir.to_proto(model))
    require_same(proto, ir.from_proto(made), budgets, source)
    return made


def _refuse_any_length(graph: ir.Graph) -> None:
    """Refuse a loop that was unrolled, in a model that says it takes any number of steps.

    It ignores what comes behind its last step, and fails where there are fewer.
    """
    reads = of_no_length(graph)
    if reads:
        fact = f"a loop was unrolled into {len(reads)} steps, though time is declared dynamic"
        remedy = f"export with time fixed at {len(reads)}, which compiles for any number of steps; or {REMEDY}"
        raise ModelError("SSMC-M17", fact, remedy, str(reads[0].value.name))


def _without_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Shapes of values between the ends are inferred anew."""
    del proto.graph.value_info[:]
    return proto


def _images(copies: Copies) -> dict[ir.Value, ir.Value]:
    """What stands for the pattern's values in the last step; every step between holds them all."""
    if len(copies.cut(PATTERN)) != len(copies.cut(PATTERN + 1)):
        raise UnequalError("its steps carry different values on")
    following, image = dict(copies.states()), dict[ir.Value, ir.Value]()
    for step in range(PATTERN + 1, copies.length):
        image = dict(following)
        for old, new in zip(copies.reads(PATTERN), copies.reads(step), strict=True):
            image[old] = new
        for node in copies.nodes[PATTERN]:
            found = _twin(node, image, copies)
            if found is None and step < copies.length - 1:
                raise UnequalError(f"step {step} has no {node.op_type} like {node_name(node)}")
            if found is not None:
                image.update(zip(node.outputs, found.outputs, strict=True))
        following = {start: image[end] for start, end in copies.states() if end in image}
        _check_collected(copies, image, step)
    return image


def _twin(node: ir.Node, image: dict[ir.Value, ir.Value], copies: Copies) -> ir.Node | None:
    """The node of another step that does the same to what stands for the inputs."""
    wanted = [image.get(v, v) if v is not None else None for v in node.inputs]
    pairs = zip(wanted, node.inputs, strict=True)
    inner = next((new for new, old in pairs if new is not None and old in image), None)
    if inner is None:
        return None
    for use in inner.uses():
        other = use.node
        if other.op_type == node.op_type and attributes(other) == attributes(node):
            given = list(other.inputs)
            if len(given) == len(wanted) and all(_same(x, z) for x, z in zip(given, wanted, strict=True)):
                return other
    return None


def _same(x: ir.Value | None, z: ir.Value | None) -> bool:
    if x is z:
        return True
    a, b = constant_array(x), constant_array(z)
    return a is not None and b is not None and a.shape == b.shape and bool((a == b).all())


def _check_collected(copies: Copies, image: dict[ir.Value, ir.Value], step: int) -> None:
    for collected in copies.collected:
        if image.get(collected.entries[PATTERN]) is not collected.entries[step]:
            raise UnequalError(f"step {step} puts another value into {node_name(collected.node)}")


def _starts(copies: Copies, first: int) -> list[ir.Value | None]:
    """What the loop starts from, for every state; None where an optimizer folded it away: zeros, as the check tells.

    With ``first`` 1 what the first slices give may be a start: of a loop over all steps, or over those behind the
    first, which is then one over all whose first step changes nothing, as the check tells too.
    """
    states = copies.states()
    current: list[ir.Value | None] = [start for start, _ in states]
    for step in (1, 0):
        leaves: dict[ir.Value, ir.Value] = {}
        pairs = [(end, value) for (_, end), value in zip(states, current, strict=True) if value is not None]
        pairs += [(c.entries[PATTERN], c.entries[step]) for c in copies.collected]
        same = all(_follow(copies, old, new, step, leaves) for old, new in pairs)
        if not same and step:
            raise UnequalError(f"step {step} differs from step {PATTERN}")
        current = [leaves.get(start) if same else current[i] if first else None for i, (start, _) in enumerate(states)]
    return [value if value is not None and copies.level(value) < first else None for value in current]


def _follow(copies: Copies, old: ir.Value, new: ir.Value, step: int, leaves: dict[ir.Value, ir.Value]) -> bool:
    """Whether ``new`` is computed in ``step`` as ``old`` in the pattern; ``leaves`` grows by what starts the step."""
    if old in copies.cut(PATTERN):
        return leaves.setdefault(old, new) is new
    if old in copies.reads(PATTERN):
        return new is copies.reads(step)[copies.reads(PATTERN).index(old)]
    if copies.level(old) < 0:
        return _same(old, new)
    a, b = old.producer(), new.producer()
    if a is None or b is None or a.op_type != b.op_type or attributes(a) != attributes(b):
        return False
    if len(a.inputs) != len(b.inputs) or old.index() != new.index():
        return False
    pairs = zip(a.inputs, b.inputs, strict=True)
    return all((x is z) if x is None or z is None else _follow(copies, x, z, step, leaves) for x, z in pairs)

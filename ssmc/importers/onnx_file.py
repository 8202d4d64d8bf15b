"""Read an ONNX file and refuse early, at the guilty place, what no later pass could make sense of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common

from ssmc.budgets import DEFAULT, Budgets
from ssmc.errors import ModelError
from ssmc.importers.carried import drop_carried_states
from ssmc.importers.constants import fold_small_constants
from ssmc.importers.cuts import cut_at_convolutions
from ssmc.importers.einsum import einsum_to_matmul, turn_first_factors
from ssmc.importers.ends import check_ends, check_input_type
from ssmc.importers.final_states import stack_final_states
from ssmc.importers.first_steps import take_first_steps
from ssmc.importers.halves import widen_halves
from ssmc.importers.head_norms import part_norms_of_heads
from ssmc.importers.ids import widen_ids
from ssmc.importers.inputs import INPUTS, Parts, input_parts, one_real_sequence, parts_of, parts_text
from ssmc.importers.layout import relaxed, to_batch_time_features, to_one_axis_of_features
from ssmc.importers.lengths import spell_lengths
from ssmc.importers.loop_layers import split_loops
from ssmc.importers.loops import loops_to_scans
from ssmc.importers.norms import fuse_norms
from ssmc.importers.one_hot import one_hot_to_gather
from ssmc.importers.one_step import one_step_to_scan
from ssmc.importers.opset import raise_opset
from ssmc.importers.paddings import spell_paddings
from ssmc.importers.protos import every_graph, invalid, parsed, proto_name, undecodable
from ssmc.importers.qonnx import QONNX, attach_bodies
from ssmc.importers.rates import refuse_mixed_rates
from ssmc.importers.refusals import refuse_early, refuse_float64
from ssmc.importers.repeated import spell_repeated
from ssmc.importers.rewritten import require_same
from ssmc.importers.scan_axes import scan_first_axes
from ssmc.importers.shapes import with_free_sizes, with_shapes
from ssmc.importers.sizes import check_elements, check_nodes
from ssmc.importers.softplus import plain_softplus
from ssmc.importers.tensors import check_tensors, read_external
from ssmc.importers.unrolled import roll_up
from ssmc.ir.build import constant_array, graphs, node_name
from ssmc.reading import read_regular
from ssmc.trial import require_any_length, try_model

OPSETS = range(13, 26)
IR_VERSION = 10
#: attributes that are yes or no; who reads another number takes it as he likes
FLAGS = frozenset({"allowzero", "ceil_mode", "count_include_pad", "exclusive", "keepdims", "reverse"})
FLAGS |= {"noop_with_empty_axes", "select_last_index", "transA", "transB"}
NONE: Mapping[str, str] = {}
FOREIGN_DOMAINS = frozenset({"", "ai.onnx", *QONNX})


def load_model(path: str | Path, budgets: Budgets = DEFAULT, states: Mapping[str, str] = NONE) -> ir.Model:
    """The model of an ONNX file, checked; external data are read from the folder of the file.

    ``states`` names the states of a model that takes one step, input to output (`pair_states`).

    Raises:
        UsageError: SSMC-U01 where the file cannot be read, SSMC-U07 where it is over a budget.
        ModelError: SSMC-M01 not an ONNX file; also as `import_model`.
    """
    file = Path(path)
    data = read_regular(file, "SSMC-U01", budgets, "model_bytes", "give the path of an ONNX file")
    try:
        proto = onnx.load_model_from_string(data)
    except Exception:  # protobuf's DecodeError is not public
        raise ModelError("SSMC-M01", "not an ONNX file, or truncated", "export the model again", file.name) from None
    read_external(proto, file.parent, budgets, len(data))
    return import_model(proto, file.name, budgets, states)


def import_model(
    proto: onnx.ModelProto, source: str = "model", budgets: Budgets = DEFAULT, states: Mapping[str, str] = NONE
) -> ir.Model:
    """Check a model in memory and bring it to `onnx_ir`; ``source`` names it in errors.

    Raises:
        UsageError: SSMC-U07 where it is over a budget.
        ModelError: SSMC-M01 no UTF-8, SSMC-M02 opset, SSMC-M03 invalid graph, SSMC-M04 NaN or infinite weights,
            SSMC-M05, SSMC-M15 and SSMC-M18 from `try_model`, SSMC-M06 inputs or outputs, SSMC-M07 an unknown domain,
            SSMC-M12 external data, SSMC-M13 float64, SSMC-M14 states that cannot be paired, SSMC-Q01 no scale, SSMC-T05
            numbers of steps that it does not take.
    """
    _check_file(proto, budgets, source)
    proto = with_free_sizes(widen_halves(proto))
    refuse_float64(proto)
    _check_graph(proto, source)
    parts, proto = input_parts(proto), one_real_sequence(proto)
    check_input_type(proto.graph)
    free, shaped = _of_any_size(proto, budgets, source)
    model = _cleaned(shaped, source)
    model.ir_version = max(model.ir_version or 0, IR_VERSION)
    _check_domains(model)
    fold_small_constants(model)
    refuse_early(model)
    _spell(model, free, budgets, source)
    parts = one_step_to_scan(model, states, budgets, source) or parts
    drop_carried_states(model)
    take_first_steps(model, free, budgets, source)
    stack_final_states(model)
    split_loops(model, budgets, source)
    check_ends(model, source)
    _check_weights(model)
    widen_ids(model)
    attach_bodies(model)
    _lay_out_and_run(model, budgets, source)
    if parts:
        model.metadata_props[INPUTS] = parts_text(parts)
    return model


def _check_file(proto: onnx.ModelProto, budgets: Budgets, source: str) -> None:
    """What the file holds can be read, is within its budgets, and of an opset that is known."""
    wrong = undecodable(proto)
    if wrong is not None:
        raise ModelError("SSMC-M01", f"holds the text {wrong[:40]!r}, no UTF-8", "export the model again", source)
    _check_opset(proto, source)
    check_nodes(proto, budgets, source)
    read_external(proto, None, budgets)
    check_tensors(proto, budgets)
    _check_nodes(proto)


def _check_graph(proto: onnx.ModelProto, source: str) -> None:
    """ONNX's own rules."""
    try:
        onnx.checker.check_model(_without_foreign(proto))
    except Exception as error:  # the checker raises ValidationError and, on broken files, others
        raise invalid(error, source) from None


def _of_any_size(proto: onnx.ModelProto, budgets: Budgets, source: str) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The model with unrolled loops rolled up and batch and time free; and the same with the shapes of its values."""
    shaped = with_shapes(proto, source)
    check_elements(shaped, budgets)
    rolled = roll_up(shaped, budgets, source)
    free = relaxed(proto if rolled is shaped else rolled, budgets, source)
    return free, shaped if free is proto else with_shapes(free, source)


def _spell(model: ir.Model, file: onnx.ModelProto, budgets: Budgets, source: str) -> None:
    """Bring what the file may write in several ways to one; what is not the same by definition is compared with it."""
    raise_opset(model)
    scan_first_axes(model, budgets, source)
    einsum_to_matmul(model.graph)
    turn_first_factors(model)
    spell_paddings(model)
    spell_repeated(model)
    graph = model.graph
    spelled = [one_hot_to_gather(graph), fuse_norms(model), plain_softplus(model), spell_lengths(model)]
    spelled += [cut_at_convolutions(graph), part_norms_of_heads(graph)]
    if any([*spelled, loops_to_scans(model)]):
        require_same(file, model, budgets, source)


def _lay_out_and_run(model: ir.Model, budgets: Budgets, source: str) -> None:
    """Have the model read (batch, time, features), and run it a first time."""
    try:
        to_batch_time_features(model, budgets, source)
        to_one_axis_of_features(model)
        refuse_mixed_rates(model)
        try_model(model, budgets, source)
    except ModelError as error:
        if error.code == "SSMC-M05":
            require_any_length(model, budgets, source)
        raise


def file_parts(path: str | Path, budgets: Budgets = DEFAULT, states: Mapping[str, str] = NONE) -> Parts:
    """The inputs of a file that are joined, with their numbers of columns; () where it has one or is no ONNX file.

    Raises:
        UsageError: SSMC-U01, SSMC-U07.
        ModelError: as `import_model`, of a model that takes one step.
    """
    data = read_regular(Path(path), "SSMC-U01", budgets, "model_bytes", "give the path of an ONNX file")
    try:
        proto = widen_halves(onnx.load_model_from_string(data))
        parts = input_parts(proto)
    except Exception:  # what is wrong with it is said where it is imported
        return ()
    one_step = not parts and len(proto.graph.input) > len(proto.graph.output) > 1
    return parts_of(load_model(path, budgets, states)) if one_step else parts


def _cleaned(proto: onnx.ModelProto, source: str) -> ir.Model:
    """The model with its functions written out and its constants as initializers of the main graph."""
    model = parsed(proto, source)
    try:
        if len(model.functions):
            common.InlinePass()(model)
        for step in (
            common.ClearMetadataAndDocStringPass(),
            common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
            common.LiftSubgraphInitializersToMainGraphPass(),
            common.RemoveInitializersFromInputsPass(),
            common.NameFixPass(),
        ):
            step(model)
    except Exception as error:  # as in `parsed`
        raise invalid(error, source) from None
    return model


def _check_opset(proto: onnx.ModelProto, source: str) -> None:
    if not proto.graph.node:
        raise ModelError("SSMC-M01", "not an ONNX file, or truncated (no nodes)", "export the model again", source)
    version = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), None)
    if version not in OPSETS:
        raise ModelError(
            "SSMC-M02",
            f"opset {version} is not supported",
            f"export with opset {OPSETS.start} to {OPSETS.stop - 1} (21 recommended)",
            source,
        )


def _check_nodes(proto: onnx.ModelProto) -> None:
    """Faults of single nodes for which a word of ours helps more than the checker's, or at which it aborts."""
    parts = (*every_graph(proto), *proto.functions)
    for node in (node for part in parts for node in part.node):
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and (len(node.input) < 2 or not node.input[1]):
            raise ModelError("SSMC-Q01", f"{node.op_type} has no scale", "give it a scale input", proto_name(node))
        for attribute in node.attribute:
            if attribute.name in FLAGS and attribute.i not in (0, 1):
                fact = f"{node.op_type}: {attribute.name} is {attribute.i}, not 0 or 1"
                raise ModelError("SSMC-M03", fact, "export the model again", proto_name(node))
            if attribute.name == "num_outputs" and attribute.i != len(node.output):
                fact = f"{node.op_type} has {len(node.output)} outputs and says {attribute.i}"
                raise ModelError("SSMC-M03", fact, "export the model again", proto_name(node))
        training = any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)
        if node.op_type == "BatchNormalization" and training:
            fact = "batch norm is in training mode"
            raise ModelError("SSMC-M09", fact, "export with model.eval()", proto_name(node))


def _without_foreign(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The checker knows no foreign domain; it skips nodes whose domain is imported."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    known = {o.domain for o in copy.opset_import}
    for domain in sorted(FOREIGN_DOMAINS - known - {"ai.onnx", ""}):
        copy.opset_import.append(onnx.helper.make_opsetid(domain, 1))
    return copy


def _check_domains(model: ir.Model) -> None:
    for graph in graphs(model.graph):
        for node in graph:
            if node.domain not in FOREIGN_DOMAINS:
                raise ModelError(
                    "SSMC-M07",
                    f"operator {node.domain}::{node.op_type} is unknown",
                    "export with standard ONNX operators or give the operator a function body",
                    node_name(node),
                )


def _check_weights(model: ir.Model) -> None:
    for node in model.graph:
        if node.op_type == "BatchNormalization":
            variance, epsilon = constant_array(node.inputs[4]), node.attributes.get("epsilon")
            least = -(epsilon.as_float() if epsilon else 1e-5)
            if variance is not None and (variance.astype(np.float64) <= least).any():
                fact = "a variance of this batch norm is not positive"
                raise ModelError("SSMC-M04", fact, "train again or load another checkpoint", node_name(node))
    for name, value in model.graph.initializers.items():
        array = constant_array(value)
        if array is not None and array.dtype.kind == "f" and not np.isfinite(array.astype(np.float64)).all():
            if all(use.node.op_type in ("Clip", "Min", "Max") for use in value.uses()):
                continue  # an infinite clipping bound is harmless
            raise ModelError("SSMC-M04", "weights hold NaN or infinity", "train again or load another checkpoint", name)

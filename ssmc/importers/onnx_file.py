"""Read an ONNX file and refuse early, at the guilty place, what no later pass could make sense of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx.shape_inference
import onnx_ir as ir
import onnx_ir.passes.common as common

from ssmc.errors import ModelError, UsageError
from ssmc.importers.carried import drop_carried_states
from ssmc.importers.einsum import einsum_to_matmul
from ssmc.importers.ids import ID_TYPES, widen_ids
from ssmc.importers.layout import relaxed, to_batch_time_features
from ssmc.importers.loops import loops_to_scans
from ssmc.importers.one_step import one_step_to_scan
from ssmc.importers.opset import raise_opset
from ssmc.importers.qonnx import QONNX, attach_bodies
from ssmc.importers.refusals import refuse_early
from ssmc.importers.rewritten import require_same
from ssmc.ir.build import constant_array, graphs, known_shape, node_name

OPSETS = range(13, 26)
IR_VERSION = 10
NONE: Mapping[str, str] = {}
FOREIGN_DOMAINS = frozenset({"", "ai.onnx", *QONNX})


def load_model(path: str | Path, states: Mapping[str, str] = NONE) -> ir.Model:
    """The model of an ONNX file, checked.

    ``states`` names the states of a model that takes one step, input to output (`pair_states`).

    Raises:
        UsageError: SSMC-U01 where the file cannot be read.
        ModelError: SSMC-M01 not an ONNX file, SSMC-M02 opset, SSMC-M03 invalid graph, SSMC-M04 NaN or infinite
            weights, SSMC-M06 inputs or outputs, SSMC-M07 unknown operator domain, SSMC-Q01 missing scale.
    """
    file = Path(path)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(
            "SSMC-U01", f"cannot read: {error.strerror}", "give the path of an ONNX file", str(path)
        ) from None
    try:
        proto = onnx.load_model_from_string(data)
    except Exception:  # protobuf's DecodeError is not public
        raise ModelError("SSMC-M01", "not an ONNX file, or truncated", "export the model again", file.name) from None
    return import_model(proto, file.name, states)


def import_model(proto: onnx.ModelProto, source: str = "model", states: Mapping[str, str] = NONE) -> ir.Model:
    """Check a model in memory and bring it to `onnx_ir`; ``source`` names it in errors."""
    _check_opset(proto, source)
    _check_scales(proto.graph)
    try:
        onnx.checker.check_model(_without_foreign(proto))
    except Exception as error:  # the checker raises ValidationError and, on broken files, others
        first = str(error).strip().splitlines()[0][:200]
        raise ModelError("SSMC-M03", f"invalid ONNX graph: {first}", "export the model again", source) from None
    model = ir.from_proto(relaxed(_with_shapes(proto)))
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
    model.ir_version = max(model.ir_version or 0, IR_VERSION)
    _check_domains(model)
    refuse_early(model)
    raise_opset(model)
    einsum_to_matmul(model.graph)
    if loops_to_scans(model):
        require_same(proto, model, source)
    one_step_to_scan(model, states)
    drop_carried_states(model)
    _check_weights(model)
    _check_ends(model, source)
    widen_ids(model)
    attach_bodies(model)
    to_batch_time_features(model)
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


def _check_scales(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and (len(node.input) < 2 or not node.input[1]):
            raise ModelError(
                "SSMC-Q01", f"{node.op_type} has no scale", "give it a scale input", node.name or node.output[0]
            )
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _check_scales(attribute.g)


def _without_foreign(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The checker knows no foreign domain; it skips nodes whose domain is imported."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    known = {o.domain for o in copy.opset_import}
    for domain in sorted(FOREIGN_DOMAINS - known - {"ai.onnx", ""}):
        copy.opset_import.append(onnx.helper.make_opsetid(domain, 1))
    return copy


def _with_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with inferred shapes: per-axis scales need the rank of what they scale."""
    try:
        return onnx.shape_inference.infer_shapes(proto)
    except onnx.shape_inference.InferenceError:
        return proto


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
    for name, value in model.graph.initializers.items():
        array = constant_array(value)
        if array is not None and array.dtype.kind == "f" and not np.isfinite(array.astype(np.float64)).all():
            if all(use.node.op_type in ("Clip", "Min", "Max") for use in value.uses()):
                continue  # an infinite clipping bound is harmless
            raise ModelError("SSMC-M04", "weights hold NaN or infinity", "train again or load another checkpoint", name)


def _check_ends(model: ir.Model, source: str) -> None:
    inputs, outputs = model.graph.inputs, model.graph.outputs
    if len(inputs) != 1 or len(outputs) != 1:
        fact = f"the graph has {len(inputs)} inputs and {len(outputs)} outputs"
        raise ModelError("SSMC-M06", fact, "export it with one input (batch, time, features) and one output", source)
    value = inputs[0]
    ids = value.dtype in ID_TYPES
    if value.dtype is not ir.DataType.FLOAT and not ids:
        remedy = "export it with a float32 input, or int64 token ids"
        raise ModelError("SSMC-M06", f"input has type {value.dtype}", remedy, str(value.name))
    if ids and (value.shape is None or len(value.shape) not in (2, 3) or value.shape.dims[2:] not in ((), (1,))):
        fact = f"input of token ids has shape {value.shape}"
        raise ModelError("SSMC-M06", fact, "export it as (batch, time) or (batch, time, 1)", str(value.name))
    if not ids and (value.shape is None or len(value.shape) != 3):
        raise ModelError(
            "SSMC-M06", f"input has shape {value.shape}", "export it as (batch, time, features)", str(value.name)
        )
    shape = known_shape(value)
    free = sum(not isinstance(dim, int) for dim in shape)
    if free != 2 or (ids and not all(isinstance(dim, int) for dim in shape.dims[2:])):
        fact = f"input has shape {shape}: {free} dynamic axes"
        remedy = "export with batch and time dynamic (dynamic_shapes) and the features fixed"
        raise ModelError("SSMC-M08", fact, remedy, str(value.name))

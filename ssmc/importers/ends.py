"""What goes into a model and what comes out: one sequence in, one result out."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from ssmc.errors import ModelError
from ssmc.importers.ids import ID_TYPES
from ssmc.ir.build import known_shape


def check_input_type(graph: onnx.GraphProto) -> None:
    """Refuse a first input that is neither of real numbers nor of token ids, before shapes are inferred from it.

    Raises:
        ModelError: SSMC-M06, or SSMC-M13 where it takes float64.
    """
    stored = {tensor.name for tensor in graph.initializer}
    first = next((value for value in graph.input if value.name not in stored), None)
    if first is None:
        return
    try:
        value = ir.serde.deserialize_value_info_proto(first, None)
    except ir.serde.SerdeError:
        fact = "the input is of an unknown type"
        raise ModelError("SSMC-M06", fact, "export it with a float32 input", first.name) from None
    if not isinstance(value.type, ir.TensorType):
        raise ModelError("SSMC-M06", "the input is no tensor", "export it with a float32 input", str(value.name))
    if value.dtype is ir.DataType.DOUBLE:
        remedy = "convert it to float32, model.float(), and export again"
        raise ModelError("SSMC-M13", "the model computes in float64 (double)", remedy, str(value.name))
    ids = value.dtype in ID_TYPES
    if value.dtype is not ir.DataType.FLOAT and not ids:
        remedy = "export it with a float32 input, or int64 token ids"
        raise ModelError("SSMC-M06", f"input has type {value.dtype}", remedy, str(value.name))
    if ids and (value.shape is None or len(value.shape) not in (2, 3) or value.shape.dims[2:] not in ((), (1,))):
        fact = f"input of token ids has shape {value.shape}"
        raise ModelError("SSMC-M06", fact, "export it as (batch, time) or (batch, time, 1)", str(value.name))


def check_ends(model: ir.Model, source: str) -> None:
    """Refuse a model that does not make one result of one sequence of real numbers or token ids.

    Raises:
        ModelError: SSMC-M06, or SSMC-M08 where batch and time cannot be told apart from
            the features.
    """
    inputs, outputs = model.graph.inputs, model.graph.outputs
    if len(inputs) != 1 or len(outputs) != 1:
        fact = f"the graph has {len(inputs)} inputs and {len(outputs)} outputs"
        raise ModelError("SSMC-M06", fact, "export it with one input (batch, time, features) and one output", source)
    value = inputs[0]
    ids = value.dtype in ID_TYPES
    if not ids and (value.shape is None or len(value.shape) != 3):
        raise ModelError(
            "SSMC-M06", f"input has shape {value.shape}", "export it as (batch, time, features)", str(value.name)
        )
    shape = known_shape(value)
    free = sum(not isinstance(dim, int) for dim in shape)
    if 0 in shape.dims:
        raise ModelError("SSMC-M06", f"input has shape {shape}: no features", "give it features", str(value.name))
    if free != 2 or (ids and not all(isinstance(dim, int) for dim in shape.dims[2:])):
        fact = f"input has shape {shape}: {free} dynamic axes"
        remedy = "export with batch and time dynamic (dynamic_shapes) and the features fixed"
        raise ModelError("SSMC-M08", fact, remedy, str(value.name))

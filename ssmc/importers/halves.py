"""A model in half precision is the model of the same numbers in float32.

What is computed between two quantizers is computed in real numbers; a float model gets quantizers. So every float16 or
bfloat16 tensor is widened, which changes no number of the file, and what casts to these types casts to float32.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import numpy_helper

from ssmc.importers.protos import every_graph, every_tensor

HALVES = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
TYPES = ("to", "dtype", "output_dtype")  # attributes that name a type


def widen_halves(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model in float32; itself where it holds no half precision."""
    if not _has_halves(proto):
        return proto
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    for _, tensor in every_tensor(model):
        if tensor.data_type in HALVES:
            wide = np.asarray(numpy_helper.to_array(tensor), np.float32)
            tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
    for attribute in _attributes(model):
        if attribute.name in TYPES and attribute.i in HALVES:
            attribute.i = onnx.TensorProto.FLOAT
    for kind in _types(model):
        if kind.HasField("sequence_type"):
            kind = kind.sequence_type.elem_type
        if kind.tensor_type.elem_type in HALVES:
            kind.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return model


def _has_halves(proto: onnx.ModelProto) -> bool:
    stored = any(tensor.data_type in HALVES for _, tensor in every_tensor(proto))
    return (
        stored
        or any(attribute.name in TYPES and attribute.i in HALVES for attribute in _attributes(proto))
        or any(kind.tensor_type.elem_type in HALVES for kind in _types(proto))
    )


def _attributes(proto: onnx.ModelProto) -> Iterable[onnx.AttributeProto]:
    nodes = [node for graph in every_graph(proto) for node in graph.node]
    nodes += [node for function in proto.functions for node in function.node]
    return (attribute for node in nodes for attribute in node.attribute)


def _types(proto: onnx.ModelProto) -> Iterable[onnx.TypeProto]:
    for graph in every_graph(proto):
        yield from (value.type for value in (*graph.input, *graph.output, *graph.value_info))
    for function in proto.functions:
        yield from (value.type for value in function.value_info)

"""Shapes and types of every value: inferred, and compared with what the file says."""

from __future__ import annotations

import re
from collections.abc import Iterator

import onnx
import onnx.shape_inference

from ssmc.errors import ModelError
from ssmc.importers.protos import every_graph

AGAIN = "export the model again"
PLACE = re.compile(r"\(op_type:(?P<type>[^,)]*)(?:, node name: (?P<name>[^)]*))?\): ")
MOST_INTEGERS = 16  # axes, sizes, bounds of slices
WITHIN = ("", "[ShapeInferenceError]", "[TypeInferenceError]")  # the fault is in a node of a subgraph
Dims = tuple[int | None, ...]


def with_free_sizes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model where sizes below 0, which some exporters write for what varies, are left open."""
    if not any(dim.dim_value < 0 for dim in _sizes(proto)):
        return proto
    free = onnx.ModelProto()
    free.CopyFrom(proto)
    for dim in _sizes(free):
        if dim.dim_value < 0:
            dim.ClearField("dim_value")
    return free


def _sizes(proto: onnx.ModelProto) -> Iterator[onnx.TensorShapeProto.Dimension]:
    for graph in every_graph(proto):
        for value in (*graph.input, *graph.value_info, *graph.output):
            yield from value.type.tensor_type.shape.dim


def with_shapes(proto: onnx.ModelProto, source: str) -> onnx.ModelProto:
    """The model with the shapes that follow from its input, and the file's own where none follow.

    Raises:
        ModelError: SSMC-M03 where types do not fit the operators, or a shape in the file contradicts what follows.
    """
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    for graph in every_graph(bare):
        del graph.value_info[:]
    for output in bare.graph.output:
        output.type.tensor_type.ClearField("shape")
    found = _inferred(bare, source)
    says, follows = dict(_tensors(proto.graph)), dict(_tensors(found.graph))
    for name, value in says.items():
        other = follows.get(name)
        if other is not None:
            _require_agreement(name, value, other)
    missing = [value for value in proto.graph.value_info if value.name not in follows]
    found.graph.value_info.extend(missing)
    if not found.graph.output or not found.graph.output[0].type.tensor_type.HasField("shape"):
        del found.graph.output[:]
        found.graph.output.extend(proto.graph.output)
    return found


def _inferred(proto: onnx.ModelProto, source: str) -> onnx.ModelProto:
    lent = _lend_integers(proto)
    try:
        found = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    except Exception as cause:  # InferenceError, and others on broken files
        node, fact = _guilty(str(cause))
        raise ModelError("SSMC-M03", f"types or shapes do not fit: {fact}", AGAIN, node or source) from None
    for body, count in zip(every_graph(found), lent, strict=True):
        del body.initializer[len(body.initializer) - count :]
    return found


def _lend_integers(proto: onnx.ModelProto) -> list[int]:
    """Give bodies copies of the main graph's integers that they read, since onnx does not look for axes outside.

    Returns:
        How many each graph was given, at the end of its initializers.
    """
    known = {tensor.name: tensor for tensor in proto.graph.initializer if _is_short(tensor)}
    for node in proto.graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None) if node.op_type == "Constant" else None
        if value is not None and _is_short(value):
            known[node.output[0]] = onnx.TensorProto()
            known[node.output[0]].CopyFrom(value)
            known[node.output[0]].name = node.output[0]
    lent = []
    for graph in every_graph(proto):
        own = {name for node in graph.node for name in node.output} | {tensor.name for tensor in graph.initializer}
        read = dict.fromkeys(name for node in graph.node for name in node.input if name in known)
        wanted = [] if graph is proto.graph else [known[name] for name in read if name not in own]
        graph.initializer.extend(wanted)
        lent.append(len(wanted))
    return lent


def _is_short(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type == onnx.TensorProto.INT64 and len(tensor.dims) < 2 and sum(tensor.dims) <= MOST_INTEGERS


def _guilty(message: str) -> tuple[str, str]:
    """The first node in which onnx finds a fault (empty where it names none), and what it says about it."""
    places = list(PLACE.finditer(message))
    ends = [place.start() for place in places[1:]] + [len(message)]
    for place, end in zip(places, ends, strict=False):  # no place: one end
        said = " ".join(message[place.end() : end].split()).strip(" (")
        if said not in WITHIN:
            return place["name"] or place["type"], f"{place['type']}: {said[:200]}"
    return "", " ".join(message.split())[:200]


def _tensors(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TypeProto.Tensor]]:
    for value in (*graph.value_info, *graph.output):
        if value.type.HasField("tensor_type"):
            yield value.name, value.type.tensor_type


def _require_agreement(name: str, says: onnx.TypeProto.Tensor, follows: onnx.TypeProto.Tensor) -> None:
    if says.HasField("shape") and follows.HasField("shape"):
        a, b = _dims(says), _dims(follows)
        if len(a) != len(b) or any(None not in (m, n) and m != n for m, n in zip(a, b, strict=True)):
            fact = f"the file says shape {_text(a)}, from its operators follows {_text(b)}"
            raise ModelError("SSMC-M03", fact, AGAIN, name)


def _dims(tensor: onnx.TypeProto.Tensor) -> Dims:
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)


def _text(dims: Dims) -> str:
    return f"({', '.join('?' if dim is None else str(dim) for dim in dims)})"

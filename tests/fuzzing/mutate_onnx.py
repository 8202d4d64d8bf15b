"""Change an ONNX file at random: any field of any message, elements of tensors, nodes and wires, or bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import numpy_helper

from tests.fuzzing.mutate_text import NAMES, change_bytes, one_of

WHOLE = (0, 1, -1, 2, 3, 7, 127, 128, 255, 256, 65535, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 63) - 1, -(1 << 63))
REAL = (0.0, -0.0, float("nan"), float("inf"), -float("inf"), 1e-45, 1e-40, 1e-30, 1e30, 3.4e38, 0.1, 0.5, -127.5, 1e10)
OPS = (
    "Add", "Mul", "Div", "Sub", "MatMul", "Round", "Clip", "Relu", "Exp", "Log", "Sqrt", "Reciprocal", "Softmax",
    "Transpose", "Identity", "Expand", "Reshape", "Cast", "Shape", "Tile", "ReduceMean", "ReduceSum", "Pow", "Mod",
    "QuantizeLinear", "DequantizeLinear", "Max", "Min", "Gather", "Concat", "Unsqueeze", "Squeeze", "CumSum", "Sin",
    "LayerNormalization", "Gemm", "Neg", "Floor", "Where", "Equal", "Scan", "Einsum", "Pad", "Slice", "Split",
)  # fmt: skip
INTEGER = {
    FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64, FieldDescriptor.CPPTYPE_ENUM,
}  # fmt: skip
FLOATING = {FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE}
Place = tuple[Message, FieldDescriptor]


def mutate_onnx(data: bytes, rng: np.random.Generator) -> bytes:
    """The file with one change; bytes where it cannot be parsed any more."""
    if rng.random() < 0.1:
        return change_bytes(data, rng)
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except Exception:  # protobuf's DecodeError is not public
        return change_bytes(data, rng)
    change = one_of(rng, (_field, _field, _field, _element, _element, _node))
    try:
        change(proto, rng)
        return proto.SerializeToString(deterministic=True)
    except Exception:  # a value that the field cannot hold, an empty file, or a tensor that is damaged already
        return change_bytes(data, rng)


def _places(message: Message) -> Iterator[Place]:
    for descriptor, value in message.ListFields():
        yield message, descriptor
        if descriptor.message_type is not None:
            for child in value if isinstance(value, _repeated()) else [value]:
                yield from _places(child)


def _repeated() -> tuple[type, ...]:
    return (type(onnx.ModelProto().opset_import), type(onnx.TensorProto().dims), list)


def _field(proto: onnx.ModelProto, rng: np.random.Generator) -> None:
    """Change, delete, repeat or swap a field that is set."""
    message, descriptor = one_of(rng, list(_places(proto)))
    value = getattr(message, descriptor.name)
    if isinstance(value, _repeated()):
        _repeated_field(value, descriptor, rng)
    elif descriptor.message_type is not None or rng.random() < 0.15:
        message.ClearField(descriptor.name)
    else:
        setattr(message, descriptor.name, _scalar(value, descriptor, rng))


def _repeated_field(values: Any, descriptor: FieldDescriptor, rng: np.random.Generator) -> None:
    index = int(rng.integers(len(values)))
    action = rng.random()
    if action < 0.25:
        del values[index]
    elif descriptor.message_type is not None:
        values.add().CopyFrom(values[index])
    elif action < 0.4:
        values.append(values[index])
    else:
        values[index] = _scalar(values[index], descriptor, rng)


def _scalar(value: Any, descriptor: FieldDescriptor, rng: np.random.Generator) -> Any:
    kind = descriptor.cpp_type
    if kind in INTEGER:
        return int(value) + int(rng.integers(-2, 3)) if rng.random() < 0.4 else one_of(rng, WHOLE)
    if kind in FLOATING:
        return float(value) * one_of(rng, (-1.0, 2.0, 1.5, 1e-3)) if rng.random() < 0.4 else one_of(rng, REAL)
    if isinstance(value, str):
        return one_of(rng, (*NAMES, *OPS, value + "x", value * 40))
    return change_bytes(value, rng)


def _element(proto: onnx.ModelProto, rng: np.random.Generator) -> None:
    """Change elements of a stored tensor."""
    tensor = one_of(rng, proto.graph.initializer)
    array = numpy_helper.to_array(tensor).copy()
    choices: tuple[float, ...] = REAL if array.dtype.kind == "f" else WHOLE
    with np.errstate(over="ignore"):
        new = np.array(one_of(rng, choices), np.float64 if array.dtype.kind == "f" else object)
        if array.dtype.kind in "iu":
            new = new % (1 << (8 * array.dtype.itemsize - 1))
        factor = one_of(rng, (None, 0.5, 2, 3, -1, 1.0001))
        changed = array * factor if factor is not None and array.dtype.kind == "f" else np.full_like(array, new)
    flat = array.reshape(-1)
    if flat.size > 1 and rng.random() < 0.6:
        at = int(rng.integers(flat.size))
        flat[at] = changed.reshape(-1)[at]
    else:
        array = changed.astype(array.dtype)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _node(proto: onnx.ModelProto, rng: np.random.Generator) -> None:
    """Remove, repeat or rewire a node, or give it another operator."""
    graph = proto.graph
    inner = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    nodes = one_of(rng, [graph, *inner]).node
    node = one_of(rng, nodes)
    names = [name for other in graph.node for name in (*other.input, *other.output)]
    names += [tensor.name for tensor in graph.initializer]
    match int(rng.integers(5)):
        case 0:
            node.op_type = one_of(rng, OPS)
        case 1:
            nodes.remove(node)
        case 2 if node.input:
            node.input[int(rng.integers(len(node.input)))] = one_of(rng, (*names, ""))
        case 3:
            graph.output[0].name = one_of(rng, names)
        case _:
            twin = onnx.NodeProto()
            twin.CopyFrom(node)
            twin.op_type = one_of(rng, OPS)
            old = node.output[0]
            node.output[0] = f"{old}.before"
            del twin.input[:]
            twin.input.append(f"{old}.before")
            if rng.random() < 0.5:
                twin.input.append(one_of(rng, names))
            at = list(nodes).index(node)
            nodes.insert(at + 1, twin)

"""One sequence of real numbers: integer inputs become real ones, several sequences the columns of one.

An input of 8 or 16 bits becomes a float32 input that takes the same numbers. Where DequantizeLinear reads it, its codes
are quantized with step 1 in front, since the model relies on the range of the type. Several sequences (batch, time,
features) become one input, whose columns are theirs side by side: in the order of the Concat that joins them, else in
that of the graph. `input_parts` says which columns are whose.
"""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper

from ssmc.errors import ModelError
from ssmc.importers.protos import proto_name

INPUTS = "ssmc.inputs"
SMALL = {onnx.TensorProto.UINT8, onnx.TensorProto.INT8, onnx.TensorProto.UINT16, onnx.TensorProto.INT16}
SAME_TYPE = (
    "Identity",
    "Transpose",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "Concat",
    "Split",
    "Slice",
    "Gather",
)
Parts = tuple[tuple[str, int], ...]


def input_parts(proto: onnx.ModelProto) -> Parts:
    """Names and numbers of columns of the inputs that were joined, in the order of the columns; () where there is one.

    Of a file as another tool wrote it, or of one that ssmc wrote.
    """
    kept = {entry.key: entry.value for entry in proto.metadata_props}.get(INPUTS, "")
    return text_parts(kept) if kept else _in_order(proto.graph, _sequences(proto.graph))


def parts_of(model: ir.Model) -> Parts:
    """The same of an imported model."""
    return text_parts(model.metadata_props.get(INPUTS, "[]"))


def parts_text(parts: Parts) -> str:
    """For the metadata of a model."""
    return json.dumps(parts)


def text_parts(text: str) -> Parts:
    """What `parts_text` wrote; () for anything else."""
    try:
        return tuple((str(name), int(size)) for name, size in json.loads(text))
    except (ValueError, TypeError):
        return ()


def one_real_sequence(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with one real input in place of integer ones and of several sequences; itself where it has one.

    Raises:
        ModelError: SSMC-M06 where integers are computed with.
    """
    small = [value for value in _true_inputs(proto.graph) if value.type.tensor_type.elem_type in SMALL]
    parts = _in_order(proto.graph, _sequences(proto.graph))
    if not small and not parts:
        return proto
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    for name in [value.name for value in small]:
        _make_real(model.graph, next(value for value in model.graph.input if value.name == name))
    if parts:
        _join(model.graph, parts)
    del model.graph.value_info[:]
    return model


def _true_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    stored = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in stored]


def _sequences(graph: onnx.GraphProto) -> Parts:
    """Inputs (batch, time, features), where there are several: batch and time dynamic, features fixed."""
    real = {onnx.TensorProto.FLOAT, *SMALL}
    found = []
    for value in _true_inputs(graph):
        tensor = value.type.tensor_type
        sizes = [dim.dim_value for dim in tensor.shape.dim]
        if tensor.elem_type in real and len(sizes) == 3 and not sizes[0] and not sizes[1] and sizes[2] > 0:
            found.append((value.name, sizes[2]))
    return tuple(found) if len(found) > 1 else ()


def _in_order(graph: onnx.GraphProto, parts: Parts) -> Parts:
    """In the order of the Concat that joins all of them, else as they are."""
    join = _concat(graph, [_front(graph, name) for name, _ in parts]) if parts else None
    if join is None:
        return parts
    return tuple(sorted(parts, key=lambda part: list(join.input).index(_front(graph, part[0]))))


def _readers(graph: onnx.GraphProto, name: str) -> list[onnx.NodeProto]:
    return [node for node in graph.node if name in node.input]


def _concat(graph: onnx.GraphProto, names: list[str]) -> onnx.NodeProto | None:
    """The Concat of features that reads these values, each once, and that alone reads them."""
    readers = [_readers(graph, name) for name in names]
    node = readers[0][0] if readers[0] else None
    if node is None or node.op_type != "Concat" or sorted(node.input) != sorted(names):
        return None
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    return node if axis in (2, -1) and all(nodes == [node] for nodes in readers) else None


def _quantizer(graph: onnx.GraphProto, name: str) -> tuple[onnx.NodeProto, onnx.NodeProto] | None:
    """The quantizer that alone reads an input: QuantizeLinear, and the one DequantizeLinear behind it."""
    first = _readers(graph, name)
    second = _readers(graph, first[0].output[0]) if len(first) == 1 and first[0].op_type == "QuantizeLinear" else []
    return (first[0], second[0]) if len(second) == 1 and second[0].op_type == "DequantizeLinear" else None


def _front(graph: onnx.GraphProto, name: str) -> str:
    """An input, or what its own Cast to float32 and its own quantizer make of it."""
    readers = _readers(graph, name)
    if len(readers) == 1 and _to_float32(readers[0]):
        name = readers[0].output[0]
    found = _quantizer(graph, name)
    return name if found is None else found[1].output[0]


def _to_float32(node: onnx.NodeProto) -> bool:
    return node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT


def _make_real(graph: onnx.GraphProto, value: onnx.ValueInfoProto) -> None:
    """Change the type of an input to float32; its own Cast to that goes."""
    kind = value.type.tensor_type.elem_type
    value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    seen = {value.name}
    for node in list(graph.node):
        if not seen & set(node.input):
            continue
        if node.op_type == "DequantizeLinear" and node.input[0] in seen:
            _replace(graph, node, _dequantized(graph, node, kind))
        elif node.op_type in SAME_TYPE:
            seen |= set(node.output)
        elif node.op_type not in ("Cast", "Shape"):
            fact = f"it reads the integers of input '{value.name}'"
            raise ModelError("SSMC-M06", fact, "cast the input to float32 before computing with it", proto_name(node))
    for cast in [node for node in _readers(graph, value.name) if _to_float32(node)]:
        _bypass(graph, cast, value.name)


def _bypass(graph: onnx.GraphProto, node: onnx.NodeProto, name: str) -> None:
    """Have what reads a node's output read ``name`` instead; an Identity remains for an output of the model."""
    old = node.output[0]
    kept = [helper.make_node("Identity", [name], [old], name=old)] if any(v.name == old for v in graph.output) else []
    for reader in _readers(graph, old):
        reader.input[:] = [name if other == old else other for other in reader.input]
    _replace(graph, node, kept)


def _dequantized(graph: onnx.GraphProto, node: onnx.NodeProto, kind: int) -> list[onnx.NodeProto]:
    """``scale * (clip(round(x)) - zero point)`` within the range of the type."""
    arrays = [_constant(graph, name) for name in node.input[1:]]
    if any(array is None or array.size != 1 for array in arrays):
        fact = "the scale or zero point of an integer input is not one constant"
        raise ModelError("SSMC-M06", fact, "export it with one scale and zero point", proto_name(node))
    scale, zero = (float(array.ravel()[0]) for array in [*arrays, np.zeros(1)][:2] if array is not None)
    range_of, name, x = np.iinfo(helper.tensor_dtype_to_np_dtype(kind)), node.output[0], node.input[0]
    numbers = {"one": 1.0, "low": range_of.min, "high": range_of.max, "zero": zero, "scale": scale}
    for key, number in numbers.items():
        _store(graph, f"{name}.{key}", np.array(number, np.float32))
    steps = (("Div", "one"), ("Round",), ("Clip", "low", "high"), ("Mul", "one"), ("Sub", "zero"), ("Mul", "scale"))
    made: list[onnx.NodeProto] = []
    for index, (op, *keys) in enumerate(steps):
        out = name if index == len(steps) - 1 else f"{name}.{index}"
        made.append(helper.make_node(op, [x, *(f"{name}.{key}" for key in keys)], [out], name=out))
        x = out
    return made


def _numbers(graph: onnx.GraphProto, node: onnx.NodeProto) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """Scale and zero point of a quantizer's node; empty where they are no constants."""
    found = [_constant(graph, name) for name in node.input[1:3]]
    scale, zero = [*(np.zeros(0) if array is None else array.ravel() for array in found), np.zeros(1, np.uint8)][:2]
    return scale, zero


def _constant(graph: onnx.GraphProto, name: str) -> NDArray[np.generic] | None:
    tensor = next((tensor for tensor in graph.initializer if tensor.name == name), None)
    if tensor is None:
        node = next((node for node in graph.node if name in node.output and node.op_type == "Constant"), None)
        values = [attribute.t for attribute in node.attribute if attribute.name == "value"] if node else []
        tensor = next(iter(values), None)
    return None if tensor is None else onnx.numpy_helper.to_array(tensor)


def _replace(graph: onnx.GraphProto, node: onnx.NodeProto, made: list[onnx.NodeProto]) -> None:
    """Put other nodes in the place of one."""
    index = next(i for i, other in enumerate(graph.node) if other is node or other == node)
    kept = [*graph.node[:index], *made, *graph.node[index + 1 :]]
    del graph.node[:]
    graph.node.extend(kept)


def _join(graph: onnx.GraphProto, parts: Parts) -> None:
    """One input in the place of all, and what takes it apart again where nothing joins them."""
    names = [name for name, _ in parts]
    joined = _unused(graph)
    whole, nodes = joined, list[onnx.NodeProto]()
    fronts = [_front(graph, name) for name in names]
    if not set(fronts) & set(names):
        whole, nodes = _one_quantizer(graph, parts, joined)
    ends = fronts if nodes else names
    join = _concat(graph, ends)
    if join is not None:
        _bypass(graph, join, whole)
    else:
        sizes = _store(graph, f"{joined}.sizes", np.array([size for _, size in parts], np.int64))
        nodes.append(helper.make_node("Split", [whole, sizes], ends, name=f"{joined}.split", axis=2))
    kept = [*nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(kept)
    dims = next(value for value in graph.input if value.name == names[0]).type.tensor_type.shape.dim
    shape = [*(dim.dim_param or None for dim in dims[:2]), sum(size for _, size in parts)]
    others = [value for value in graph.input if value.name not in names]
    del graph.input[:]
    graph.input.extend([helper.make_tensor_value_info(joined, onnx.TensorProto.FLOAT, shape), *others])


def _unused(graph: onnx.GraphProto) -> str:
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    taken |= {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
    return next(
        name for name in ("inputs", *(f"inputs.{index}" for index in range(len(taken) + 1))) if name not in taken
    )


def _store(graph: onnx.GraphProto, name: str, array: NDArray[np.generic]) -> str:
    graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return name


def _one_quantizer(graph: onnx.GraphProto, parts: Parts, joined: str) -> tuple[str, list[onnx.NodeProto]]:
    """One quantizer of all columns, with a scale for each, in place of those of the inputs.

    Returns:
        What it makes of them, and its nodes; the input itself and none where the quantizers differ in more than scale.
    """
    pairs = [pair for name, _ in parts if (pair := _quantizer(graph, name)) is not None]
    arrays = [[number for node in pair for number in _numbers(graph, node)] for pair in pairs]
    if any(array.size != 1 for row in arrays for array in row) or len({row[1].dtype for row in arrays}) > 1:
        return joined, []
    sizes = [size for _, size in parts]
    columns = [np.concatenate([np.repeat(row[i], n) for row, n in zip(arrays, sizes, strict=True)]) for i in range(4)]
    if any((columns[i] != columns[i][0]).any() for i in (1, 3)):
        return joined, []
    columns[3] = columns[3].astype(columns[1].dtype)
    keys = ("step", "zero", "scale", "zero_out")
    names = [_store(graph, f"{joined}.{key}", array) for key, array in zip(keys, columns, strict=True)]
    codes, whole = f"{joined}.codes", f"{joined}.quantized"
    for node in (node for pair in pairs for node in pair):
        _replace(graph, node, [])
    make = helper.make_node
    quantize = make("QuantizeLinear", [joined, *names[:2]], [codes], name=codes, axis=2)
    return whole, [quantize, make("DequantizeLinear", [codes, *names[2:]], [whole], name=whole, axis=2)]

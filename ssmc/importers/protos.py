"""Walk an ONNX file as it was parsed: its graphs, and every tensor that it stores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import onnx
import onnx_ir as ir
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from ssmc.errors import ModelError, first_line


def every_graph(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The main graph and all subgraphs, those in the bodies of functions too."""
    yield proto.graph
    for node in chain(proto.graph.node, *(function.node for function in proto.functions)):
        yield from subgraphs(node)


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Graphs in the attributes of a node, depth first."""
    for attribute in node.attribute:
        for graph in _graphs_of(attribute):
            yield graph
            for inner in graph.node:
                yield from subgraphs(inner)


def every_tensor(proto: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Every dense tensor of the file, with what an error calls it."""
    for graph in every_graph(proto):
        for tensor in graph.initializer:
            yield tensor.name, tensor
        yield from _of_nodes(graph.node)
    for function in proto.functions:
        yield from _of_nodes(function.node)


def sparse_tensors(proto: onnx.ModelProto) -> Iterator[onnx.SparseTensorProto]:
    """Every sparse tensor of the file."""
    for graph in every_graph(proto):
        yield from graph.sparse_initializer
    nodes = chain(*(graph.node for graph in every_graph(proto)), *(function.node for function in proto.functions))
    for attribute in chain.from_iterable(node.attribute for node in nodes):
        yield from attribute.sparse_tensors
        if attribute.HasField("sparse_tensor"):
            yield attribute.sparse_tensor


def undecodable(message: Message) -> bytes | None:
    """The first text in a message that is no UTF-8; None where all are. protobuf hands such a text out as bytes.

    Texts of attributes are bytes in the format, and UTF-8 by its rules.
    """
    stack = [message]
    while stack:
        part = stack.pop()
        if isinstance(part, onnx.AttributeProto):
            wrong = next((bytes(text) for text in (part.s, *part.strings) if not _is_utf8(text)), None)
            if wrong is not None:
                return wrong
        for field, value in part.ListFields():
            if field.message_type is not None:
                stack += [value] if isinstance(value, Message) else value
            elif field.type == FieldDescriptor.TYPE_STRING:
                texts = [value] if isinstance(value, str | bytes) else value
                wrong = next((text for text in texts if not isinstance(text, str)), None)
                if wrong is not None:
                    return bytes(wrong)
    return None


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def proto_name(node: onnx.NodeProto) -> str:
    """The name an error shows: the node's own, else that of its first output."""
    return node.name or next(iter(node.output), "") or node.op_type


def _graphs_of(attribute: onnx.AttributeProto) -> Iterator[onnx.GraphProto]:
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def _of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[tuple[str, onnx.TensorProto]]:
    for node in nodes:
        for attribute in node.attribute:
            tensors = [attribute.t] if attribute.HasField("t") else []
            for tensor in (*tensors, *attribute.tensors):
                yield f"{proto_name(node)}.{attribute.name}", tensor


def parsed(proto: onnx.ModelProto, source: str) -> ir.Model:
    """The model as onnx_ir reads it: what onnx's checker lets pass, onnx_ir may still not understand.

    Raises:
        ModelError: SSMC-M03.
    """
    try:
        return ir.from_proto(proto)
    except Exception as error:  # SerdeError around anything
        raise invalid(error, source) from None


def invalid(error: BaseException, source: str) -> ModelError:
    """The error SSMC-M03 of what another package found, in its innermost words."""
    while error.__cause__ is not None:
        error = error.__cause__
    return ModelError("SSMC-M03", f"invalid ONNX graph: {first_line(error)}", "export the model again", source)

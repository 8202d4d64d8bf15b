"""The plain way: no gate and no reset; the mean over the last steps replaces that over the recording."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

HELD, PAUSE = 10, 125


def streaming(model: onnx.ModelProto, width: int) -> onnx.ModelProto:
    """The same weights; the mean over time becomes one over the last ``width`` steps, and every step has an output."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    (at,) = (i for i, node in enumerate(graph.node) if node.op_type == "ReduceMean")
    (x, *_), (y,) = graph.node[at].input, graph.node[at].output
    window = {"kernel_shape": [width], "strides": [1], "pads": [width - 1, 0], "count_include_pad": 0}
    nodes = [
        helper.make_node("Transpose", [x], ["window.channels"], perm=[0, 2, 1]),
        helper.make_node("AveragePool", ["window.channels"], ["window.mean"], **window),
        helper.make_node("Transpose", ["window.mean"], [y], perm=[0, 2, 1]),
    ]
    rest = [part for node in list(graph.node)[at + 1 :] for part in _per_step(graph, node)]
    kept = [*list(graph.node)[:at], *nodes, *rest]
    del graph.node[:]
    graph.node.extend(kept)
    out = graph.output[0]
    shape = ["batch", "time", out.type.tensor_type.shape.dim[1].dim_value]
    out.CopyFrom(helper.make_tensor_value_info(out.name, onnx.TensorProto.FLOAT, shape))
    del graph.value_info[:]
    onnx.checker.check_model(made)
    return made


def _per_step(graph: onnx.GraphProto, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """A linear layer that takes (batch, features) as one that takes (batch, time, features)."""
    if node.op_type != "Gemm":
        return [node]
    x, weight, bias = node.input
    (stored,) = (each for each in graph.initializer if each.name == weight)
    turned = np.ascontiguousarray(numpy_helper.to_array(stored).T)
    graph.initializer.append(numpy_helper.from_array(turned, f"{weight}.turned"))
    return [
        helper.make_node("MatMul", [x, f"{weight}.turned"], [f"{node.output[0]}.product"]),
        helper.make_node("Add", [f"{node.output[0]}.product", bias], list(node.output)),
    ]


def window_events(outputs: NDArray[np.float64], margin: float) -> list[tuple[int, int]]:
    """Steps at which one class has led by ``margin`` for `HELD` steps, and the class; then none for `PAUSE` steps."""
    order, label = np.sort(outputs, 1), outputs.argmax(1)
    same = np.concatenate([[False], label[1:] == label[:-1]])
    run, events, last = 0, [], -PAUSE
    for t in range(len(outputs)):
        leads = order[t, -1] - order[t, -2] >= margin
        run = run + 1 if leads and same[t] else int(leads)
        if run >= HELD and t - last >= PAUSE:
            events.append((t, int(label[t])))
            last = t
    return events

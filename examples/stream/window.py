"""The plain way, no gate and no reset: a mean of the last steps, or one that forgets, replaces that of a recording."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnx.parser
from numpy.typing import NDArray
from onnx import helper, numpy_helper

HELD, PAUSE = 10, 125


#: r' = r + u - round(r / unit) on codes, from unit times the first step on; what it gives is round(r' / unit)
FORGETTING = """<ir_version: 10, opset_import: ["" : 21]>
mean (float[batch,time,C] mean_x) => (float[batch,time,C] mean_y)
<float mean_step, float mean_unit, float mean_lo, float mean_hi, float mean_down, float mean_up, float mean_least,
 float mean_most, int64 mean_zero>
{
  codes = Div (mean_x, mean_step)
  turned = Transpose <perm: ints = [1, 0, 2]> (codes)
  first = Gather <axis: int = 0> (turned, mean_zero)
  start = Mul (first, mean_unit)
  end, means = Scan <num_scan_inputs: int = 1, body: graph = step
    (float[batch,C] r, float[batch,C] u) => (float[batch,C] next, float[batch,C] mean) {
    old = Div (r, mean_unit)
    old_rounded = Round (old)
    held = Clip (old_rounded, mean_lo, mean_hi)
    apart = Sub (u, held)
    apart_rounded = Round (apart)
    moved = Clip (apart_rounded, mean_down, mean_up)
    sum = Add (r, moved)
    next = Clip (sum, mean_least, mean_most)
    new = Div (next, mean_unit)
    new_rounded = Round (new)
    mean = Clip (new_rounded, mean_lo, mean_hi)
  }> (start, turned)
  back = Transpose <perm: ints = [1, 0, 2]> (means)
  mean_y = Mul (back, mean_step)
}"""


def sliding(model: onnx.ModelProto, width: int) -> onnx.ModelProto:
    """The mean over time becomes one over the last ``width`` steps."""
    window = {"kernel_shape": [width], "strides": [1], "pads": [width - 1, 0], "count_include_pad": 0}

    def pool(x: str, y: str) -> list[onnx.NodeProto]:
        return [
            helper.make_node("Transpose", [x], ["window.channels"], perm=[0, 2, 1]),
            helper.make_node("AveragePool", ["window.channels"], ["window.mean"], **window),
            helper.make_node("Transpose", ["window.mean"], [y], perm=[0, 2, 1]),
        ]

    return _streaming(model, pool)


def forgetting(model: onnx.ModelProto, shift: int) -> onnx.ModelProto:
    """The mean over time becomes an exponentially weighted one, 2^-shift for the newest step."""
    graph = model.graph
    (mean,) = (node for node in graph.node if node.op_type == "ReduceMean")
    stored = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    by_output = {node.output[0]: node for node in graph.node}
    quantizer = by_output[by_output[mean.input[0]].input[0]]
    step, container = float(stored[quantizer.input[1]]), np.iinfo(stored[quantizer.input[2]].dtype)
    unit, lo, hi = 2.0**shift, float(container.min), float(container.max)
    numbers = {
        "step": step,
        "unit": unit,
        "lo": lo,
        "hi": hi,
        "down": lo - hi,
        "up": hi - lo,
        "least": unit * lo,
        "most": unit * hi,
    }
    part = onnx.parser.parse_model(FORGETTING).graph

    def pool(x: str, y: str) -> list[onnx.NodeProto]:
        ends = helper.make_node("Identity", [x], ["mean_x"]), helper.make_node("Identity", ["mean_y"], [y])
        return [ends[0], *part.node, ends[1]]

    arrays = {name: np.float32(number) for name, number in numbers.items()} | {"zero": np.int64(0)}
    known = [numpy_helper.from_array(np.asarray(array), f"mean_{name}") for name, array in arrays.items()]
    return _streaming(model, pool, known)


def _streaming(
    model: onnx.ModelProto,
    pool: Callable[[str, str], list[onnx.NodeProto]],
    constants: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    """The same weights with another mean over time, and an output at every step."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    graph.initializer.extend(constants)
    (at,) = (i for i, node in enumerate(graph.node) if node.op_type == "ReduceMean")
    (x, *_), (y,) = graph.node[at].input, graph.node[at].output
    nodes = pool(x, y)
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

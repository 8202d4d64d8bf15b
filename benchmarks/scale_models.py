"""Float S4D models of any size as ONNX, with numpy and onnx alone: what ``benchmarks/scale.py`` compiles.

A layer is the official block: a diagonal kernel per channel as one ``Scan`` over [[A, B], [C, D]] (as ``ssmc export``
writes it), ReLU, a gated mixing matrix (GLU) and the residual. Poles are drawn as S4D-Lin initialises them, with steps
from 0.001 to 0.1 (arXiv 2206.11893).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

Floats = NDArray[np.float64]
FEATURES, CLASSES = 4, 10


@dataclass(frozen=True)
class Size:
    """Layers of ``channels`` kernels with ``states`` real states each (half as many complex modes)."""

    layers: int
    channels: int
    states: int

    @property
    def name(self) -> str:
        """As in tables: ``4 x 128 x 64``."""
        return f"{self.layers} x {self.channels} x {self.states}"


@dataclass
class Graph:
    """Nodes and initializers of the model; bodies of loops read the initializers too."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def const(self, array: ArrayLike, name: str, dtype: type[np.generic] = np.float32) -> str:
        """An initializer."""
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def op(self, kind: str, inputs: list[str], name: str, outputs: int = 1, **attributes: object) -> str:
        """A node; its outputs are ``name``, ``name:1``, ..."""
        made = [name, *(f"{name}:{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(kind, inputs, made, name=name, **attributes))
        return name

    def linear(self, x: str, inputs: int, outputs: int, name: str, rng: np.random.Generator) -> str:
        """A random matrix that keeps the variance, and a bias."""
        weight = self.const(rng.standard_normal((inputs, outputs)) / np.sqrt(inputs), f"{name}.W")
        bias = self.const(rng.standard_normal(outputs) / 8, f"{name}.b")
        return self.op("Add", [self.op("MatMul", [x, weight], f"{name}.product"), bias], name)


def kernel(size: Size, rng: np.random.Generator) -> Floats:
    """[[A, B], [C, D]] of every channel, (H, N + 1, N + 1), with A of 2x2 blocks."""
    modes = size.states // 2
    step = np.exp(rng.uniform(np.log(1e-3), np.log(1e-1), size.channels))
    rate = -0.5 + 1j * np.pi * np.arange(modes)
    pole = np.exp(step[:, None] * rate)
    gain = (pole - 1) / rate
    out = (rng.standard_normal((size.channels, modes, 2)) @ np.array([1, 1j])) / np.sqrt(2)
    M = np.zeros((size.channels, size.states + 1, size.states + 1))
    re, im = 2 * np.arange(modes), 2 * np.arange(modes) + 1
    M[:, re, re] = M[:, im, im] = pole.real
    M[:, re, im], M[:, im, re] = -pole.imag, pole.imag
    M[:, re, -1], M[:, im, -1] = gain.real, gain.imag
    M[:, -1, re], M[:, -1, im] = 2 * out.real, -2 * out.imag
    M[:, -1, -1] = rng.standard_normal(size.channels)
    return M


def body(size: Size, matrix: str, name: str) -> onnx.GraphProto:
    """One step of all channels: state (batch, H, N) and input (batch, H) to the next state and the output."""
    state, u = f"{name}.state", f"{name}.u"
    wide = f"{name}.wide"
    nodes = [
        helper.make_node("Unsqueeze", [u, "last"], [f"{wide}.u"]),
        helper.make_node("Concat", [state, f"{wide}.u"], [f"{wide}.v"], axis=-1),
        helper.make_node("Unsqueeze", [f"{wide}.v", "last"], [f"{wide}.column"]),
        helper.make_node("MatMul", [matrix, f"{wide}.column"], [f"{wide}.product"], name=f"{name}.product"),
        helper.make_node("Squeeze", [f"{wide}.product", "last"], [f"{wide}.z"]),
        helper.make_node("Slice", [f"{wide}.z", "zero", "last", "last"], [f"{name}.new"]),
        helper.make_node("Gather", [f"{wide}.z", "end"], [f"{name}.y"], axis=-1),
    ]
    values = [helper.make_tensor_value_info(v, TensorProto.FLOAT, None) for v in (state, u, f"{name}.new", f"{name}.y")]
    return helper.make_graph(nodes, f"{name}.body", values[:2], values[2:])


def layer(g: Graph, x: str, size: Size, name: str, rng: np.random.Generator) -> str:
    """Kernel, ReLU, GLU, residual."""
    turned = g.op("Transpose", [x], f"{name}.turned", perm=[1, 0, 2])
    matrix = g.const(kernel(size, rng), f"{name}.matrix")
    g.op("Scan", ["start", turned], f"{name}.scan", 2, body=body(size, matrix, name), num_scan_inputs=1)
    y = g.op("Relu", [g.op("Transpose", [f"{name}.scan:1"], f"{name}.y", perm=[1, 0, 2])], f"{name}.relu")
    mixed = g.linear(y, size.channels, 2 * size.channels, f"{name}.mix", rng)
    g.op("Split", [mixed], f"{name}.half", 2, axis=-1, num_outputs=2)
    gate = g.op("Sigmoid", [f"{name}.half:1"], f"{name}.gate")
    return g.op("Add", [x, g.op("Mul", [f"{name}.half", gate], f"{name}.gated")], f"{name}.sum")


def float_model(size: Size, seed: int = 0) -> onnx.ModelProto:
    """Encoder, the layers, mean over time, decoder; batch and time are dynamic."""
    rng, g = np.random.default_rng(seed), Graph()
    for name, value in (("last", [-1]), ("zero", [0])):
        g.const(value, name, np.int64)
    g.const(-1, "end", np.int64)
    u = g.linear("x", FEATURES, size.channels, "encoder", rng)
    batch = g.op("Shape", ["x"], "batch", start=0, end=1)
    sizes = g.const([size.channels, size.states], "sizes", np.int64)
    g.op("ConstantOfShape", [g.op("Concat", [batch, sizes], "shape", axis=0)], "start")
    for number in range(size.layers):
        u = layer(g, u, size, f"layer{number}", rng)
    mean = g.op("ReduceMean", [u, g.const([1], "time", np.int64)], "mean", keepdims=0)
    y = g.linear(mean, size.channels, CLASSES, "decoder", rng)
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "steps", FEATURES])
    result = helper.make_tensor_value_info(y, TensorProto.FLOAT, ["batch", CLASSES])
    graph = helper.make_graph(g.nodes, "scale", [source], [result], g.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def calibration(sequences: int = 8, steps: int = 100, seed: int = 1) -> NDArray[np.float32]:
    """Smooth random sequences (sequences, steps, features)."""
    rng = np.random.default_rng(seed)
    walk = rng.standard_normal((sequences, steps, FEATURES)).cumsum(1) / 4
    return np.asarray(walk + rng.standard_normal(walk.shape) / 4, np.float32)

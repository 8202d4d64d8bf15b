"""An ONNX graph node by node, written without torch and without ssmc: quantizers in four spellings, loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]
QONNX = "qonnx.custom_op.general"

Step = Callable[["Graph", list[str], str], tuple[list[str], list[str]]]


@dataclass(frozen=True)
class Grid:
    """Codes lo..hi of step ``scale`` (scalar, or broadcast from the right)."""

    scale: Floats
    lo: int
    hi: int


def signed(bits: int, scale: ArrayLike) -> Grid:
    """Two's complement."""
    return Grid(np.asarray(scale, np.float32), -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def unsigned(bits: int, scale: ArrayLike) -> Grid:
    """Codes from 0."""
    return Grid(np.asarray(scale, np.float32), 0, (1 << bits) - 1)


@dataclass
class Graph:
    """Collects nodes; constants are shared with the graphs inside."""

    spelling: str = "qdq"
    prefix: str = ""
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def inner(self, prefix: str) -> Graph:
        """A loop body that captures this graph's constants."""
        return Graph(self.spelling, prefix, [], self.constants)

    def op(self, op_type: str, *inputs: str, out: str = "", domain: str = "", **attributes: object) -> str:
        """Append a node with one output, named like it."""
        name = out or f"{self.prefix}{op_type.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def const(self, array: ArrayLike, dtype: type[np.generic] = np.float32, name: str = "") -> str:
        """An initializer."""
        unique = name or f"c{len(self.constants)}"
        self.constants[unique] = numpy_helper.from_array(np.asarray(array, dtype), unique)
        return unique

    def quant(self, x: str, grid: Grid, name: str) -> str:
        """A quantizer in this graph's spelling; its real output is called ``name``."""
        if self.spelling == "qdq":
            return self._qdq(x, grid, name)
        scale = self.const(grid.scale)
        if self.spelling == "qonnx":
            bits = (grid.hi - grid.lo).bit_length()
            options = {"signed": int(grid.lo < 0), "narrow": 0, "rounding_mode": "ROUND"}
            return self.op("Quant", x, scale, self.const(0), self.const(bits), out=name, domain=QONNX, **options)
        rounded = self.op("Round", self.op("Div", x, scale), out=f"{name}.round")
        lo, hi = self.const(grid.lo), self.const(grid.hi)
        if self.spelling == "round":
            codes = self.op("Clip", rounded, lo, hi, out=f"{name}.codes")
        else:
            codes = self.op("Min", self.op("Max", rounded, lo), hi, out=f"{name}.codes")
        return self.op("Mul", codes, scale, out=name)

    def _qdq(self, x: str, grid: Grid, name: str) -> str:
        dtype: type[np.integer]
        if grid.lo >= -128 and grid.hi <= 255 + min(grid.lo, 0):
            dtype = np.int8 if grid.lo < 0 else np.uint8
        else:
            dtype = np.int16 if grid.lo < 0 else np.uint16
        container = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        where = {"axis": -grid.scale.ndim} if grid.scale.ndim else {}
        scale = self.const(grid.scale.ravel() if grid.scale.ndim else grid.scale)
        zero = self.const(np.zeros(grid.scale.size if grid.scale.ndim else ()), dtype)
        codes = self.op("QuantizeLinear", x, scale, zero, out=f"{name}.q", **where)
        if (grid.lo, grid.hi) != container:
            codes = self.op("Clip", codes, self.const(grid.lo, dtype), self.const(grid.hi, dtype), out=f"{name}.clip")
        return self.op("DequantizeLinear", codes, scale, zero, out=name, **where)

    def weight(self, codes: Codes, scale: ArrayLike, name: str) -> str:
        """A quantized weight: integer codes behind a DequantizeLinear, or the float32 numbers themselves.

        ``scale`` is a scalar or one number per row (first axis).
        """
        step = np.asarray(scale, np.float32)
        wide = step.reshape(step.shape + (1,) * (codes.ndim - step.ndim)) if step.ndim else step
        if self.spelling == "qdq":
            where = {"axis": 0} if step.ndim else {}
            stored = self.const(codes, np.int8, f"{name}.codes")
            return self.op("DequantizeLinear", stored, self.const(step), out=name, **where)
        real = self.const(codes.astype(np.float32) * wide, name=f"{name}.real")
        if self.spelling == "qonnx":
            options = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
            return self.op(
                "Quant", real, self.const(wide), self.const(0), self.const(8), out=name, domain=QONNX, **options
            )
        return real

    def loop(
        self,
        u: str,
        shapes: Sequence[Sequence[int]],
        step: Step,
        name: str = "scan",
        *,
        start: float = 0.0,
        **more: object,
    ) -> list[str]:
        """``Scan`` over the time of u (N, T, C): states (N, *shape) from ``start``; outputs (N, T, ...)."""
        time_first = self.op("Transpose", u, perm=[1, 0, 2], out=f"{name}.u")
        batch = self.op("Shape", u, start=0, end=1, out=f"{name}.batch")
        states, initial = [], []
        for index, shape in enumerate(shapes):
            full = self.op("Concat", batch, self.const(list(shape), np.int64), axis=0, out=f"{name}.shape{index}")
            initial.append(self.op("Expand", self.const(start), full, out=f"{name}.init{index}"))
            states.append(f"{name}.s{index}")
        inside = self.inner(f"{name}.in.")
        new, outputs = step(inside, states, f"{name}.ut")
        body = inside.body(f"{name}.body", states, [f"{name}.ut"], [*_once(inside, new), *_once(inside, outputs)])
        results = [f"{name}.out{index}" for index in range(len(outputs))]
        ends = [f"{name}.end{index}" for index in range(len(states))]
        attributes = {"num_scan_inputs": 1, "body": body, **more}
        self.nodes.append(helper.make_node("Scan", [*initial, time_first], [*ends, *results], name=name, **attributes))
        return [self.op("Transpose", y, perm=[1, 0, 2], out=f"{y}.batch") for y in results]

    def body(self, name: str, states: Sequence[str], inputs: Sequence[str], outputs: Sequence[str]) -> onnx.GraphProto:
        """This graph as a loop body."""
        values = [helper.make_tensor_value_info(v, TensorProto.FLOAT, None) for v in (*states, *inputs)]
        results = [helper.make_tensor_value_info(v, TensorProto.FLOAT, None) for v in outputs]
        return helper.make_graph(self.nodes, name, values, results)

    def finish(
        self, features: int, output: str, shape: Sequence[str | int], opset: int = 21, x: str = "x"
    ) -> onnx.ModelProto:
        """The model with input (batch, time, features)."""
        source = helper.make_tensor_value_info(x, TensorProto.FLOAT, ["batch", "time", features])
        result = helper.make_tensor_value_info(output, TensorProto.FLOAT, list(shape))
        graph = helper.make_graph(self.nodes, "model", [source], [result], list(self.constants.values()))
        domains = [helper.make_opsetid("", opset), helper.make_opsetid(QONNX, 1)]
        return helper.make_model(graph, opset_imports=domains, ir_version=10)


def _once(body: Graph, values: Sequence[str]) -> list[str]:
    """A loop body may not return one value twice, nor an outer one."""
    return [body.op("Identity", value) for value in values]

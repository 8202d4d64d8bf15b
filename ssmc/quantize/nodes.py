"""Standard ONNX nodes: quantizers, and a kernel as ``Scan``."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike

from ssmc.ir.build import add_constant, required
from ssmc.ir.node_builder import NodeBuilder
from ssmc.ir.read_program import constants
from ssmc.ir.rounding import FloatArray
from ssmc.quantize.runs import QuantizedKernel

CONTAINERS: tuple[tuple[type[np.generic], int, int], ...] = (
    (np.int8, -128, 127),
    (np.uint8, 0, 255),
    (np.int16, -32768, 32767),
    (np.uint16, 0, 65535),
)


class QuantizedNodes(NodeBuilder):
    """Quantizers and weights in codes; constants are initializers of ``main``."""

    def __init__(self, main: ir.Graph, graph: ir.Graph | None = None, place: ir.Node | None = None) -> None:
        super().__init__(main if graph is None else graph, place)
        self.main = main

    def const(self, name: str, array: ArrayLike, dtype: type[np.generic] = np.float32) -> ir.Value:
        """An initializer."""
        return add_constant(self.main, name, array, dtype)

    def quantized(self, x: ir.Value, step: ArrayLike, out: ArrayLike, limits: tuple[int, int], name: str) -> ir.Value:
        """``out * clip(round_half_even(x / step), lo, hi)``, with one step or one for each entry of the last axis of 3.

        QuantizeLinear, Clip where the codes are narrower than their container, DequantizeLinear; in float32 where
        onnxruntime has no Clip for the container.
        """
        lo, hi = limits
        dtype, low, high = next(c for c in CONTAINERS if c[1] <= lo and hi <= c[2])
        whole = (low, high) == limits
        if not whole and np.dtype(dtype).itemsize > 1:
            return self.clipped(x, step, out, limits, name)
        axis = {"axis": 2} if np.ndim(step) else {}
        zero = self.const(f"{name}.zero", np.zeros(np.shape(step)), dtype)
        inputs = [x, self.const(f"{name}.step", step), zero]
        codes = self.op("QuantizeLinear", inputs, f"{name}/QuantizeLinear", **axis)
        if not whole:
            ends = [self.const(f"{name}.{key}", end, dtype) for key, end in (("lo", lo), ("hi", hi))]
            codes = self.op("Clip", [codes, *ends], f"{name}/Clip")
        along = {"axis": 2} if np.ndim(out) else {}
        return self.op("DequantizeLinear", [codes, self.const(f"{name}.out", out)], name, **along)

    def clipped(self, x: ir.Value, step: ArrayLike, out: ArrayLike, limits: tuple[int, int], name: str) -> ir.Value:
        """The same in float32: Div, Round, Clip, Mul; ``step`` and ``out`` broadcast to x."""
        real = self.op("Div", [x, self.const(f"{name}.step", step)], f"{name}/Div")
        ends = [self.const(f"{name}.{key}", end) for key, end in zip(("lo", "hi"), limits, strict=True)]
        codes = self.op("Clip", [self.op("Round", [real], f"{name}/Round"), *ends], f"{name}/Clip")
        return self.op("Mul", [codes, self.const(f"{name}.out", out)], name)

    def weight(self, codes: ArrayLike, step: FloatArray, axis: int, name: str) -> ir.Value:
        """Integer weights behind DequantizeLinear, one step along ``axis`` or one in all."""
        array = np.asarray(codes)
        lo, hi = int(array.min(initial=0)), int(array.max(initial=0))
        wide = np.int16 if lo >= -(1 << 15) and hi < 1 << 15 else np.int32
        dtype = np.int8 if lo >= -128 and hi <= 127 else wide
        along = {} if np.ndim(step) == 0 else {"axis": axis}
        values = [self.const(f"{name}.codes", array, dtype), self.const(f"{name}.step", step)]
        return self.op("DequantizeLinear", values, name, **along)


def float_scan(graph: ir.Graph, node: ir.Node, dense: FloatArray) -> ir.Value:
    """A kernel [[A, B], [C, D]] in real numbers (G, n + p, n + m): u (N, T, G m) to y (N, T, G p), before ``node``."""
    name = f"{node.name}.float"
    outer = QuantizedNodes(graph, place=node)
    matrix = outer.const(f"{name}.M", dense)
    return _scan(outer, node, dense.shape, matrix, None, required(node, 0), name)


def quantized_scan(
    graph: ir.Graph, node: ir.Node, kernel: QuantizedKernel, u: ir.Value, limits: tuple[int, int]
) -> ir.Value:
    """The kernel in codes: u (N, T, G m) real to y (N, T, G p) real, before ``node``."""
    name = str(node.name)
    outer = QuantizedNodes(graph, place=node)
    step = kernel.u_step.ravel()
    step = step if (step != step[0]).any() else step[0]
    codes = outer.quantized(u, step, 1.0, limits, f"{name}.u")
    matrix = outer.weight(kernel.W, np.asarray(1.0), 0, f"{name}.W")
    y = _scan(outer, node, kernel.W.shape, matrix, kernel, codes, name)
    return outer.op("Mul", [y, outer.const(f"{name}.y_step", kernel.y_step.ravel())], f"{name}.y")


def _scan(
    outer: QuantizedNodes,
    node: ir.Node,
    shape: tuple[int, ...],
    matrix: ir.Value,
    kernel: QuantizedKernel | None,
    u: ir.Value,
    name: str,
) -> ir.Value:
    G, rows, columns = shape
    p = constants(node)["W_y"].shape[1]
    n = rows - p
    m = columns - n
    batch = outer.op("Shape", [u], f"{name}/Shape", start=0, end=1)
    size = outer.op("Concat", [batch, outer.const(f"{name}.states", [G, n], np.int64)], f"{name}/Concat", axis=0)
    start = outer.op("ConstantOfShape", [size], f"{name}/ConstantOfShape")
    turned = outer.op("Transpose", [u], f"{name}/Transpose", perm=[1, 0, 2])
    body = _body(outer.main, matrix, kernel, (G, n, m, p), name)
    scan = ir.node("Scan", [start, turned], {"body": body, "num_scan_inputs": 1}, num_outputs=2, name=f"{name}/Scan")
    scan.outputs[0].name, scan.outputs[1].name = f"{name}/Scan:0", f"{name}/Scan:1"
    outer.graph.insert_before(node, scan)
    return outer.op("Transpose", [scan.outputs[1]], f"{name}/Transpose_2", perm=[1, 0, 2])


def _body(
    main: ir.Graph, matrix: ir.Value, kernel: QuantizedKernel | None, sizes: tuple[int, ...], name: str
) -> ir.Graph:
    """One step: state (N, G, n), u (N, G m) to the next state and y (N, G p)."""
    G, n, m, p = sizes
    state, u = (ir.val(f"{name}.{key}", dtype=ir.DataType.FLOAT) for key in ("state", "input"))
    graph = ir.Graph([state, u], [], nodes=[], name=f"{name}.body", opset_imports={"": 21})
    b = QuantizedNodes(main, graph)
    read = state if kernel is None else _read_out(b, state, kernel, name)
    last = b.const(f"{name}.last", [-1], np.int64)
    grouped = b.op("Reshape", [u, b.const(f"{name}.inputs", [-1, G, m], np.int64)], f"{name}.u/Reshape")
    v = b.op("Unsqueeze", [b.op("Concat", [read, grouped], f"{name}.v", axis=2), last], f"{name}.v/Unsqueeze")
    z = b.op("Squeeze", [b.op("MatMul", [matrix, v], f"{name}/MatMul"), last], f"{name}/Squeeze")
    if kernel is not None:
        scaled = b.op("Mul", [z, b.const(f"{name}.ratio", kernel.ratio)], f"{name}/Mul")
        z = b.quantized(scaled, 1.0, 1.0, kernel.adc, f"{name}.q")
    ends = [b.const(f"{name}.{key}", [value], np.int64) for key, value in (("from", 0), ("n", n), ("all", n + p))]
    axis = b.const(f"{name}.axis", [2], np.int64)
    new = b.op("Slice", [z, ends[0], ends[1], axis], f"{name}.new")
    y = b.op("Slice", [z, ends[1], ends[2], axis], f"{name}.y/Slice")
    y = b.op("Reshape", [y, b.const(f"{name}.outputs", [-1, G * p], np.int64)], f"{name}.y/Reshape")
    if kernel is not None and kernel.keep.any():
        kept = state
        if not kernel.keep.all():
            kept = b.op("Mul", [state, b.const(f"{name}.keep", kernel.keep)], f"{name}.kept")
        moved = b.op("Add", [kept, new], f"{name}.moved")
        limits = [b.const(f"{name}.register_{i}", end) for i, end in enumerate(kernel.register)]
        new = b.op("Clip", [moved, *limits], f"{name}.register")
    graph.outputs.extend([new, y])
    return graph


def _read_out(b: QuantizedNodes, state: ir.Value, kernel: QuantizedKernel, name: str) -> ir.Value:
    if not kernel.keep.any() and kernel.dac == kernel.adc:
        return state
    step = b.const(f"{name}.unit", np.exp2(kernel.shift))
    return b.quantized(b.op("Div", [state, step], f"{name}.read"), 1.0, 1.0, kernel.dac, f"{name}.R")

"""``ssmc::Quant`` nodes of a fresh export become standard ONNX.

q = clip(round_half_even(x / scale), lo, hi), value out_scale * q, is spelled, in this order of preference,

    constant x:            int8/int16 initializer -> DequantizeLinear(out_scale)
    scalar or 1-D scale:   QuantizeLinear(scale) [-> Clip in int8/uint8] -> DequantizeLinear(out_scale)
    any other scale:       Div(scale) -> QuantizeLinear(1) [-> Clip] -> DequantizeLinear(1) [-> Mul(out_scale)]
    more than 8 bits, not the full 16: Div(scale) -> Round -> Clip(lo, hi) -> Mul(out_scale) in float32,

the last because onnxruntime's CPU provider has no Clip for 16-bit integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ssmc.export.names import Names, quantizer_name
from ssmc.ir.build import graph_of, required
from ssmc.ir.rounding import round_half_even

Array = NDArray[np.float32]

CONTAINERS: dict[type[np.generic], tuple[int, int]] = {
    np.int8: (-128, 127),
    np.uint8: (0, 255),
    np.int16: (-32768, 32767),
    np.uint16: (0, 65535),
}


@dataclass(frozen=True)
class Spec:
    """One quantizer: its constants as arrays."""

    scale: Array
    out_scale: Array
    lo: int
    hi: int


def container(lo: int, hi: int) -> type[np.generic]:
    """Smallest integer type that holds lo..hi; signed where both fit."""
    for dtype, (least, most) in CONTAINERS.items():
        if least <= lo and hi <= most:
            return dtype
    raise ValueError(f"codes {lo}..{hi} fit no 16-bit type")


def lower_quantizers(model: ir.Model, scopes: dict[ir.Node, str], names: Names) -> None:
    """Rewrite every ``ssmc::Quant`` of the graph and its subgraphs in place."""
    constants = Constants(model.graph)
    for node, scope in scopes.items():
        if node.domain == "ssmc" and node.op_type == "Quant":
            _lower(node, constants, names.unique(quantizer_name(node, scope)))
    model.opset_imports.pop("ssmc", None)
    for graph in model.graph.subgraphs():
        graph.opset_imports.pop("ssmc", None)


class Constants:
    """Initializers of the main graph; subgraphs capture them."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph

    def add(self, name: str, array: NDArray[np.generic]) -> ir.Value:
        """An initializer holding ``array`` under this name; the same name and content is stored once."""
        known = self.graph.initializers.get(name)
        if known is not None and known.const_value is not None:
            old = known.const_value.numpy()
            if old.dtype == array.dtype and np.array_equal(old, array):
                return known
            return self.add(f"{name}_", array)
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor)
        self.graph.register_initializer(value)
        return value

    def scale(self, name: str, array: Array) -> ir.Value:
        """A scale; the unit scale is one constant for all."""
        if array.size == 1 and float(array.reshape(())) == 1.0:
            return self.add("one", np.ones((), np.float32))
        return self.add(name, array)


def _array(value: ir.Value | None) -> Array | None:
    if value is None or value.const_value is None:
        return None
    return np.asarray(value.const_value.numpy())


def _spec(node: ir.Node) -> Spec:
    scale, out_scale = _array(node.inputs[1]), _array(node.inputs[2])
    if scale is None or out_scale is None:
        raise ValueError(f"quantizer {node.name}: scale is not a constant; freeze the model before export")
    return Spec(scale, out_scale, node.attributes["lo"].as_int(), node.attributes["hi"].as_int())


def _axis(scale: Array, rank: int | None) -> int | None:
    """The axis of x along which a scale with one non-trivial axis runs, counted from 0; None where there is none."""
    wide = [axis for axis, size in enumerate(scale.shape) if size != 1]
    if rank is None or len(wide) != 1:
        return None
    return rank - scale.ndim + wide[0]


def _lower(node: ir.Node, constants: Constants, name: str) -> None:
    spec, x, old = _spec(node), required(node, 0), node.outputs[0]
    fixed = _array(x)
    build = Builder(node, constants, name)
    if fixed is not None:
        codes = np.clip(round_half_even(fixed / spec.scale), spec.lo, spec.hi).astype(container(spec.lo, spec.hi))
        new = build.dequantize(constants.add(f"{name}_int", codes), spec.out_scale, codes.ndim)
    elif _full_or_narrow(spec):
        new = build.quantize_dequantize(x, spec)
    else:
        new = build.float_arithmetic(x, spec)
    new.shape, new.type, new.name = old.shape, old.type, name
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph_of(node).remove(node, safe=True)


def _full_or_narrow(spec: Spec) -> bool:
    dtype = container(spec.lo, spec.hi)
    return np.dtype(dtype).itemsize == 1 or CONTAINERS[dtype] == (spec.lo, spec.hi)


class Builder:
    """Puts the replacement nodes before the node they replace."""

    def __init__(self, before: ir.Node, constants: Constants, name: str) -> None:
        self.before = before
        self.constants = constants
        self.name = name

    def op(self, kind: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
        """One node, named after the quantizer and the operator."""
        node = ir.node(kind, list(inputs), attributes or None, name=f"{self.name}/{kind}")
        node.outputs[0].name = f"{self.name}/{kind}"
        graph_of(self.before).insert_before(self.before, node)
        return node.outputs[0]

    def quantize_dequantize(self, x: ir.Value, spec: Spec) -> ir.Value:
        """QuantizeLinear, Clip where the codes are narrower than their container, DequantizeLinear."""
        rank = None if x.shape is None else len(x.shape)
        dtype, scale = container(spec.lo, spec.hi), spec.scale.reshape(() if spec.scale.size == 1 else -1)
        axis = _axis(spec.scale, rank)
        if scale.ndim and axis is None:
            x = self.op("Div", x, self.constants.add(f"{self.name}_step", spec.scale))
            scale = np.ones((), np.float32)
        along = {} if scale.ndim == 0 else {"axis": axis or 0}
        suffix = f"_{scale.size}" if scale.ndim else ""
        zero = self.constants.add(f"zero_{np.dtype(dtype).name}{suffix}", np.zeros(scale.shape, dtype))
        q = self.op("QuantizeLinear", x, self.constants.scale(f"{self.name}_scale", scale), zero, **along)
        if CONTAINERS[dtype] != (spec.lo, spec.hi):
            bounds = [
                self.constants.add(f"{np.dtype(dtype).name}_{b}", np.asarray(b, dtype)) for b in (spec.lo, spec.hi)
            ]
            q = self.op("Clip", q, *bounds)
        return self.dequantize(q, spec.out_scale, rank)

    def dequantize(self, codes: ir.Value, out_scale: Array, rank: int | None) -> ir.Value:
        """DequantizeLinear; per axis where out_scale allows it, else by 1 and a Mul."""
        name, axis = f"{self.name}_scale", _axis(out_scale, rank)
        if out_scale.size == 1:
            return self.op("DequantizeLinear", codes, self.constants.scale(name, out_scale.reshape(())))
        if axis is not None:
            return self.op("DequantizeLinear", codes, self.constants.add(name, out_scale.reshape(-1)), axis=axis)
        plain = self.op("DequantizeLinear", codes, self.constants.add("one", np.ones((), np.float32)))
        return self.op("Mul", plain, self.constants.add(name, out_scale))

    def float_arithmetic(self, x: ir.Value, spec: Spec) -> ir.Value:
        """Div, Round (half to even), Clip, Mul in float32."""
        q = self.op("Round", self.op("Div", x, self.constants.scale(f"{self.name}_scale", spec.scale)))
        bounds = [self.constants.add(f"float_{b}", np.asarray(b, np.float32)) for b in (spec.lo, spec.hi)]
        return self.op("Mul", self.op("Clip", q, *bounds), self.constants.scale(f"{self.name}_scale", spec.out_scale))

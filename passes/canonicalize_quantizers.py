"""One spelling for every quantizer: ``ssmc::Quant`` on signals, ``ssmc::Dequant`` on constant integer weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike, NDArray

from ssmc.errors import ModelError
from ssmc.importers.qonnx import QONNX, QUANTIZERS, detach_bodies
from ssmc.ir.build import (
    add_constant,
    constant_array,
    graph_of,
    graphs,
    is_op,
    node_name,
    remove_dead,
    replace_node,
    required,
    ssmc_node,
)
from ssmc.ir.rounding import round_half_even
from ssmc.pipeline import Level, Pass, PassResult

Array = NDArray[Any]
CONTAINER = {
    ir.DataType.INT8: (-128, 127),
    ir.DataType.UINT8: (0, 255),
    ir.DataType.INT16: (-32768, 32767),
    ir.DataType.UINT16: (0, 65535),
    ir.DataType.INT4: (-8, 7),
    ir.DataType.UINT4: (0, 15),
}
MOST_BITS = 24
SCALES = (2.0**-62, 2.0**62)


@dataclass(frozen=True)
class CanonicalizeQuantizers(Pass):
    """Rewrite QDQ, QCDQ, QONNX ``Quant`` and ``Round``-``Clip`` arithmetic to ``ssmc::Quant``.

    Before: ``QuantizeLinear -> [Clip] -> DequantizeLinear``; ``DequantizeLinear(constant)``; ``Quant`` of QONNX;
        ``Round -> Clip`` (or Max, Min) on real numbers.
    After: ``ssmc::Quant(x, scale, out_scale, lo, hi)`` with codes counted from the zero point, and
        ``ssmc::Dequant(codes, scale)`` on constants; a quantizer of a constant becomes its codes.
    Preserves: every real value, bit for bit in float32.
    Refuses: blocked scales, scales that are not constant, not finite or not positive (SSMC-Q02), zero points or
        widths without an exact meaning here (SSMC-Q03), ``Round`` without a range (SSMC-Q04).
    """

    name = "canonicalize-quantizers"
    requires = Level.IMPORTED
    level = Level.CANONICAL

    def run(self, model: ir.Model) -> PassResult:
        """Rewrite every graph, bodies included."""
        applied: list[str] = []
        main = model.graph
        for graph in list(graphs(main)):
            for node in list(graph):
                rewritten = _rewrite(node, main)
                if rewritten is not None:
                    applied.append(node_name(node))
        for graph in list(graphs(main)):
            for node in list(graph):
                if is_op(node, "Quant", domain="ssmc") and fold_constant_quantizer(node, main):
                    applied.append(node_name(node))
        for graph in reversed(list(graphs(main))):
            remove_dead(graph)
        remove_dead(main)
        for graph in graphs(main):
            _refuse_leftovers(graph)
        detach_bodies(model)
        return PassResult(model, tuple(applied))


def _rewrite(node: ir.Node, main: ir.Graph) -> ir.Node | None:
    if is_op(node, "DequantizeLinear"):
        return _dequantize(node, main)
    if node.domain in QONNX and node.op_type in QUANTIZERS:
        return _qonnx(node, main)
    if is_op(node, "Round"):
        return _round(node, main)
    return None


def _dequantize(node: ir.Node, main: ir.Graph) -> ir.Node | None:
    source = required(node, 0)
    codes = _constant_codes(source)
    if codes is not None:
        return _dequant_constant(node, codes, main)
    producer, clip = source.producer(), None
    if producer is not None and is_op(producer, "Clip"):
        clip = _bounds(producer)
        if clip is None:
            raise ModelError(
                "SSMC-Q02", "the range of the codes is not a constant", "clip to constants", node_name(producer)
            )
        clipped = producer.inputs[0]
        producer = clipped.producer() if clipped is not None else None
    if producer is None or not is_op(producer, "QuantizeLinear"):
        return None
    x = required(producer, 0)
    scale, zero = _scale_and_zero(producer, x)
    out_scale, out_zero = _scale_and_zero(node, x)
    if zero != out_zero:
        raise ModelError("SSMC-Q03", "zero points of Q and DQ differ", "export matching zero points", node_name(node))
    lo, hi = _container(producer)
    if clip is not None:
        lo, hi = max(lo, clip[0]), min(hi, clip[1])
    return _insert(node, x, scale, out_scale, lo - zero, hi - zero, main)


def _constant_codes(source: ir.Value) -> Array | None:
    """Constant integer codes, within the bounds of a Clip where one follows; None where they are not constant."""
    codes, clip = constant_array(source), source.producer()
    if codes is not None or clip is None or not is_op(clip, "Clip"):
        return codes
    codes, ends = constant_array(clip.inputs[0]), _bounds(clip)
    return None if codes is None or ends is None else np.clip(codes.astype(np.int64), *ends).astype(np.int64)


def _insert(
    node: ir.Node, x: ir.Value, scale: Array, out_scale: Array, lo: float, hi: float, main: ir.Graph
) -> ir.Node:
    """Put ``ssmc::Quant`` in the place of ``node``."""
    _require_codes(lo, hi, node)
    name = str(node.outputs[0].name)
    constants: dict[str, ArrayLike] = {"scale": scale, "out_scale": out_scale, "lo": lo, "hi": hi}
    inputs = {key: add_constant(main, f"{name}.{key}", array, np.float32) for key, array in constants.items()}
    new = ssmc_node("Quant", {"x": x, **inputs}, f"{name}.quant", name=node_name(node), dtype=ir.DataType.FLOAT)
    return _replace(node, new)


def _require_codes(lo: float, hi: float, node: ir.Node) -> None:
    """Refuse a range whose ends are no codes, or that holds too many of them, or none."""
    if lo % 1 or hi % 1:
        fact = f"the range {lo:g}..{hi:g} ends between two codes, so that its ends are no codes"
        raise ModelError("SSMC-Q03", fact, "clip to whole numbers", node_name(node))
    if not lo <= hi:
        raise ModelError("SSMC-Q03", f"the range {lo:g}..{hi:g} holds no code", "exchange its ends", node_name(node))
    if hi - lo >= 1 << MOST_BITS or max(abs(lo), abs(hi)) > 1 << MOST_BITS:
        fact = f"codes {lo:g}..{hi:g} are wider than {MOST_BITS} bits"
        raise ModelError("SSMC-Q03", fact, "use fewer bits", node_name(node))


def _require_scale(scale: Array, node: ir.Node) -> None:
    """Refuse scales that are no positive numbers, or so large or small that products of two leave float32."""
    if not (np.isfinite(scale).all() and scale.min(initial=np.inf) > 0):
        fact = "a scale is not finite and positive"
    elif scale.min(initial=1) < SCALES[0] or scale.max(initial=1) > SCALES[1]:
        worst = scale.flat[np.argmax(np.abs(np.log2(scale.astype(np.float64))))]
        fact = f"a scale is {worst:g}, outside of {SCALES[0]:g} to {SCALES[1]:g}"
    else:
        return
    raise ModelError("SSMC-Q02", fact, "calibrate the quantizers again", node_name(node))


def _replace(node: ir.Node, new: ir.Node) -> ir.Node:
    replace_node(graph_of(node), node, new)
    return new


def _dequant_constant(node: ir.Node, codes: Array, main: ir.Graph) -> ir.Node:
    scale, zero = _scale_and_zero(node, node.inputs[0])
    centred = codes.astype(np.int64) - zero
    return _weights(node, centred, scale, main)


def _weights(node: ir.Node, codes: Array, scale: Array, main: ir.Graph) -> ir.Node:
    name = str(node.outputs[0].name)
    inputs = {
        "codes": add_constant(main, f"{name}.codes", codes, np.int32),
        "scale": add_constant(main, f"{name}.scale", scale, np.float32),
    }
    return _replace(
        node, ssmc_node("Dequant", inputs, f"{name}.dequant", name=node_name(node), dtype=ir.DataType.FLOAT)
    )


def fold_constant_quantizer(node: ir.Node, main: ir.Graph) -> bool:
    """A quantizer of a constant: its codes, computed in float32 as onnxruntime does."""
    x, *rest = (constant_array(value) for value in node.inputs)
    if x is None or any(value is None for value in rest):
        return False
    scale, out_scale, lo, hi = (np.asarray(value, np.float32) for value in rest)
    codes = np.clip(round_half_even(np.asarray(x, np.float32) / scale), lo, hi)
    _weights(node, codes.astype(np.int64), np.broadcast_to(out_scale, _scale_shape(out_scale, codes)), main)
    return True


def _scale_shape(scale: Array, codes: Array) -> tuple[int, ...]:
    return (1,) * (codes.ndim - scale.ndim) + scale.shape if scale.ndim else ()


def _scale_and_zero(node: ir.Node, x: ir.Value | None) -> tuple[Array, int]:
    """Scale shaped to broadcast against x, and the zero point as one integer."""
    scale = constant_array(node.inputs[1])
    if scale is None:
        raise ModelError(
            "SSMC-Q02", "the scale is not a constant", "freeze the quantizers before export", node_name(node)
        )
    scale = np.asarray(scale, np.float32)
    _require_scale(scale, node)
    if "block_size" in node.attributes and node.attributes["block_size"].as_int():
        raise ModelError(
            "SSMC-Q03", "blocked quantization has no mapping", "quantize per tensor or per axis", node_name(node)
        )
    zero = constant_array(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else np.zeros(1)
    if zero is None or len(set(zero.ravel().tolist())) != 1:
        raise ModelError("SSMC-Q03", "zero points differ by channel", "use one zero point a tensor", node_name(node))
    if scale.size == 1:
        return scale.reshape(()), int(np.ravel(zero)[0])
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
    if axis >= 0:
        if x is None or x.shape is None:
            raise ModelError("SSMC-Q03", "per-axis scale on a value of unknown rank", "export shapes", node_name(node))
        axis -= len(x.shape)
    return scale.reshape((-1,) + (1,) * (-1 - axis)), int(np.ravel(zero)[0])


def _container(node: ir.Node) -> tuple[float, float]:
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    kind = zero.dtype if zero is not None and zero.dtype is not None else ir.DataType.UINT8
    if zero is None and "output_dtype" in node.attributes:
        kind = ir.DataType(node.attributes["output_dtype"].as_int())
    if kind not in CONTAINER:
        raise ModelError(
            "SSMC-Q03", f"codes of type {kind} have no mapping", "use 4, 8 or 16 bit integers", node_name(node)
        )
    return CONTAINER[kind]


def _bounds(node: ir.Node) -> tuple[float, float] | None:
    """Constant bounds of a Clip; a missing one is infinite."""
    ends = [-np.inf, np.inf]
    for index in (1, 2):
        if index < len(node.inputs) and node.inputs[index] is not None:
            array = constant_array(node.inputs[index])
            if array is None or array.size != 1:
                return None
            ends[index - 1] = float(np.ravel(array)[0])
    return ends[0], ends[1]


def _qonnx(node: ir.Node, main: ir.Graph) -> ir.Node:
    arrays = [constant_array(required(node, index)) for index in (1, 2, 3)]
    if any(array is None for array in arrays):
        raise ModelError(
            "SSMC-Q02", "scale, zero point or width is not a constant", "freeze the quantizers", node_name(node)
        )
    scale, zero, width = (np.asarray(array, np.float32) for array in arrays)
    if width.size != 1 or not np.isfinite(width).all() or not scale.size or not zero.size:
        fact = f"its width has shape {width.shape}, its scale {scale.shape}, its zero point {zero.shape}"
        raise ModelError("SSMC-Q03", fact, "give one finite width, a scale and a zero point", node_name(node))
    mode = node.attributes["rounding_mode"].as_string().upper() if "rounding_mode" in node.attributes else "ROUND"
    if mode not in ("ROUND", "HALF_EVEN") or np.any(zero != 0) or float(width.ravel()[0]) % 1:
        fact = (
            f"rounding mode {mode}, zero point {zero.ravel()[0]:g} or width {width.ravel()[0]:g} has no exact mapping"
        )
        raise ModelError("SSMC-Q03", fact, "use ROUND, zero point 0 and a whole number of bits", node_name(node))
    _require_scale(scale, node)
    signed, narrow = _flag(node, "signed", True), _flag(node, "narrow", False)
    bits = int(width.ravel()[0])
    if not 1 <= bits <= MOST_BITS:
        fact = f"codes of {bits:.6g} bits have no mapping"
        raise ModelError("SSMC-Q03", fact, f"use 1 to {MOST_BITS} bits", node_name(node))
    if signed and bits == 1:
        raise ModelError(
            "SSMC-Q03", "one signed bit (bipolar) has no 0", "use ternary weights (2 bits, narrow)", node_name(node)
        )
    lo = -(1 << (bits - 1)) + narrow if signed else 0
    hi = (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1 - narrow
    x = required(node, 0)
    return _insert(node, x, scale, scale, lo, hi, main)


def _flag(node: ir.Node, name: str, default: bool) -> bool:
    value = node.attributes[name].as_int() if name in node.attributes else int(default)
    if value not in (0, 1):
        raise ModelError("SSMC-Q03", f"its attribute {name} is {value}", "write 0 or 1", node_name(node))
    return bool(value)


def _round(node: ir.Node, main: ir.Graph) -> ir.Node | None:
    """``[Div] -> Round -> Clip`` or ``Round -> Max -> Min``: a quantizer that gives codes."""
    lo, hi, last = -np.inf, np.inf, node
    while len(users := [use.node for use in last.outputs[0].uses()]) == 1:
        ends = _clip_like(users[0], last.outputs[0])
        if ends is None:
            break
        lo, hi, last = max(lo, ends[0]), min(hi, ends[1]), users[0]
    if last is node or not np.isfinite([lo, hi]).all():
        return None
    x, scale = _divided(node)
    return _insert(last, x, scale, np.ones((), np.float32), lo, hi, main)


def _divided(node: ir.Node) -> tuple[ir.Value, Array]:
    """What is rounded, and its constant divisor: taken as the scale, so that no reciprocal is ever rounded."""
    x = required(node, 0)
    quotient = x.producer()
    if quotient is not None and is_op(quotient, "Div") and quotient.inputs[0] is not None:
        divisor = constant_array(quotient.inputs[1])
        scale = np.asarray(0 if divisor is None else divisor, np.float32)
        if divisor is not None and not (scale < 0).any():
            _require_scale(scale, quotient)
            return quotient.inputs[0], scale
    return x, np.ones((), np.float32)


def _clip_like(node: ir.Node, value: ir.Value) -> tuple[float, float] | None:
    if is_op(node, "Clip"):
        return _bounds(node)
    if is_op(node, "Max", "Min") and len(node.inputs) == 2:
        other = constant_array(node.inputs[1] if node.inputs[0] is value else node.inputs[0])
        if other is not None and other.size == 1:
            bound = float(np.ravel(other)[0])
            return (bound, np.inf) if node.op_type == "Max" else (-np.inf, bound)
    return None


def _refuse_leftovers(graph: ir.Graph) -> None:
    for node in graph:
        if is_op(node, "Round"):
            raise ModelError("SSMC-Q04", "Round without a range", "clip the codes after rounding", node_name(node))
        if is_op(node, "QuantizeLinear", "DequantizeLinear") or node.domain in QONNX:
            raise ModelError(
                "SSMC-Q03",
                f"{node.op_type} is not part of a Quantize-[Clip]-Dequantize pair",
                "keep the pair together in the exported graph",
                node_name(node),
            )

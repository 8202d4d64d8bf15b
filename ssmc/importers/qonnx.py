"""Bodies for QONNX quantizers in standard ONNX, so that onnxruntime runs an imported model as it stands.

``y = (clip(round(x / scale + zero), lo, hi) - zero) * scale`` with, for b bits, ``lo = -2**(b-1) + narrow`` and
``hi = 2**(b-1) - 1`` where signed, else ``lo = 0`` and ``hi = 2**b - 1 - narrow`` (QONNX operator documentation).
"""

from __future__ import annotations

import onnx.parser
import onnx_ir as ir

QONNX = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")
QUANTIZERS = ("Quant", "IntQuant")

_TEXT = """<domain: "{domain}", opset_import: ["" : 21]>
{op_type} <signed: int = 1, narrow: int = 0, rounding_mode: string = "ROUND"> (x, scale, zero, bits) => (y) {{
  s_int = Constant <value_int: int = @signed> ()
  n_int = Constant <value_int: int = @narrow> ()
  s = Cast <to: int = 1> (s_int)
  n = Cast <to: int = 1> (n_int)
  one = Constant <value_float: float = 1.0> ()
  two = Constant <value_float: float = 2.0> ()
  u = Sub (one, s)
  magnitude_bits = Sub (bits, s)
  top = Pow (two, magnitude_bits)
  narrow_top = Mul (n, u)
  last = Sub (top, one)
  hi = Sub (last, narrow_top)
  bottom = Sub (n, top)
  lo = Mul (s, bottom)
  over = Div (x, scale)
  moved = Add (over, zero)
  rounded = Round (moved)
  low = Max (rounded, lo)
  codes = Min (low, hi)
  centred = Sub (codes, zero)
  y = Mul (centred, scale)
}}"""


def attach_bodies(model: ir.Model) -> None:
    """Give the model bodies of the QONNX quantizers that it uses."""
    nodes = ir.traversal.RecursiveGraphIterator(model.graph)
    used = {(n.domain, n.op_type) for n in nodes if n.domain in QONNX and n.op_type in QUANTIZERS}
    for domain, op_type in sorted(used):
        text = _TEXT.format(domain=domain, op_type=op_type)
        function = ir.serde.deserialize_function(onnx.parser.parse_function(text))
        model.functions[function.identifier()] = function
        model.graph.opset_imports.setdefault(domain, 1)


def detach_bodies(model: ir.Model) -> None:
    """Drop those bodies."""
    for key in [key for key in model.functions if key[0] in QONNX]:
        del model.functions[key]

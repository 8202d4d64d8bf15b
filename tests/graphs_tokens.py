"""Models of token ids: an embedding, a recurrence, a decoder; as ONNX written by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.graph_writer import signed
from tests.graphs import Spec, _Builder

VOCABULARY = 19


def token_model(
    spec: Spec, *, quantized_table: bool = True, axes: int = 2, dtype: int = TensorProto.INT64
) -> onnx.ModelProto:
    """The model of a spec with an embedding in the place of its encoder.

    Args:
        spec: everything behind the embedding.
        quantized_table: the rows are codes behind a DequantizeLinear, else float32 in front of a quantizer.
        axes: 2 for ids (batch, time), 3 for (batch, time, 1).
        dtype: of the ids.
    """
    return _Tokens(spec, quantized_table, axes, dtype).build()


class _Tokens(_Builder):
    def __init__(self, spec: Spec, quantized_table: bool, axes: int, dtype: int) -> None:
        super().__init__(replace(spec, per_channel=False))
        self.quantized_table, self.axes, self.dtype = quantized_table, axes, dtype

    def build(self) -> onnx.ModelProto:
        s, g, bits = self.spec, self.g, self.spec.code_bits
        grid = signed(bits, self.activation(s.channels))
        self.u_scale = grid.scale
        codes = self.rng.integers(grid.lo, grid.hi + 1, (VOCABULARY, s.channels))
        if self.quantized_table:
            h = g.op("Gather", g.weight(codes, grid.scale, "table"), self.ids(), out="u")
        else:
            real = codes * grid.scale + self.rng.uniform(-0.4, 0.4, codes.shape) * grid.scale
            h = g.quant(g.op("Gather", g.const(real), self.ids(), out="rows"), grid, "u")
        for layer in range(s.layers):
            h = self.block(h, f"l{layer}.")
        h = self.pool(h)
        out = self.quant(self.linear(h, s.channels, s.classes, "dec"), signed(8, self.scale()), "out")
        model = g.finish(1, out, ["batch", "time", s.classes] if s.pool == "none" else ["batch", s.classes])
        shape = ["batch", "time", 1][: self.axes]
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", self.dtype, shape))
        return model

    def ids(self) -> str:
        if self.axes == 2:
            return "x"
        return self.g.op("Squeeze", "x", self.g.const([2], np.int64), out="ids")


def tokens(batch: int = 3, steps: int = 9, seed: int = 0) -> np.ndarray:
    """Random ids (batch, steps), the first and the last of the vocabulary among them."""
    ids = np.random.default_rng(seed).integers(0, VOCABULARY, (batch, steps))
    ids[0, :2] = 0, VOCABULARY - 1
    return ids

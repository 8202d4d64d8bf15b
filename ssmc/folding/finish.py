"""The end of the code graph: where real numbers leave, and what the model does to them afterwards."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssmc.errors import ModelError
from ssmc.folding.emit import Emitter, Grid, compact
from ssmc.folding.signals import Coded, Dense, Headed, Signal
from ssmc.ir.build import ssmc_node
from ssmc.ir.functions import OPSET
from ssmc.ir.operations.dequantize import WITH_HEAD, Head

OUTPUT_ROLES = (("N", "T", "C"), ("N", "C"), ("N", "T"), ("N",))
ACCUMULATOR = (-(1 << 31), (1 << 31) - 1)


def finish(emitter: Emitter, signal: Signal, output: ir.Value) -> ir.Graph:
    """Dequantize the output and build the graph.

    Raises:
        ModelError: SSMC-M06 axes in another order, SSMC-Q06 an output that is not quantized.
    """
    name = str(output.name)
    kept = tuple(role for role in signal.roles if role != "1")
    if kept not in OUTPUT_ROLES:
        fact = f"the output has axes ({', '.join(signal.roles)})"
        raise ModelError("SSMC-M06", fact, "give (batch, time, classes) or (batch, classes)", name)
    head, signal = _head_of(signal)
    coded = _coded(emitter, signal, name)
    scale = emitter.constant(f"{name}.scale", compact(coded.scale))
    dtype = output.dtype or ir.DataType.FLOAT
    node = ssmc_node(WITH_HEAD[head], {"codes": coded.value, "scale": scale}, name, dtype=dtype)
    node.outputs[0].shape = output.shape
    return ir.Graph(
        [emitter.x], [node.outputs[0]], nodes=[*emitter.nodes, node], initializers=list(emitter.constants.values()),
        opset_imports={"": OPSET, "ssmc": 1}, name="ssmc",
    )  # fmt: skip


def _head_of(signal: Signal) -> tuple[Head, Signal]:
    """What follows the last quantizer, and what it reads."""
    if not isinstance(signal, Headed):
        return "none", signal
    keeps_axis = signal.head == "argmax" and len(signal.roles) == len(signal.source.roles)
    return "argmax_kept" if keeps_axis else signal.head, signal.source


def _coded(emitter: Emitter, signal: Signal, name: str) -> Coded:
    """The output as codes; a matrix without a quantizer keeps its accumulator grid."""
    if isinstance(signal, Dense):
        emitter.exact = False
        constant = np.where(signal.offset == 0.0, 1.0, np.abs(signal.offset))  # a channel that is only its offset
        gain = np.where(signal.gain == 0.0, constant, np.abs(signal.gain))
        return emitter.close(signal, Grid(gain, gain, *ACCUMULATOR), f"{name}.accumulator")
    if not isinstance(signal, Coded):
        raise ModelError("SSMC-Q06", "the output is not quantized", "quantize the model's output", name)
    if signal.offset.any():
        raise ModelError("SSMC-Q06", "a constant is added after the last quantizer", "quantize after it", name)
    return signal

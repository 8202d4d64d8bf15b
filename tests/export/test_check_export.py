"""Whether a file computes what torch computes, where float32 error decides codes."""

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from ssmc.errors import ModelError
from ssmc.export.check_export import check_export
from ssmc.export.torch_export import to_ir
from ssmc.ir.build import add_constant, is_op
from ssmc.qat import ModelConfig, QuantConfig, S4DClassifier, calibrate

BITS = QuantConfig(
    weight_levels="2^b + 1", weight_bits=1, coder_bits=3, kernel_bits=4, state_dac_bits=6, adc_bits=6,
    activation_bits=5, gate_bits=5, form="mixed", power_of_two=False,
)  # fmt: skip
#: its mean of 12 steps lies halfway between two codes, where onnxruntime and torch round to different ones
HALFWAY = ModelConfig(d_input=8, d_output=4, d_model=32, d_state=4, layers=2, rates=(2, 2), quant=BITS)


def quantized(x: torch.Tensor, step: float = 0.1) -> torch.Tensor:
    scale = torch.tensor(step)
    found: torch.Tensor = torch.ops.ssmc.fake_quant(x, scale, scale, -8, 7)
    return found


class MeanOfCodes(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return quantized(quantized(x).mean(1))


def test_codes_that_float_error_decides_are_no_fault_of_the_file() -> None:
    torch.manual_seed(0)
    model, x = S4DClassifier(HALFWAY), torch.randn(8, 96, 8)
    calibrate(model, [x])
    to_ir(model, (x[:2],))


def scaled(exported: ir.Model, by: float) -> ir.Model:
    """The file with its last quantizer's input multiplied."""
    last = [node for node in exported.graph if is_op(node, "QuantizeLinear")][-1]
    moved = ir.node("Mul", [last.inputs[0], add_constant(exported.graph, "by", by, np.float32)])
    exported.graph.insert_before(last, moved)
    last.replace_input_with(0, moved.outputs[0])
    return exported


@pytest.mark.parametrize(("by", "legal"), [(1 + 2**-22, True), (1 - 2**-22, True), (1.2, False), (0.5, False)])
def test_a_file_may_be_off_by_what_ties_do_and_by_no_more(by: float, legal: bool) -> None:
    """Means of two codes: half of them are ties, which a last bit decides."""
    x = torch.randn(64, 4, 8)
    exported = scaled(to_ir(MeanOfCodes(), (x,))[0], by)
    if legal:
        check_export(exported, MeanOfCodes(), (x,))
    else:
        with pytest.raises(ModelError, match=r"SSMC-X06.*is off by"):
            check_export(exported, MeanOfCodes(), (x,))


def test_the_check_is_as_loud_as_the_example() -> None:
    """Of noise of deviation 1 an input quantizer with a step of 2000 makes zeros, which any file gets right."""

    class Coarse(nn.Module):
        def __init__(self, gain: float) -> None:
            super().__init__()
            self.gain = gain

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.gain * quantized(x, 2000.0)

    x = 5000 * torch.randn(2, 20, 3)
    exported, _ = to_ir(Coarse(1.0), (x,))
    with pytest.raises(ModelError, match="SSMC-X06"):
        check_export(exported, Coarse(1.2), (x,))

"""What is quantized, and with how many bits: one readable value."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal

Form = Literal["delta", "direct"]


class Mode(enum.Enum):
    """How the layers compute.

    FLOAT: convolution by FFT, no quantizers. RECURRENT: the same numbers step by step.
    CALIBRATE: float, while every quantizer observes its range. QUANTIZED: integer codes, straight-through gradients.
    """

    FLOAT = "float"
    RECURRENT = "recurrent"
    CALIBRATE = "calibrate"
    QUANTIZED = "quantized"


@dataclass(frozen=True)
class QuantConfig:
    """Bits and form of a quantized SSM (DESIGN §2, §4).

    ``kernel_bits``: cells of the fused matrix W. ``state_dac_bits``: what drives the state rows. ``adc_bits``: what a
    column delivers (state increments and y). The register holds ``state_dac_bits + p + register_headroom`` bits, p the
    largest read-out shift of the layer; it costs storage and an adder, no conversion.

    ``weight_noise`` is the standard deviation of Gaussian noise added to every weight code while training, relative
    to the largest code of the grid.
    """

    kernel_bits: int = 8
    state_dac_bits: int = 8
    adc_bits: int = 8
    weight_bits: int = 8
    input_bits: int = 8
    activation_bits: int = 8
    gate_bits: int = 8
    output_bits: int = 8
    register_headroom: int = 0
    form: Form = "delta"
    power_of_two: bool = True
    weight_noise: float = 0.0

    def __post_init__(self) -> None:
        for name in ("kernel_bits", "weight_bits", "state_dac_bits", "adc_bits"):
            if not 2 <= getattr(self, name) <= 12:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed are 2..12")
        for name in ("input_bits", "activation_bits", "gate_bits", "output_bits"):
            if not 2 <= getattr(self, name) <= 16:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed are 2..16")
        if self.form not in ("delta", "direct"):
            raise ValueError(f"form is {self.form!r}; allowed are 'delta' and 'direct'")
        if self.form == "direct" and self.state_dac_bits != self.adc_bits:
            raise ValueError("form 'direct' feeds ADC codes back to the DAC: state_dac_bits must equal adc_bits")


def signed_range(bits: int) -> tuple[int, int]:
    """Two's complement range: 8 bits are -128..127."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def weight_limit(bits: int) -> int:
    """Largest code of a symmetric weight grid: 8 bits are -127..127."""
    return (1 << (bits - 1)) - 1

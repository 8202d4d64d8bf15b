"""What post-training quantization does to a model: one readable value."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from ssmc.errors import UsageError
from ssmc.hardware.file import load_hardware
from ssmc.hardware.model import Hardware
from ssmc.hardware.widths import widths

Form = Literal["delta", "direct", "auto"]
Granularity = Literal["mode", "channel", "tensor"]
MOST_KERNEL_BITS = 12
LIMITS = {"weight_bits": (1, 16), "activation_bits": (2, 12), "input_bits": (2, 16), "output_bits": (2, 16)}


@dataclass(frozen=True)
class QuantizeConfig:
    """Bits, forms and scales (semantics.md §1, §3).

    Attributes:
        kernel_bits: cells of the fused matrix [[A, B], [C, D]].
        state_bits: read-out of the states that drives the rows (``state_dac``).
        adc_bits: what the columns deliver, increments or states, and y.
        weight_bits: every other matrix; 2 is ternary, 1 is binary (-1 and 1).
        activation_bits: every value between operations.
        converter_bits: values that a matrix delivers; None: ``activation_bits``.
        input_bits, output_bits: the model's input and output. None: `bits_of_output`.
        form: of every mode, or ``auto``: whichever predicts less noise.
        granularity: what shares a scale within a kernel.
        power_of_two: scales are powers of two, so that float32 arithmetic is exact.
        refit: C and D are fitted to the quantized states, and layers to what those in front of them give
            (`ssmc.quantize.layers`), by least squares on the calibration data.
        widths: of single tensors, which override the others: name, field, bits. The name is that of a kernel's or a
            matrix's node, or of a value between operations.
    """

    kernel_bits: int = 8
    state_bits: int = 8
    adc_bits: int = 8
    weight_bits: int = 8
    activation_bits: int = 8
    input_bits: int = 8
    output_bits: int | None = None
    form: Form = "auto"
    granularity: Granularity = "mode"
    power_of_two: bool = True
    refit: bool = True
    converter_bits: int | None = None
    widths: tuple[tuple[str, str, int], ...] = ()

    @classmethod
    def for_hardware(cls, hardware: Hardware | str | Path, *, slices: int = 1, **others: Any) -> QuantizeConfig:
        """The widths that a crossbar gives (`ssmc.hardware.widths`); ``others`` are fields, and override.

        Raises:
            UsageError: SSMC-H01 and the other codes of hardware files; SSMC-U32 where ``slices`` is below 1.
        """
        hw = hardware if isinstance(hardware, Hardware) else load_hardware(hardware)
        wide = widths(hw, slices)
        found = {
            **dict.fromkeys(("kernel_bits", "weight_bits"), wide.weight),
            **dict.fromkeys(("state_bits", "activation_bits", "input_bits"), wide.drive),
            **dict.fromkeys(("adc_bits", "converter_bits"), wide.converter),
        }
        return cls(**{**found, **others})

    def at(self, name: str) -> QuantizeConfig:
        """The configuration of one tensor."""
        own: dict[str, Any] = {field: bits for tensor, field, bits in self.widths if tensor == name}
        return replace(self, widths=(), **own)

    def of_field(self, field: str, per_step: bool) -> int:
        """Bits of a value between operations."""
        return self.bits_of_output(per_step) if field == "output_bits" else int(getattr(self, field))

    def bits_of_output(self, per_step: bool) -> int:
        """Of an output per step 12, a signal that nothing rounds afterwards; else 8; not less than activations have."""
        return self.output_bits or max(12 if per_step else 8, self.activation_bits)

    def __post_init__(self) -> None:
        for field in fields(self):
            low, high = limits(field.name)
            value = getattr(self, field.name)
            if field.name.endswith("_bits") and value is not None and not low <= value <= high:
                option = f"--{field.name.replace('_', '-')}"
                raise UsageError("SSMC-U30", f"{option} is {value}", f"give {low} to {high}")


def limits(field: str) -> tuple[int, int]:
    """Fewest and most bits of a width of `QuantizeConfig`."""
    return LIMITS.get(field, (2, MOST_KERNEL_BITS))


def signed_range(bits: int) -> tuple[int, int]:
    """Two's complement range: 8 bits are -128..127."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def weight_limit(bits: int) -> int:
    """Largest code of a symmetric weight grid: 8 bits are -127..127, 2 bits are ternary; 1 bit is -1 and 1."""
    return max((1 << (bits - 1)) - 1, 1)

"""What is quantized, and with how many bits: one readable value."""

from __future__ import annotations

import enum
import tomllib
from dataclasses import dataclass, fields
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

from ssmc.hardware.file import load_hardware
from ssmc.hardware.model import Hardware
from ssmc.hardware.widths import widths

Form = Literal["delta", "direct", "mixed"]
Granularity = Literal["mode", "channel", "tensor"]
Clipping = Literal["mse", "max"]
WeightLevels = Literal["2^b - 1", "2^b + 1"]
CHOICES = {
    "form": ("delta", "direct", "mixed"),
    "granularity": ("mode", "channel", "tensor"),
    "clipping": ("mse", "max"),
    "weight_levels": ("2^b - 1", "2^b + 1"),
}


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
class Grid:
    """Codes of weights: ``-limit..limit``; without ``zero`` only -1 and 1."""

    limit: int
    zero: bool = True

    @property
    def bits(self) -> int:
        """Width in two's complement; 1 without zero."""
        return (2 * self.limit).bit_length() if self.zero else 1


@dataclass(frozen=True)
class QuantConfig:
    """What is quantized in an SSM, and with how many bits (semantics.md §1, §3).

    ``kernel_bits``: cells of the state columns of the fused matrix W, A and B. ``readout_bits``: those of its output
    column, C and D; None is ``kernel_bits``. ``state_dac_bits``: what drives the state rows. ``adc_bits``: what a
    column delivers (state increments and y). The register holds ``state_dac_bits + p + register_headroom`` bits, p the
    largest read-out shift of the layer; it costs storage and an adder, no conversion. ``weight_bits``: mixing matrices.
    ``gating_bits``: that half of a mixing matrix whose outputs go through the sigmoid; None is ``weight_bits``.
    ``coder_bits``: encoder and decoder; None is ``weight_bits``.

    ``weight_levels``: what b bits of a weight are. "2^b - 1": the codes of b bits but the lowest, so that 2 bits are
    ternary; 1 bit is -1 and 1. "2^b + 1": -2^(b-1)..2^(b-1), as QS4D has it (arXiv 2507.06079): ternary is 1 bit.

    ``form``: how states are kept; "mixed" decides for every mode, delta where |lambda - 1| < 1 / sqrt 2 (``S4D``).
    ``granularity``: what shares the steps of state, increment and column: a mode, a channel or the whole tensor.
    ``clipping``: ranges by least squared error, or by the largest value. ``stable``: the decay goes to the grid point
    inside the unit circle that changes its mode least (`ssmc.analysis.stable`), not simply to the nearest.
    ``refitted``: at calibration C and D are fitted again, to the quantized states. ``learned``: activation, state and
    output steps are trained (LSQ, arXiv 1902.08153), else calibrated and kept.

    Noise is Gaussian, and there while training only. On every weight code w, drawn once a call: of a standard deviation
    relative to w_max, the largest code of the grid, that is ``weight_noise``; or, where ``weight_noise_poly`` = [c_0,
    c_1, ...] is given, sum_i c_i |w / w_max|^i, the programming spread of one cell as published (PCM, Nandakumar 2019:
    [0.0105, 0.0786, -0.0469]). On every conversion, increments and y: ``adc_noise``, in ADC steps, before it rounds.

    ``hardware``: the crossbar that the model is for (`for_hardware`). Where its converters are not the quantizers that
    follow (fewer bits, a step for several columns), the model computes what they do (`ssmc.qat.converters`).
    ``device_noise``: cells, products and converters are those of a chip of it, drawn once a call while training
    (`ssmc.qat.cells`); with ``drift_s`` at a time up to so many seconds since programming, with ``digital_poles`` a
    chip whose digital unit does A (``--place digital-poles``).
    ``converter_bits``: quantizers behind the encoder's, the mixing and the decoder's matrices; None: as others.
    """

    kernel_bits: int = 8
    readout_bits: int | None = None
    state_dac_bits: int = 8
    adc_bits: int = 8
    weight_bits: int = 8
    gating_bits: int | None = None
    coder_bits: int | None = None
    input_bits: int = 8
    activation_bits: int = 8
    gate_bits: int = 8
    output_bits: int = 8
    register_headroom: int = 0
    form: Form = "delta"
    granularity: Granularity = "mode"
    clipping: Clipping = "mse"
    weight_levels: WeightLevels = "2^b - 1"
    stable: bool = True
    refitted: bool = True
    learned: bool = False
    power_of_two: bool = True
    weight_noise: float = 0.0
    weight_noise_poly: tuple[float, ...] = ()
    adc_noise: float = 0.0
    hardware: Hardware | None = None
    device_noise: bool = False
    drift_s: float = 0.0
    digital_poles: bool = False
    converter_bits: int | None = None

    @classmethod
    def for_hardware(cls, hardware: Hardware | str | Path, *, slices: int = 1, **others: Any) -> QuantConfig:
        """The widths that a crossbar gives, at most 8 bits each; ``others`` are fields, and override.

        Weights: the codes that ``slices`` cells hold; what drives rows: the DAC's bits, unless it drives bit by bit;
        what columns deliver: the ADC's bits (`ssmc.hardware.widths`).

        Args:
            hardware: a preset by name, a file, or what was loaded from one.
            slices: cells (or pairs of them) that hold a weight.
            others: fields.

        Raises:
            UsageError: SSMC-H01 and the other codes of hardware files; SSMC-U32 where ``slices`` is below 1.
        """
        hw = hardware if isinstance(hardware, Hardware) else load_hardware(hardware)
        wide = widths(hw, slices)
        fed_back = (
            {}
            if others.get("form", "delta") == "delta"
            else dict.fromkeys(("state_dac_bits", "adc_bits"), min(wide.drive, wide.converter))
        )
        found = {
            **dict.fromkeys(("kernel_bits", "weight_bits"), wide.weight),
            **dict.fromkeys(("state_dac_bits", "input_bits", "activation_bits"), wide.drive),
            **dict.fromkeys(("adc_bits", "converter_bits"), wide.converter),
            "output_bits": wide.converter,
            **fed_back,
        }
        return cls(**{**found, "hardware": hw, **others})

    @classmethod
    def uniform(cls, bits: int, activation_bits: int | None = None, **others: Any) -> QuantConfig:
        """Every weight, state and converter at ``bits``; activations too, unless ``activation_bits`` says otherwise."""
        weights = dict.fromkeys(("kernel_bits", "state_dac_bits", "adc_bits", "weight_bits"), bits)
        names = ("input_bits", "activation_bits", "gate_bits", "output_bits")
        return cls(**{**weights, **dict.fromkeys(names, activation_bits or bits), **others})

    @classmethod
    def from_toml(cls, path: str | Path) -> QuantConfig:
        """Read a flat TOML file whose keys are the fields.

        Raises:
            ValueError: a key that is no field, or a value that is not allowed.
        """
        with Path(path).open("rb") as file:
            table: dict[str, Any] = tomllib.load(file)
        known = [field.name for field in fields(cls)]
        unknown = [key for key in table if key not in known]
        if unknown:
            raise ValueError(f"{Path(path).name}: unknown key {unknown[0]!r}; known are {', '.join(known)}")
        if "weight_noise_poly" in table:
            table["weight_noise_poly"] = tuple(table["weight_noise_poly"])
        hardware = table.pop("hardware", None)
        return cls(**table) if hardware is None else cls.for_hardware(hardware, **table)

    def __post_init__(self) -> None:
        for name, (low, high) in LIMITS.items():
            value, kind = getattr(self, name), Integral if name.endswith("_bits") else Real
            if value is None and name in OPTIONAL:
                continue
            if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high:  # type: ignore[operator]
                raise ValueError(f"{name} is {value!r}; allowed are {low}..{high:g}")
        for name in SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed are true and false")
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed are {', '.join(map(repr, allowed))}")
        if self.weight_noise and self.weight_noise_poly:
            raise ValueError("weight_noise and weight_noise_poly are two laws of the same noise: give one of them")
        if self.device_noise and (self.hardware is None or self.weight_noise or self.weight_noise_poly):
            raise ValueError("device_noise is that of a hardware, in place of weight_noise: give hardware alone")
        if (self.drift_s or self.digital_poles) and not self.device_noise:
            raise ValueError("drift_s and digital_poles are of chips: set device_noise = true")
        if self.form != "delta" and self.state_dac_bits != self.adc_bits:
            raise ValueError(f"form {self.form!r} feeds ADC codes back to the DAC: state_dac_bits must equal adc_bits")

    @property
    def readout(self) -> int:
        """Bits of C and D."""
        return self.readout_bits or self.kernel_bits

    @property
    def gating(self) -> int:
        """Bits of the mixing weights of the gate."""
        return self.gating_bits or self.weight_bits

    @property
    def converter(self) -> int:
        """Bits of the quantizers behind encoder and mixing."""
        return self.converter_bits or self.activation_bits

    @property
    def coder(self) -> int:
        """Bits of encoder and decoder weights."""
        return self.coder_bits or self.weight_bits

    def grid(self, bits: int) -> Grid:
        """The codes of weights of ``bits`` bits."""
        if self.weight_levels == "2^b + 1":
            return Grid(1 << (bits - 1))
        return Grid((1 << (bits - 1)) - 1) if bits > 1 else Grid(1, zero=False)


LIMITS = {
    **dict.fromkeys(("kernel_bits", "readout_bits", "state_dac_bits", "adc_bits"), (2, 12)),
    **dict.fromkeys(("weight_bits", "gating_bits", "coder_bits"), (1, 12)),
    **dict.fromkeys(("input_bits", "activation_bits", "gate_bits", "output_bits"), (2, 16)),
    "converter_bits": (2, 16),
    "weight_noise": (0, 1),
    "adc_noise": (0, 16),
    "drift_s": (0, 1e9),
}
OPTIONAL = ("readout_bits", "gating_bits", "coder_bits", "converter_bits")
SWITCHES = ("stable", "refitted", "learned", "power_of_two", "device_noise", "digital_poles")


def signed_range(bits: int) -> tuple[int, int]:
    """Two's complement range: 8 bits are -128..127."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1

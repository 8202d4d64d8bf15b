"""The widths of weights and codes that a crossbar gives, for a model that is quantized or trained for it."""

from __future__ import annotations

from dataclasses import dataclass

from ssmc.errors import UsageError
from ssmc.hardware.model import Hardware

USUAL = 8
SHARED = {"per_adc": "columns of a converter share a step", "per_array": "columns of an array share a step"}


@dataclass(frozen=True)
class Widths:
    """Bits, at most `USUAL` each.

    Attributes:
        weight: of signed symmetric weights.
        drive: of the codes that drive rows.
        converter: of the codes that columns deliver.
        lacking: what the hardware cannot give, a few words each.
    """

    weight: int
    drive: int
    converter: int
    lacking: tuple[str, ...]

    def line(self, name: str) -> str:
        """What hardware ``name`` gives and cannot give."""
        given = f"{self.weight}-bit weights, {self.drive}-bit drives, {self.converter}-bit columns"
        return f"{name}: {given}" + (f"; cannot give: {', '.join(self.lacking)}" if self.lacking else "")


def widths(hw: Hardware, slices: int = 1) -> Widths:
    """What a crossbar gives where ``slices`` cells (or pairs of cells) hold a weight.

    A slice holds digits of D = floor(log2(largest digit + 1)) bits, so that S slices hold magnitudes of S D bits.

    Raises:
        UsageError: SSMC-U32 where ``slices`` is below 1.
    """
    digit = (hw.largest_digit + 1).bit_length() - 1
    held = slices * digit + 1
    if slices < 1:
        raise UsageError("SSMC-U32", f"{slices} slices hold no weight", "give 1 slice or more", hw.name)
    drive = USUAL if hw.dac.bit_serial else min(USUAL, hw.dac.bits)
    found = Widths(min(USUAL, held), drive, min(USUAL, hw.adc.bits), ())
    lacking = []
    if found.weight < USUAL:
        lacking.append(f"{USUAL}-bit weights (they take {-(-(USUAL - 1) // digit)} slices)")
    if drive < USUAL:
        lacking.append(f"{USUAL}-bit drives")
    if found.converter < USUAL:
        lacking.append(f"{USUAL}-bit columns")
    if hw.adc.step in SHARED:
        lacking.append(f"a step for each column ({SHARED[hw.adc.step]})")
    if not hw.adc.offset:
        lacking.append("a bias in the converter")
    return Widths(found.weight, drive, found.converter, tuple(lacking))

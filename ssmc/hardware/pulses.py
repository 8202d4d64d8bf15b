"""Duration of a drive of b bits where time carries the code (``dac.pulses``), and of the conversion after it.

A code of b bits in sign and magnitude has m = max(b - 1, 1) magnitude bits.

- ``width``: one pulse of up to 2^m - 1 steps.
- ``count``: trains of pulses. Up to 3 magnitude bits are one train of 2^m - 1 pulses; more are two trains, of
  ceil(m / 2) and floor(m / 2) bits, each sampled and converted apart, the second to as many fewer bits as the first had
  (NeuRRAM; CiMLoop wan_nature_2022 helper_functions.py).
- ``bits``: m pulses, the least significant bit first; the columns hold half of what they held and half of what the bit
  gives, so that one conversion sees the whole code (charge sharing: arXiv 2605.30814; sums of bits in analog: CASCADE,
  MICRO 2019).
"""

from __future__ import annotations

from ssmc.hardware.model import Hardware

ONE_TRAIN = 3


def magnitude_bits(width: int) -> int:
    """Bits of a code without its sign, at least one."""
    return max(width - 1, 1)


def trains(width: int, hw: Hardware) -> tuple[int, ...]:
    """Magnitude bits of each pulse train of a drive."""
    bits = magnitude_bits(width)
    if hw.dac.pulses != "count" or bits <= ONE_TRAIN:
        return (bits,)
    return (-(-bits // 2), bits // 2)


def pulse_steps(width: int, hw: Hardware) -> int:
    """Pulses, or steps of the pulse width, of a drive; 0 where amplitude carries the code."""
    if hw.dac.pulses == "bits":
        return magnitude_bits(width)
    return 0 if hw.dac.pulses == "none" else sum((1 << bits) - 1 for bits in trains(width, hw))


def samplings(width: int, hw: Hardware) -> int:
    """How often the columns sample during a drive: after every train of pulses, or every bit."""
    return {"count": len(trains(width, hw)), "bits": magnitude_bits(width)}.get(hw.dac.pulses, 0)


def drive_ns(width: int, hw: Hardware) -> float:
    """Set-up, pulses and sampling of one drive."""
    pulses, sampling = pulse_steps(width, hw) * hw.dac.pulse_ns.value, samplings(width, hw) * hw.dac.phase_ns.value
    return hw.dac.latency_ns.value + pulses + sampling


def conversion_steps(bits: int, width: int, hw: Hardware) -> int:
    """Steps of one conversion to ``bits`` bits of a drive of ``width`` bits."""
    first, *rest = trains(width, hw)
    return bits + sum(max(bits - first, 0) for _ in rest)


def conversion_ns(bits: int, width: int, hw: Hardware) -> float:
    """One conversion."""
    return 1e3 / hw.adc.rate_msps.value + conversion_steps(bits, width, hw) * hw.adc.step_ns.value

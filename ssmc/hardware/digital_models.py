"""What digital work costs at widths and sizes other than those for which a hardware file gives energies.

A multiply-accumulate of a weight of w bits, an input of x bits and a sum of s bits:

    E = mac_energy_pj ((1 - M) s / (4 b) + M w x / b^2),        b = mac_bits, M = 2/3

that is, ``mac_energy_pj`` is for b x b bits and a sum of 4 b; an adder grows with its width and an array multiplier
with the product of its widths. The share M of the multiplier and both exponents are from M. Horowitz, "Computing's
energy problem (and what we can do about it)", ISSCC 2014: at 45 nm additions of 8 and 32 bits take 0.03 and 0.1 pJ,
multiplications 0.2 and 3.1 pJ, hence 0.2 of 0.3 pJ at 8 bits. A ternary weight is an addition: no product.

A bit read from a memory of n bits, where ``buffer_energy_pj_per_bit`` is that of a memory of ``buffer_bytes``:

    E = buffer_energy_pj_per_bit sqrt(n / (8 buffer_bytes)),     not below register_energy_pj_per_bit

Word and bit lines of a square array grow with the root of its size; PUMA's SRAM of 256 B to 2 KB (0.16 to 0.57 pJ a
word, Ankit et al., ASPLOS 2019, constants.py) lies within 1.3 times of it. All lanes read a weight in the same clock,
so the weights of a matrix lie in a bank for every lane; a bank smaller than 256 B is charged as one of 256 B.

Without ``mac_bits`` or ``buffer_bytes`` the energy of the file is charged whatever the width or the size.
"""

from __future__ import annotations

from ssmc.hardware.model import Hardware

MULTIPLIER = 2 / 3
SUM = 4
SMALLEST = 8 * 256  # bits


def mac_scale(weight_bits: int, input_bits: int, sum_bits: int, hw: Hardware) -> float:
    """Energy of a multiply-accumulate over ``mac_energy_pj``; ``weight_bits`` 2 and less: ternary."""
    b = hw.digital.mac_bits
    if not b:
        return 1.0
    product = weight_bits * input_bits / b**2 if weight_bits > 2 else 0.0
    return (1 - MULTIPLIER) * sum_bits / (SUM * b) + MULTIPLIER * product


def memory_scale(bits: int, hw: Hardware) -> float:
    """Energy of a bit read from banks that hold ``bits`` together over ``buffer_energy_pj_per_bit``."""
    memory, size = hw.memory, 8 * hw.memory.buffer_bytes
    energy = memory.buffer_energy_pj_per_bit.value
    if not size or not energy:
        return 1.0
    bank = max(bits / hw.digital.lanes, SMALLEST)
    return float(max((bank / size) ** 0.5, memory.register_energy_pj_per_bit.value / energy))

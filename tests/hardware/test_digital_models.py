"""The laws of digital energy against the numbers they are from, and what a file without their keys is charged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ssmc.hardware.digital_models import mac_scale, memory_scale
from ssmc.hardware.file import load_hardware, preset_names
from ssmc.hardware.model import Hardware


def test_the_energy_of_the_file_is_for_its_own_widths_and_size(taox64: Hardware) -> None:
    assert mac_scale(8, 8, 32, taox64) == pytest.approx(1)
    assert memory_scale(64 * 8 * 256, taox64) == pytest.approx(1)


@pytest.mark.parametrize(("bits", "picojoule"), [(8, 0.2), (16, 1.0), (32, 3.1)])
def test_products_follow_horowitz(bits: int, picojoule: float, taox64: Hardware) -> None:
    """45 nm, integers: 8, 16 and 32 bits; the sum apart, of which 32 bits take 0.1 of 0.3 pJ."""
    product = 0.3 * (mac_scale(bits, bits, 32, taox64) - mac_scale(2, bits, 32, taox64))
    assert product == pytest.approx(picojoule, rel=0.25)
    assert 0.3 * mac_scale(2, 8, 32, taox64) == pytest.approx(0.1)


@pytest.mark.parametrize(("nbytes", "picojoule"), [(256, 0.16), (512, 0.24), (1024, 0.33), (2048, 0.57)])
def test_memories_follow_puma(nbytes: int, picojoule: float, taox64: Hardware) -> None:
    """A word of its data memory at 32 nm."""
    assert 0.16 * memory_scale(taox64.digital.lanes * 8 * nbytes, taox64) == pytest.approx(picojoule, rel=0.3)


def test_a_bit_costs_no_less_than_in_a_register(taox64: Hardware) -> None:
    large = replace(taox64, memory=replace(taox64.memory, buffer_bytes=1 << 30))
    cheapest = large.memory.buffer_energy_pj_per_bit.value * memory_scale(1, large)
    assert cheapest == pytest.approx(large.memory.register_energy_pj_per_bit.value)
    assert memory_scale(1, taox64) == memory_scale(64 * 8 * 256, taox64) == 1.0


def test_a_ternary_weight_is_an_addition(taox64: Hardware) -> None:
    assert mac_scale(2, 8, 16, taox64) == mac_scale(2, 4, 16, taox64) < mac_scale(3, 4, 16, taox64)


def test_a_file_without_the_keys_is_charged_as_before(taox64: Hardware) -> None:
    old = replace(taox64, digital=replace(taox64.digital, mac_bits=0), memory=replace(taox64.memory, buffer_bytes=0))
    assert {mac_scale(w, 8, 20, old) for w in (2, 4, 16)} == {memory_scale(n, old) for n in (1, 10**9)} == {1.0}


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_says_what_its_energies_are_for(name: str) -> None:
    hw = load_hardware(name)
    assert hw.digital.mac_bits >= 8
    assert hw.memory.buffer_bytes >= 256

"""A digital macro in the place of a crossbar: bits, adder trees, no converter; exact, and priced by its trees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ssmc.conversion.cuts import slice_gains, slices
from ssmc.errors import UsageError
from ssmc.hardware.conductances import IDEAL, NoiseModel, noise_of
from ssmc.hardware.file import parse_hardware
from ssmc.hardware.model import Hardware, rules
from ssmc.hardware.not_modelled import effects_not_modelled
from ssmc.hardware.schema import file_text
from ssmc.hardware.settings import changed
from ssmc.hardware.unfollowed import unfollowed_keys
from ssmc.ir.executor import Executor
from ssmc.ir.program import Program
from ssmc.targets.aimc.target import AimcTarget
from ssmc.targets.aimc.tiles.instructions import Convert, ConvertQuantize

Programs = Callable[..., Program]
#: a macro of 64 x 64 bits whose inputs come bit by bit
MACRO = (
    *("cell.kind=digital", "cell.scheme=twos_complement", "cell.levels=2", "adc.bits=0", "adc.energy_pj=0.2"),
    *("adc.columns_per_adc=1", "dac.bit_serial=true", "dac.bits=1", "array.read_energy_fj_per_cell=1"),
    *(f"noise.{name}=0" for name, rule in rules("noise").items() if rule.kind is not str),
)


@pytest.fixture
def macro(taox64: Hardware) -> Hardware:
    return changed(taox64, MACRO).hardware


@pytest.mark.parametrize(
    ("lo", "hi", "gains"),
    [(-128, 127, 8), (-1, 1, 2), (0, 1, 1), (-1, 0, 1), (0, 0, 1), (-5, 127, 8), (-4, 25, 6), (-17, -1, 6)],
)
def test_codes_are_bits_of_twos_complement(lo: int, hi: int, gains: int, macro: Hardware) -> None:
    codes = np.arange(lo, hi + 1).reshape(1, 1, -1)
    weights = slice_gains(codes, macro)
    digits = slices(codes, weights)
    assert len(weights) == gains
    assert {int(bit) for digit in digits for bit in digit.ravel()} <= {0, 1}
    assert (sum(gain * digit for gain, digit in zip(weights, digits, strict=True)) == codes).all()


@pytest.mark.parametrize("scheme", ["twos_complement", "differential_columns"])
@pytest.mark.parametrize("serial", [True, False])
def test_its_codes_are_those_of_the_integer_program(
    scheme: str, serial: bool, macro: Hardware, program_of: Programs
) -> None:
    """Whatever noise is asked for, single steps and whole sequences."""
    pairs = (f"cell.scheme={scheme}", *(() if serial else ("dac.bit_serial=false", "dac.bits=8")))
    hw, program = changed(macro, pairs).hardware, program_of(form="delta", channels=4, n=5, features=6, pool="none")
    compiled = AimcTarget(hw).emit(program)
    assert {plan.kind for plan in compiled.lowered.plans.values()} == {"lossless"}
    x = np.random.default_rng(1).normal(0, 10, (8, 12, 6))
    exact = Executor(program).run(x)
    for noise in (IDEAL, NoiseModel(0.1, 0.1, 0.1, stuck_high=0.1, adc_noise=3.0)):
        for literal in (True, False):
            assert (compiled.executor(noise=noise, literal=literal, time_s=1e6).run(x) == exact).all()
    assert noise_of(hw) == IDEAL
    assert effects_not_modelled(hw) == ()


def test_trees_are_as_wide_as_their_sums(macro: Hardware, program_of: Programs) -> None:
    """Products of 16 by 16 bits add up to more than the 24 bits of an ideal converter."""
    pairs = "cell.scheme=differential_columns", "cell.levels=65536", "dac.bit_serial=false", "dac.bits=16"
    program = program_of(code_bits=16, weight_bits=16, channels=2, n=5, features=6, pool="none")
    compiled = AimcTarget(changed(macro, pairs).hardware).emit(program)
    assert {plan.kind for plan in compiled.lowered.plans.values()} == {"lossless"}
    x = np.random.default_rng(1).normal(0, 1000, (4, 8, 6))
    assert (compiled.executor().run(x) == Executor(program).run(x)).all()


def test_a_tree_is_charged_for_every_column_and_drive(macro: Hardware, program_of: Programs) -> None:
    """Columns of bits that hold a 1, times the bits of the inputs; the quantizer behind is the digital unit's."""
    compiled = AimcTarget(macro, packing="one").emit(program_of(form="direct", channels=2, n=3))
    trees = [i for i in compiled.tiles.per_step if isinstance(i, Convert)]
    assert not any(isinstance(i, ConvertQuantize) for i in compiled.tiles.per_step)
    counted = sum(int(compiled.tiles.banks[i.bank].columns[:, i.slice].sum()) for i in trees)
    planes = {i.bank: sum(other.bank == i.bank for other in trees) for i in trees}
    bits = {name: [(bank.codes >= 0).all(), bank.codes.max()] for name, bank in compiled.tiles.banks.items()}
    assert all(found == [True, 1] for found in bits.values())
    assert counted == sum(
        count // len(compiled.tiles.banks[name].gains) * int(compiled.tiles.banks[name].columns.sum())
        for name, count in planes.items()
    )
    spent = sum(line.nominal for line in compiled.costs.per_step if line.component == "adc")
    assert spent == pytest.approx(0.2 * counted)


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        (("adc.bits=8",), r"adc\.bits: is 8 of digital cells; nothing is converted: write 0"),
        (("cell.levels=4",), r"cell\.levels: is 4 with twos_complement"),
        (("cell.scheme=offset_column", "cell.levels=4"), r"cell\.scheme: is that of analog cells"),
        (("cell.kind=analog",), r"cell\.scheme: is twos_complement of analog cells"),
        (("noise.read_sigma_relative=0.01",), r"noise\.read_sigma_relative: is 0.01 of digital cells"),
        (("noise.device=pcm",), r"noise\.device: is pcm of digital cells"),
    ],
)
def test_what_contradicts_a_digital_macro(pairs: tuple[str, ...], says: str, macro: Hardware) -> None:
    with pytest.raises(UsageError, match=f"SSMC-H08.*{says}"):
        changed(macro, pairs)


def test_figures_of_analog_periphery_are_named(taox64: Hardware, macro: Hardware) -> None:
    """A macro whose file has a preset's converter and sample and hold; none where it prices its trees alone."""
    kept = changed(taox64, [pair for pair in MACRO if not pair.startswith("adc.energy_pj")]).hardware
    converter, hold = unfollowed_keys(kept)
    assert "those of the 8-bit converter of 'taox64', which a digital macro does not have" in converter
    assert "sample_hold.energy_pj and sample_hold.area_um2 are charged" in hold
    none = ("sample_hold.energy_pj=0", "sample_hold.area_um2=0")
    assert unfollowed_keys(changed(macro, none).hardware) == ()


def test_a_macro_reads_back(macro: Hardware) -> None:
    again: Any = parse_hardware(file_text(macro))
    assert again.cell == macro.cell
    assert again.exact_cells

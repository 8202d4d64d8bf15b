"""Drives whose code time carries: pulses, samplings and durations in closed form, and in a program."""

from __future__ import annotations

import numpy as np
import pytest

import ssmc
from ssmc.hardware.file import load_hardware
from ssmc.hardware.pulses import conversion_steps, drive_ns, pulse_steps, samplings
from ssmc.hardware.settings import with_settings
from ssmc.importers.onnx_file import import_model
from ssmc.targets.aimc.cost.activity import activity_of
from ssmc.targets.aimc.target import AimcTarget
from ssmc.targets.aimc.tiles.instructions import Drive
from tests.graphs import Spec, model

AGAIN = ("dac.energy_pj=1", "dac.area_um2=1")
SERIAL = (*AGAIN, "dac.bit_serial=true", "dac.bits=1")
BITS = (*AGAIN, "dac.bits=9", "dac.pulses=bits", "dac.pulse_ns=3", "dac.phase_ns=2")
SPEC = Spec(seed=3)


@pytest.mark.parametrize(
    ("pulses", "width", "steps", "sampled"),
    [
        ("none", 8, 0, 0),
        ("width", 8, 127, 0),
        ("count", 4, 7, 1),
        ("count", 8, 15 + 7, 2),
        ("bits", 8, 7, 7),
        ("bits", 1, 1, 1),
    ],
)
def test_closed_forms(pulses: str, width: int, steps: int, sampled: int) -> None:
    given = ("dac.latency_ns=11", f"dac.pulses={pulses}", "dac.pulse_ns=3", "dac.phase_ns=2")
    hw = with_settings(load_hardware("taox64"), given)
    assert (pulse_steps(width, hw), samplings(width, hw)) == (steps, sampled)
    assert drive_ns(width, hw) == 11 + 3 * steps + 2 * sampled
    assert conversion_steps(8, width, hw) == (8 + 4 if (pulses, width) == ("count", 8) else 8)


def test_the_activity_of_a_pulse_a_bit_is_the_share_of_bits_that_are_set() -> None:
    hw = with_settings(load_hardware("taox64"), BITS)
    codes = np.array([0.0, 1.0, -3.0, 127.0, -64.0])
    drive = Drive("op", (), "", "bank", None, 8)
    assert activity_of(codes, drive, hw).tolist() == [0, 1 / 7, 2 / 7, 1, 1 / 7]
    assert activity_of(np.arange(128.0), drive, hw).mean() == pytest.approx(1 / 2)  # what is expected without data


def test_bits_that_are_added_in_analog_are_converted_once() -> None:
    """The codes are those of whole codes; conversions are a serial drive's over its bits."""
    imported = import_model(model(SPEC))
    whole, serial, bits = (
        ssmc.compile(imported, AimcTarget(set=given, place="analog"), oracle=False) for given in ((), SERIAL, BITS)
    )
    x = np.random.default_rng(0).standard_normal((5, 9, whole.compiled.program.input_size)).astype(np.float32)
    assert np.array_equal(bits.run(x), whole.run(x))
    counts = [bundle.cost(1)["adc_conversions"]["per_step"] for bundle in (whole, serial, bits)]
    assert counts[2] == counts[0] < counts[1]

"""One effect at a time: each has its own field alone, and chips say what it costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import numpy as np

from ssmc.data import Samples
from ssmc.hardware.conductances import IDEAL, NoiseModel
from ssmc.hardware.model import Hardware
from ssmc.hardware.settings import changed
from ssmc.ir.program import Program
from ssmc.targets.aimc.simulation.sensitivity import OWN, effects, sensitivity
from ssmc.targets.aimc.target import AimcTarget

Programs = Callable[..., Program]


def moved(noise: NoiseModel) -> set[str]:
    """Fields that are not ideal; how stuck cells and drift are mended is no effect."""
    names = {field.name for field in fields(noise)} - {"stuck_mapping", "compensation"}
    return {name for name in names if getattr(noise, name) != getattr(IDEAL, name)}


def test_every_effect_is_alone_and_every_field_has_its_effect(taox64: Hardware) -> None:
    found = list(effects(taox64))
    alone = [moved(effect.noise) for effect in found]
    assert all(a <= {"programming", "programming_off", "proportional"} or len(a) == 1 for a in alone)
    assert set().union(*alone) == {
        *("programming", "programming_off", "read", "stuck_low", "stuck_high"),
        *("wire_ohm", "adc_offset", "adc_gain", "adc_inl", "adc_dnl", "adc_noise", "device"),
    }


def test_sizes_are_those_of_the_file_where_it_has_them(taox64: Hardware) -> None:
    own = {effect.name: effect for effect in effects(taox64) if effect.source == OWN}
    assert {"programming", "read noise", "resistance of wires", "stuck at g_max"} <= set(own)
    assert "noise of converters" not in own
    assert own["read noise"].noise.read == taox64.noise.read_sigma_relative.value
    more = changed(taox64, ["noise.wire_ohm=2"]).hardware
    wires = next(effect for effect in effects(more) if effect.name == "resistance of wires")
    assert (wires.noise.wire_ohm, wires.source) == (2.0, OWN)


def test_the_most_harmful_comes_first(taox64: Hardware, program_of: Programs) -> None:
    loud = changed(taox64, ["noise.read_sigma_relative=0.9"]).hardware
    compiled = AimcTarget(loud).emit(program_of(form="direct", channels=3, n=2))
    x = np.random.default_rng(0).normal(0, 10, (12, 8, 3))
    samples = Samples(x.reshape(-1, 3), np.arange(13) * 8, None)
    seen: list[int] = []
    rows = sensitivity(compiled, samples, chips=2, progress=seen.append)
    assert sum(seen) == 2 * len(rows) == 2 * len(list(effects(loud)))
    lost = [row["lost"] for row in rows]
    assert lost == sorted(lost, reverse=True)
    assert rows[0]["effect"] == "read noise"
    assert all(row["ideal"] == 1.0 for row in rows)  # without labels: agreement with itself

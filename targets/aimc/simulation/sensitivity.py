"""What a program is afraid of: one effect of real devices at a time, of the size of the file or a published one.

Every row simulates chips on which nothing but this effect is not ideal. Effects do not add up; the table says which one
to look at first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ssmc.data import Samples
from ssmc.hardware.conductances import IDEAL, NoiseModel, noise_of
from ssmc.hardware.devices import DAY_S
from ssmc.hardware.model import Hardware
from ssmc.targets.aimc.simulation.monte_carlo import ideal_chip, monte_carlo

MONTH_S = 30 * DAY_S
OWN = "hardware file"


@dataclass(frozen=True)
class Effect:
    """One effect alone.

    Attributes:
        name: in words.
        size: how large, in words.
        source: where the size is from.
        noise: chips with this effect.
        time_s: seconds since they were programmed.
    """

    name: str
    size: str
    source: str
    noise: NoiseModel
    time_s: float = 0.0


@dataclass(frozen=True)
class _Usual:
    """A size for a file that has none: fields of `NoiseModel`."""

    name: str
    fields: dict[str, float]
    size: str
    source: str


USUAL = (
    _Usual("programming", {"programming": 0.02, "programming_off": 0.002, "proportional": 0.0}, "2 % of g_max",
           "assumed: of the order of the published cells in docs/noise.md"),
    _Usual("read noise", {"read": 0.01}, "1 % of g a product", "assumed: aihwkit pairs 1 % with ReRAM of Wan 2022"),
    _Usual("stuck at g_min", {"stuck_low": 0.001}, "0.1 % of the cells", "assumed"),
    _Usual("stuck at g_max", {"stuck_high": 0.001}, "0.1 % of the cells", "assumed"),
    _Usual("resistance of wires", {"wire_ohm": 0.35}, "0.35 ohm a cell pitch", "aihwkit, default of its IR drop"),
    _Usual("offsets of converters", {"adc_offset": 0.5}, "0.5 codes", "assumed"),
    _Usual("gain errors of converters", {"adc_gain": 0.01}, "1 %", "assumed"),
    _Usual("nonlinearity of converters", {"adc_inl": 0.5}, "0.5 codes", "assumed"),
    _Usual("uneven codes of converters", {"adc_dnl": 0.3}, "0.3 codes", "assumed"),
    _Usual("noise of converters", {"adc_noise": 0.5}, "0.5 codes", "assumed: 1 of 8 bits lost"),
)  # fmt: skip
CELLS = (
    ("a published PCM cell, programmed", "pcm", 0.0),
    ("a published PCM cell after 30 days", "pcm", MONTH_S),
    ("a published ReRAM cell, programmed", "reram_wan", 0.0),
)


def effects(hw: Hardware) -> Iterator[Effect]:
    """Every effect alone; of the size of the file where it has one."""
    own = noise_of(hw)
    others = replace(IDEAL, stuck_mapping=own.stuck_mapping, compensation=own.compensation)
    for usual in USUAL:
        known = {name: getattr(own, name) for name in usual.fields}
        if any(known.values()) and (own.device == "gaussian" or "programming" not in known):
            size = ", ".join(f"{name} {value:g}" for name, value in known.items() if value)
            yield Effect(usual.name, size, OWN, replace(others, **known))
        else:
            yield Effect(usual.name, usual.size, usual.source, replace(others, **usual.fields))  # type: ignore[arg-type]
    for name, device, time_s in CELLS:
        yield Effect(name, device, "docs/noise.md", replace(IDEAL, device=device), time_s)


def sensitivity(
    bundle: Any,
    samples: Samples,
    *,
    chips: int = 5,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> list[dict[str, Any]]:
    """Accuracy with each effect alone, the most harmful first; ``ideal`` of every row is that of an ideal chip.

    Args:
        bundle: for the aimc target, or its `AimcCompiled`.
        samples: labelled sequences; without labels agreement with the ideal chip counts.
        chips: instances of each effect, seeds ``seed .. seed + chips - 1``.
        seed: of the first chip.
        progress: told the number of chips done, ``chips`` an effect.
    """
    compiled = getattr(bundle, "compiled", bundle)
    rows, ideal = [], ideal_chip(compiled, samples)
    for effect in effects(compiled.hardware):
        found = monte_carlo(
            compiled, samples, chips=chips, times_s=(effect.time_s,), noise=effect.noise, seed=seed,
            progress=progress, ideal=ideal,
        ).to_json()  # fmt: skip
        accuracy = found["at"][0]["accuracy"]
        rows.append({
            "effect": effect.name, "size": effect.size, "source": effect.source, "accuracy": accuracy,
            "ideal": found["ideal_accuracy"]["value"], "lost": found["ideal_accuracy"]["value"] - accuracy["value"],
        })  # fmt: skip
    return sorted(rows, key=lambda row: (-row["lost"], row["effect"]))

"""The fewest bits, tensor by tensor, that lose at most some points of accuracy.

Rounding a tensor to b bits adds noise at the output whose power falls fourfold a bit, and noise of many tensors adds
up. So each tensor t is narrowed alone, to ``PROBED`` bits fewer, which measures on the calibration data

    n_t   its noise: error power over output power, less that of all tensors at full width
    c_t   what a bit of it costs: mean of ACE, size and ADC complexity, relative to the whole (`qs4d_metrics`)

and with e_t(b) ~ 4^-b, scaled to n_t, bits are taken away one by one, always where c_t over the growth of e_t is
largest: the order in which the Lagrangian of "least cost at a noise" takes them (Shoham and Gersho 1988). How far to go
in that order is found by halving, with models that are quantized whole, and their accuracy on labelled sequences on
which nothing was calibrated.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ssmc.analysis.qs4d_metrics import FP32, Figures, at, figures, uses
from ssmc.data import Samples
from ssmc.errors import GateError, ModelError, UsageError
from ssmc.ir.build import node_name, required
from ssmc.quantize.config import QuantizeConfig, limits
from ssmc.quantize.given import given_step
from ssmc.quantize.model import Progress, Quantized, Ready
from ssmc.quantize.read_back import Fidelity, measured
from ssmc.quantize.rewrite import field_of

PROBED = 3  # bits fewer
FEWEST = 2  # bits of a tensor
LEAST_NOISE = 1e-9  # of the output's power: what a measurement cannot tell from none
FEWEST_JUDGED, MOST_JUDGED = 50, 512  # sequences
OF_KERNEL = ("kernel_bits", "state_bits", "adc_bits", "activation_bits")
Tensor = tuple[str, str]  # its name, and the width of `QuantizeConfig` that is its own


@dataclass(frozen=True)
class Allocated:
    """The model, the bits of every tensor, and what they lose.

    Attributes:
        quantized: the model.
        bits: of every tensor whose width could be chosen.
        judged: accuracy on ``sequences`` sequences on which nothing was calibrated.
    """

    quantized: Quantized
    bits: dict[Tensor, int]
    judged: Fidelity
    sequences: int

    @property
    def figures(self) -> Figures:
        """ACE, size and ADC complexity."""
        return figures(uses(self.quantized.program))

    @property
    def fp32(self) -> Figures:
        """The same with every width at 32 bits."""
        return figures(at(uses(self.quantized.program), FP32))

    @property
    def lost(self) -> float:
        """Percentage points of accuracy."""
        assert self.judged.accuracy is not None
        assert self.judged.float_accuracy is not None
        return 100 * (self.judged.float_accuracy - self.judged.accuracy)


def parted(samples: Samples, count: int) -> tuple[Samples, Samples]:
    """``count`` sequences to calibrate on, evenly spaced, and of the others those on which accuracy is judged.

    Raises:
        UsageError: SSMC-U34 without labels, or where too few are left.
    """
    calibrated = samples.evenly(count)
    others = np.setdiff1d(np.arange(len(samples)), calibrated)
    if samples.label is None or len(others) < FEWEST_JUDGED:
        fact = f"{len(others)} of {len(samples)} sequences are left to judge by"
        fact = "the data have no labels to judge by" if samples.label is None else fact
        remedy = f"give labelled data, {FEWEST_JUDGED} sequences or more beside those of --samples"
        raise UsageError("SSMC-U34", fact, remedy, "--error")
    return samples.take(calibrated), samples.take(others).spread(MOST_JUDGED)


def allocate(
    ready: Ready, judges: Samples, points: float, config: QuantizeConfig, progress: Progress = lambda stage: None
) -> Allocated:
    """Narrow tensors as long as at most ``points`` of accuracy are lost on ``judges``.

    Args:
        ready: with the calibration sequences.
        judges: labelled sequences (`parted`).
        points: percentage points of accuracy that may be lost against the float model.
        config: the full widths.
        progress: is told what begins.

    Raises:
        UsageError: SSMC-U34 where the labels are not the model's.
        GateError: SSMC-C04 where the full widths lose more.
    """
    full = {(name, width): int(getattr(config, width)) for name, width in _tensors(ready, config)}
    progress("all tensors at full width")
    first = _judged(ready, judges, config, full)
    if not first.judged.float_accuracy:
        fact = f"the float model has none of the {len(judges)} labels right"
        raise UsageError("SSMC-U34", fact, "give the labels that the model was trained for", "--error")
    if first.lost > points:
        fact = f"at full width {first.lost:.2f} points are lost on {len(judges)} sequences"
        raise GateError("SSMC-C04", fact, "give more --bits, or a larger --error; nothing was written", "--error")
    order = _order(ready, config, full, progress)
    good = {0: first}

    def too_far(count: int) -> bool:
        progress(f"{count} of {len(order)} bits taken away")
        taken = Counter(order[:count])
        try:
            found = _judged(ready, judges, config, {tensor: bits - taken[tensor] for tensor, bits in full.items()})
        except ModelError:  # a kernel that is not stable at these bits
            return True
        if found.lost <= points:
            good[count] = found
        return found.lost > points

    bisect_left(range(1, len(order) + 1), True, key=too_far)
    return good[max(good)]


def _judged(ready: Ready, judges: Samples, config: QuantizeConfig, bits: dict[Tensor, int]) -> Allocated:
    made = ready.quantize(_with(config, bits))
    return Allocated(made, bits, measured(ready.source, made.model, judges), len(judges))


def _tensors(ready: Ready, config: QuantizeConfig) -> Iterator[Tensor]:
    """Everything that has a width of its own, but the output."""
    _, plan = ready.planned()
    for node in plan.kernels:
        given = given_step(required(node, 0)) is not None
        yield from ((node_name(node), width) for width in OF_KERNEL if not (given and width == "activation_bits"))
    yield from ((node_name(node), "weight_bits") for node, _ in plan.matrices)
    for value in plan.points:
        width = field_of(value, plan, config)
        if width != "output_bits":
            yield str(value.name), width


def _with(config: QuantizeConfig, bits: dict[Tensor, int]) -> QuantizeConfig:
    return replace(config, widths=tuple((*tensor, width) for tensor, width in bits.items()))


def _order(ready: Ready, config: QuantizeConfig, full: dict[Tensor, int], progress: Progress) -> list[Tensor]:
    """Tensors in the order in which a bit is taken from each, until all have the fewest."""
    whole = ready.quantize(config, fit_layers=False)
    probed: list[Probed] = []
    for number, (tensor, bits) in enumerate(full.items(), 1):
        progress(f"tensor {number} of {len(full)} narrowed alone")
        fewest = max(limits(tensor[1])[0], FEWEST)
        low = max(bits - PROBED, fewest)
        try:
            narrow = ready.quantize(_with(config, {tensor: low}), fit_layers=False) if low < bits else whole
        except ModelError:  # a kernel that is not stable with so few bits
            continue
        saved = 1 - _cost(narrow, whole)
        if saved > 0:
            noise = max(_noise(narrow) - _noise(whole), LEAST_NOISE) / (4.0 ** (bits - low) - 1)
            probed.append(Probed(tensor, noise, saved / (bits - low), bits - fewest))
    return [probed[index].tensor for index in in_order(probed)]


@dataclass(frozen=True)
class Probed:
    """A tensor: noise at full width, what a bit saves, and how many bits can be taken away."""

    tensor: Tensor
    noise: float
    saved: float
    most: int


def in_order(tensors: Sequence[Probed]) -> list[int]:
    """Whose bit is taken away first, second, ...: the least growth of noise for what is saved."""
    growth = [(3 * t.noise * 4.0**taken / t.saved, index) for index, t in enumerate(tensors) for taken in range(t.most)]
    return [index for _, index in sorted(growth)]


def _noise(made: Quantized) -> float:
    """Error power over output power."""
    return float(10 ** (-made.fidelity.sqnr_db / 10))


def _cost(made: Quantized, whole: Quantized) -> float:
    """Mean of the three figures, relative to another model's."""
    each = ((getattr(figures(uses(m.program)), name) for m in (made, whole)) for name in ("ace", "size_bits", "adc"))
    return float(np.mean([part / max(of, 1) for part, of in each]))

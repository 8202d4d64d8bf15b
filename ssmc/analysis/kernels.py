"""Everything known about one state-space operation without running the model, channel by channel, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ssmc.analysis.linear import Limits, LinearKernel, linear_kernel
from ssmc.analysis.noise import OutputNoise, fewest_adc_bits, output_noise, sqnr_db
from ssmc.analysis.observe import MOST_OVERLOAD, Observation, judge, observe, white_codes
from ssmc.analysis.qs4d_metrics import driven_states
from ssmc.analysis.ranges import Ranges, typical, worst_case
from ssmc.ir.operations import StateSpace
from ssmc.ir.program import Program
from ssmc.ir.quant import bits_for
from ssmc.ir.rounding import FloatArray, IntArray

TARGET_DB = 30.0
DIGITS = 4
LOUD = 0.25


@dataclass(frozen=True)
class ChannelFacts:
    """One group of a kernel.

    Attributes:
        channel: its number.
        form: ``direct``, ``delta`` or ``mixed``.
        states: live ones.
        fastest, slowest: smallest and largest |λ|; None where no state lives.
        margin: 1 - slowest.
        worst_register, typical_register: l1 bound and standard deviation of the states, as shares of what the registers
            hold, largest over the states; the bound is None where the kernel does not decay. At most 1: no overflow.
        worst_adc, typical_adc: likewise for what the converters see, state rows and output rows.
        sqnr_db: predicted signal to quantization noise of the weakest output; None: the model is not valid here.
        why: why there is no ratio: ``unstable``, ``no signal``, ``saturation``, ``errors are not white``, ``no noise``.
        from_readout, from_state, from_output: shares of the noise by quantizer.
        adc_bits: fewest converter bits that reach the target; None: none up to 16, or not valid.
    """

    channel: int
    form: str
    states: int
    fastest: float | None
    slowest: float | None
    margin: float | None
    worst_register: float | None
    typical_register: float
    worst_adc: float | None
    typical_adc: float
    sqnr_db: float | None
    why: str
    from_readout: float
    from_state: float
    from_output: float
    adc_bits: int | None


@dataclass(frozen=True)
class KernelAnalysis:
    """A kernel's channels, and what was fed: ``data``, or ``white``: Gaussian codes, 4 deviations of which just fit."""

    name: str
    signal: str
    target_db: float
    channels: tuple[ChannelFacts, ...]


def analyse(
    program: Program,
    op: StateSpace,
    sequences: Sequence[IntArray] | None = None,
    target_db: float = TARGET_DB,
) -> KernelAnalysis:
    """Analyse one operation.

    Args:
        program: whose values give the range of the input codes.
        op: the operation.
        sequences: its input codes (T, H, m) on data; None: white codes.
        target_db: SQNR that the fewest ADC bits are to reach.
    """
    kernel = linear_kernel(op)
    sizes = np.abs(np.linalg.eigvals(kernel.A))
    stable = sizes.max(-1, initial=0.0) < 1
    kernel = replace(kernel, A=np.where(stable[:, None, None], kernel.A, 0.0))
    quant, start = program.values[op.inputs[0]].quant, op.register0.astype(np.float64)
    lo, hi = (np.full((op.matrix.groups, op.n_input), float(end)) for end in (quant.lo, quant.hi))
    fed = white_codes(lo, hi, _loudness(kernel, lo, hi)) if sequences is None else list(sequences)
    seen = observe(kernel, fed, start)
    worst = _shares(kernel, worst_case(kernel, lo, hi, start))
    usual = _shares(kernel, typical(kernel, seen.drive[:, op.n_state :]))
    noise = output_noise(kernel, seen.steps)
    figures = _figures(kernel, noise, seen, target_db, adc_bits(op))
    channels = tuple(
        _channel(op, group, sizes[group], worst[:, group], usual[:, group], figures)
        for group in range(op.matrix.groups)
    )
    return KernelAnalysis(op.name, "white" if sequences is None else "data", target_db, channels)


def adc_bits(op: StateSpace) -> int:
    """Width of the widest code that any of its converters delivers."""
    requants = [r for r in (op.requant, op.output_requant) if r is not None]
    return max(bits_for(int(r.lo.min(initial=0)), int(r.hi.max(initial=0))) for r in requants)


@dataclass(frozen=True)
class _Figures:
    """Per group: SQNR of the weakest output, why it may not be believed, shares of the noise (3, H), ADC bits."""

    sqnr: FloatArray
    why: list[str]
    shares: FloatArray
    bits: FloatArray


def _figures(kernel: LinearKernel, noise: OutputNoise, seen: Observation, target_db: float, bits: int) -> _Figures:
    verdict = judge(kernel, noise, seen)
    ratio = sqnr_db(seen.signal, noise.total)
    why = np.select(
        [
            ~(seen.signal > 0).all(-1),
            (verdict.overload > MOST_OVERLOAD).any(-1),
            ~verdict.valid.all(-1),
            ~np.isfinite(ratio.min(-1)),
        ],
        ["no signal", "saturation", "errors are not white", "no noise"],
        "",
    )
    total = np.maximum(noise.total.sum(-1), np.finfo(float).tiny)
    parts = np.stack([noise.readout.sum((1, 2)), noise.state.sum((1, 2)), noise.output.sum(-1)])
    fewest = fewest_adc_bits(kernel, seen.signal, bits, target_db, seen.steps)
    return _Figures(ratio.min(-1), why.tolist(), parts / total, fewest)


def _loudness(kernel: LinearKernel, lo: FloatArray, hi: FloatArray) -> FloatArray:
    """Deviation of white inputs (H, m) that fills a quarter of the fullest converter, register or input range."""
    share = _shares(kernel, typical(kernel, np.ones(lo.shape))).max(0)[:, None]
    return np.asarray(LOUD * np.minimum((hi - lo) / 2, 1 / np.maximum(share, np.finfo(float).tiny)))


def _shares(kernel: LinearKernel, ranges: Ranges) -> FloatArray:
    """Register and converter ranges as shares of what they hold, largest of each group: (2, H)."""
    register = ranges.register / _room(kernel.register)
    adc = [ranges.adc_state / _room(kernel.adc_state), ranges.adc_output / _room(kernel.adc_output)]
    return np.stack([register.max(-1, initial=0.0), np.concatenate(adc, -1).max(-1)])


def _room(limits: Limits) -> FloatArray:
    return np.maximum(np.minimum(np.abs(limits.lo), np.abs(limits.hi)), 1.0)


def _channel(
    op: StateSpace, group: int, sizes: FloatArray, worst: FloatArray, usual: FloatArray, figures: _Figures
) -> ChannelFacts:
    live = driven_states(op)[group]
    sizes = np.sort(sizes)[len(live) - int(live.sum()) :]  # the others rest: poles at 0
    stable = bool((sizes < 1).all())
    kinds = set(op.keep[group][live].tolist())
    why = "unstable" if not stable else figures.why[group]
    known = not why
    bits = figures.bits[group]
    return ChannelFacts(
        channel=group,
        form="mixed" if len(kinds) > 1 else "direct" if kinds == {0} else "delta",
        states=int(live.sum()),
        fastest=_number(sizes.min(initial=np.inf)),
        slowest=_number(sizes.max(initial=0.0)) if len(sizes) else None,
        margin=_number(1 - sizes.max(initial=0.0)) if len(sizes) else None,
        worst_register=_number(worst[0]) if stable else None,
        typical_register=round(float(usual[0]), DIGITS),
        worst_adc=_number(worst[1]) if stable else None,
        typical_adc=round(float(usual[1]), DIGITS),
        sqnr_db=round(float(figures.sqnr[group]), 2) if known else None,
        why=why,
        from_readout=round(float(figures.shares[0, group]), DIGITS),
        from_state=round(float(figures.shares[1, group]), DIGITS),
        from_output=round(float(figures.shares[2, group]), DIGITS),
        adc_bits=int(bits) if known and np.isfinite(bits) else None,
    )


def _number(value: float) -> float | None:
    return round(float(value), 2 + DIGITS) if np.isfinite(value) else None

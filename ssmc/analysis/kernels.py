"""Everything known about one state-space operation without running the model, channel by channel, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ssmc.analysis.linear import Limits, LinearKernel, in_blocks, linear_kernel
from ssmc.analysis.noise import OutputNoise, fewest_adc_bits, scaled_noise, sqnr_db, unit_noise
from ssmc.analysis.observe import MOST_OVERLOAD, Observation, judge, observe, white_codes, white_noise
from ssmc.analysis.qs4d_metrics import driven_states
from ssmc.analysis.ranges import CHUNK, MOST_CHUNKS, Ranges, typical, worst_case
from ssmc.ir.operations import StateSpace
from ssmc.ir.program import Program
from ssmc.ir.quant import bits_for
from ssmc.ir.rounding import FloatArray, IntArray

TARGET_DB = 30.0
DIGITS = 4
LOUD = 0.25
NOT_ANALYSED = "not analysed"
#: multiplications that the analysis of a kernel may take; a diagonal kernel of 128 channels of 128 states takes 2e9
MOST_WORK = 1e11
#: states that are looked at together: their signals fill the cache, not the memory
MOST_STATES = 1024


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
        why: why there is no ratio: ``unstable``, ``no signal``, ``saturation``, ``errors are not white``, ``no noise``,
            ``not analysed`` (then ranges and shares are None as well).
        from_readout, from_state, from_output: shares of the noise by quantizer.
        adc_bits: fewest converter bits that reach the target; None: none up to 16, or not valid.
    """

    channel: int
    form: str
    states: int
    fastest: float | None
    slowest: float | None
    margin: float | None
    worst_register: float | None = None
    typical_register: float | None = None
    worst_adc: float | None = None
    typical_adc: float | None = None
    sqnr_db: float | None = None
    why: str = ""
    from_readout: float | None = None
    from_state: float | None = None
    from_output: float | None = None
    adc_bits: int | None = None


@dataclass(frozen=True)
class KernelAnalysis:
    """A kernel's channels, and what was fed: ``data``, or ``white``: Gaussian codes, 4 deviations of which just fit.

    Attributes:
        skipped: why ranges and noise were left out; empty where they were not.
    """

    name: str
    signal: str
    target_db: float
    channels: tuple[ChannelFacts, ...]
    skipped: str = ""


def analyse(
    program: Program,
    op: StateSpace,
    sequences: Sequence[IntArray] | None = None,
    target_db: float = TARGET_DB,
) -> KernelAnalysis:
    """Analyse one operation, a few channels at a time; poles alone where the rest would take more than ``MOST_WORK``.

    Args:
        program: whose values give the range of the input codes.
        op: the operation.
        sequences: its input codes (T, H, m) on data; None: white codes.
        target_db: SQNR that the fewest ADC bits are to reach.
    """
    kernel, quant = linear_kernel(op), program.values[op.inputs[0]].quant
    shape = op.matrix.groups, op.n_input
    lo, hi = (np.full(shape, float(end)) for end in (quant.lo, quant.hi))
    noise = white_noise(*shape) if sequences is None else []
    fed = _Fed(lo, hi, op.register0.astype(np.float64), noise, list(sequences or ()))
    work = _work(kernel)
    figures = [_figures(kernel.part(g), fed.part(g), target_db, adc_bits(op)) for g in _parts(op) if work <= MOST_WORK]
    skipped = "" if work <= MOST_WORK else f"it takes {work:.1e} multiplications, the limit is {MOST_WORK:.0e}"
    channels = _channels(op, kernel, figures)
    return KernelAnalysis(op.name, "white" if sequences is None else "data", target_db, channels, skipped)


@dataclass(frozen=True)
class _Fed:
    """Ends of the input range (H, m), first registers (H, n), and sequences (T, H, m): of noise, or of codes."""

    lo: FloatArray
    hi: FloatArray
    start: FloatArray
    noise: list[FloatArray]
    codes: list[IntArray]

    def part(self, groups: slice) -> _Fed:
        noise, codes = [x[:, groups] for x in self.noise], [x[:, groups] for x in self.codes]
        return _Fed(self.lo[groups], self.hi[groups], self.start[groups], noise, codes)

    def sequences(self, kernel: LinearKernel) -> list[IntArray]:
        """The codes; those of noise are as loud as fits the kernel."""
        if not self.noise:
            return self.codes
        spread = _loudness(kernel, self.lo, self.hi)
        return [white_codes(noise, self.lo, self.hi, spread) for noise in self.noise]


def _parts(op: StateSpace) -> list[slice]:
    """Runs of channels with at most ``MOST_STATES`` states, or one channel."""
    size = max(MOST_STATES // op.n_state, 1)
    return [slice(start, start + size) for start in range(0, op.matrix.groups, size)]


def _work(kernel: LinearKernel) -> float:
    """Multiplications of the sums over all steps (`ssmc.analysis.ranges`), most of what an analysis takes."""
    groups, blocks, b = kernel.blocks.index.shape
    p, m = kernel.D.shape[1:]
    return float(groups * blocks * b * (2 * b + p) * (2 * b + m + 1) * CHUNK * MOST_CHUNKS)


def adc_bits(op: StateSpace) -> int:
    """Width of the widest code that any of its converters delivers."""
    requants = [r for r in (op.requant, op.output_requant) if r is not None]
    return max(bits_for(int(r.lo.min(initial=0)), int(r.hi.max(initial=0))) for r in requants)


@dataclass(frozen=True)
class _Figures:
    """Per group: range shares (2, H), SQNR of the weakest output, doubts about it, noise shares (3, H), ADC bits."""

    worst: FloatArray
    usual: FloatArray
    sqnr: FloatArray
    why: list[str]
    shares: FloatArray
    bits: FloatArray


def _figures(kernel: LinearKernel, fed: _Fed, target_db: float, bits: int) -> _Figures:
    stable = kernel.modes.radius < 1
    kernel, start = in_blocks(replace(kernel, A=np.where(stable[:, None, None], kernel.A, 0.0)), fed.start)
    seen = observe(kernel, fed.sequences(kernel), start)
    gain = unit_noise(kernel, seen.steps)
    noise = scaled_noise(kernel, gain)
    total = np.maximum(noise.total.sum(-1), np.finfo(float).tiny)
    parts = np.stack([noise.readout.sum((1, 2)), noise.state.sum((1, 2)), noise.output.sum(-1)])
    return _Figures(
        _shares(kernel, worst_case(kernel, fed.lo, fed.hi, start)),
        _shares(kernel, typical(kernel, seen.drive[:, kernel.A.shape[-1] :])),
        sqnr_db(seen.signal, noise.total).min(-1),
        _doubts(kernel, noise, seen),
        parts / total,
        fewest_adc_bits(kernel, seen.signal, bits, target_db, gain),
    )


def _doubts(kernel: LinearKernel, noise: OutputNoise, seen: Observation) -> list[str]:
    """Why the prediction may not be believed, by group; empty where it may."""
    verdict = judge(kernel, noise, seen)
    ratio = sqnr_db(seen.signal, noise.total).min(-1)
    cases = {
        "no signal": ~(seen.signal > 0).all(-1),
        "saturation": (verdict.overload > MOST_OVERLOAD).any(-1),
        "errors are not white": ~verdict.valid.all(-1),
        "no noise": ~np.isfinite(ratio),
    }
    found: list[str] = np.select(list(cases.values()), list(cases), "").tolist()
    return found


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


def _channels(op: StateSpace, kernel: LinearKernel, figures: list[_Figures]) -> tuple[ChannelFacts, ...]:
    live = driven_states(op)
    sizes = np.sort(np.abs(kernel.modes.values).reshape(len(live), -1), 1)
    known: list[tuple[_Figures | None, int]] = [(None, 0)] * len(live)
    if figures:
        known = [(part, group) for part in figures for group in range(len(part.why))]
    return tuple(
        _channel(number, _form(op, number, on), row[len(row) - int(on.sum()) :], *where)
        for number, (on, row, where) in enumerate(zip(live, sizes, known, strict=True))
    )


def _form(op: StateSpace, group: int, live: NDArray[np.bool_]) -> str:
    kinds = set(op.keep[group][live].tolist())
    return "mixed" if len(kinds) > 1 else "direct" if kinds == {0} else "delta"


def _channel(channel: int, form: str, sizes: FloatArray, found: _Figures | None, at: int) -> ChannelFacts:
    """``sizes``: magnitudes of the live poles, ascending; the figures of the channel are number ``at`` of ``found``."""
    stable = bool((sizes < 1).all())
    poles = {
        "channel": channel,
        "form": form,
        "states": len(sizes),
        "fastest": _number(sizes.min(initial=np.inf)),
        "slowest": _number(sizes.max(initial=0.0)) if len(sizes) else None,
        "margin": _number(1 - sizes.max(initial=0.0)) if len(sizes) else None,
    }
    if found is None:
        return ChannelFacts(**poles, why="unstable" if not stable else NOT_ANALYSED)  # type: ignore[arg-type]
    why = "unstable" if not stable else found.why[at]
    bits = found.bits[at]
    return ChannelFacts(
        **poles,  # type: ignore[arg-type]
        worst_register=_number(found.worst[0, at]) if stable else None,
        typical_register=round(float(found.usual[0, at]), DIGITS),
        worst_adc=_number(found.worst[1, at]) if stable else None,
        typical_adc=round(float(found.usual[1, at]), DIGITS),
        sqnr_db=round(float(found.sqnr[at]), 2) if not why else None,
        why=why,
        from_readout=round(float(found.shares[0, at]), DIGITS),
        from_state=round(float(found.shares[1, at]), DIGITS),
        from_output=round(float(found.shares[2, at]), DIGITS),
        adc_bits=int(bits) if not why and np.isfinite(bits) else None,
    )


def _number(value: float) -> float | None:
    return round(float(value), 2 + DIGITS) if np.isfinite(value) else None

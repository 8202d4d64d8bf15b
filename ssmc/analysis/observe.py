"""What signals do to a kernel's quantizers: the linear kernel is run on real input codes, and every rounding watched.

The white-noise model is believed where two things hold, both measured on the reference (no integer is simulated):

- *no colour*: for an input z whose residue is uniform, the error of rounding has the autocorrelation

      E e_t e_(t-k) = sum_(m>=1) E cos(2 pi m (z_t - z_(t-k))) / (2 pi^2 m^2)        (Sripad and Snyder 1977)

  0 where z moves by a step or so between the two, 1/12 where it rests (dead zones, limit cycles). With these instead of
  0 for k = 1..32, and alike for the errors of two states at one time (E cos 2 pi m (z_i - z_j) - E cos 2 pi m
  (z_i + z_j)), the predicted noise is ``colour_db`` louder. A quantizer that rests while its mode turns may instead
  sustain a limit cycle at the pole's frequency: the same with every lag in phase must be as little.
- *no overload*: what lies beyond the code ranges, run through the linear kernel, leaves at the output a power that is
  small against the predicted noise (``overload``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmc.analysis.linear import LinearKernel
from ssmc.analysis.modes import response, response_products
from ssmc.analysis.noise import OutputNoise, flushed, power_at_output
from ssmc.analysis.run import overloaded, padded, reference, time_last
from ssmc.ir.rounding import FloatArray, IntArray, round_half_even

HARMONICS = 3  # of two states at one time they are written out
LAGS = 32
WEIGHT = sum(1 / m**2 for m in range(1, HARMONICS + 1))
RESPONSE = 512
MOST_COLOUR_DB = 0.5
MOST_OVERLOAD = 0.1
CACHED = 1 << 15  # numbers of a tile
SPAN = 32  # transforms take a multiple of so many steps
WHITE_STEPS = 256
WHITE_SEQUENCES = 2

SingleArray = NDArray[np.float32]


@dataclass(frozen=True)
class Observation:
    """What the input sequences did.

    Attributes:
        signal: variance of y, (H, p), in squared codes.
        drive: mean square of the rows v = [R; u], (H, n + m).
        overload: power that saturation leaves at the outputs, to first order, (H, p).
        steps: mean length of a sequence.
        readout, state: autocorrelation of the errors, relative to white, (LAGS + 1, H, n); 0 where nothing is rounded.
        together: correlation of the errors of two state rows at one time, (H, n, n), likewise.
    """

    signal: FloatArray
    drive: FloatArray
    overload: FloatArray
    steps: float
    readout: FloatArray
    state: FloatArray
    together: FloatArray


@dataclass(frozen=True)
class Verdict:
    """Whether the white-noise model holds, per output (H, p).

    Attributes:
        colour_db: predicted noise with the errors' own autocorrelation, in dB over white.
        overload: power that saturation leaves at the output, relative to the predicted noise.
    """

    colour_db: FloatArray
    overload: FloatArray

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(H, p)."""
        return np.asarray((np.abs(self.colour_db) <= MOST_COLOUR_DB) & (self.overload <= MOST_OVERLOAD))


def white_noise(groups: int, inputs: int, seed: int = 0) -> list[FloatArray]:
    """Gaussian sequences (T, H, m) of deviation 1, the same every time."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((WHITE_STEPS, groups, inputs)) for _ in range(WHITE_SEQUENCES)]


def white_codes(noise: FloatArray, lo: FloatArray, hi: FloatArray, spread: FloatArray) -> IntArray:
    """Input codes (T, H, m) of deviation ``spread``, amid lo..hi, all (H, m)."""
    return np.clip(round_half_even((lo + hi) / 2 + spread * noise), lo, hi).astype(np.int64)


def observe(kernel: LinearKernel, sequences: Sequence[IntArray], start: FloatArray) -> Observation:
    """Run the linear kernel on input codes, sequences (T, H, m), from registers ``start`` (H, n)."""
    n, (groups, p, m) = kernel.A.shape[-1], kernel.D.shape
    watch = {"readout": _Watch(kernel.readout_power > 0), "state": _Watch(kernel.state_power > 0, pairs=True)}
    square, total, overload = np.zeros((3, groups, p))
    drive, count = np.zeros((groups, n + m)), 0
    for u, lengths in padded(sequences):
        run = reference(kernel, u, lengths, start)
        for name, one in watch.items():
            one.add(time_last(getattr(run, name)), lengths)
        square, total = square + (run.output**2).sum((1, 2)), total + run.output.sum((1, 2))
        overload = overload + (overloaded(kernel, run) ** 2).sum((1, 2))
        read = time_last(run.readout).reshape(groups, n, -1)
        drive[:, :n] += np.einsum("hkt,hkt->hk", read, read)
        drive[:, n:] += (u.astype(np.float64) ** 2).sum((1, 2))
        count += int(lengths.sum())
    count = max(count, 1)
    return Observation(
        signal=square / count - (total / count) ** 2,
        drive=drive / count,
        overload=overload / count,
        steps=count / max(len(sequences), 1),
        readout=watch["readout"].correlation(),
        state=watch["state"].correlation(),
        together=watch["state"].together(),
    )


def judge(kernel: LinearKernel, noise: OutputNoise, seen: Observation) -> Verdict:
    """Hold the predicted noise against what the roundings really see."""
    gains = _responses(kernel)
    total = np.where(noise.total > 0, noise.total, 1.0)
    extra, turning = np.zeros((2, *total.shape))
    for gain, variance, errors in zip(gains, (noise.readout, noise.state), (seen.readout, seen.state), strict=True):
        extra += (variance * 2 * (gain[1:] * errors[1:, :, None]).sum(0)).sum(-1)
        turning += (variance * 2 * (np.abs(gain[1:]) * errors[1:, :, None]).sum(0)).sum(-1)
    deviation = np.sqrt(kernel.state_power)
    pairs = seen.together * (1 - np.eye(seen.together.shape[-1])) * deviation[:, :, None] * deviation[:, None, :]
    extra += power_at_output(kernel, pairs, seen.steps)
    with np.errstate(divide="ignore", invalid="ignore"):
        colour, cycles = (10 * np.log10(np.maximum(1 + power / total, 1e-9)) for power in (extra, turning))
    worse = np.where(np.abs(cycles) > np.abs(colour), cycles, colour)
    return Verdict(np.where(noise.total > 0, worse, 0.0), seen.overload / total)


def _responses(kernel: LinearKernel) -> tuple[FloatArray, FloatArray]:
    """Autocorrelation of the responses at the output to e_R and to e_q, 1 at lag 0, (LAGS + 1, H, p, n) each."""
    blocks, modes = kernel.blocks, kernel.modes
    C, G = blocks.gather(kernel.C, 2), blocks.square(kernel.G)
    seen = modes.inverse @ G
    parts = (
        response_products(modes, C, modes.inverse, RESPONSE, LAGS),
        response_products(modes, C, seen, RESPONSE - 1, LAGS),
        response(modes, C, seen, LAGS),
    )
    state, through, first = (np.moveaxis(blocks.scatter(part, 2), 3, 0) for part in parts)
    through[0] += kernel.F**2
    through[1:] += kernel.F * first
    lost = np.flatnonzero(~modes.sound)
    if lost.size:
        through[:, lost], state[:, lost] = _step_by_step(kernel.part(lost))
    return _relative(through), _relative(state)


def _relative(lags: FloatArray) -> FloatArray:
    return np.asarray(lags / np.where(lags[0] > 0, lags[0], 1.0))


def _step_by_step(kernel: LinearKernel) -> tuple[FloatArray, FloatArray]:
    """Sums of products of the responses, for eigenvectors that are nearly parallel."""
    rows = [kernel.C]
    for _ in range(RESPONSE - 1):
        rows.append(flushed(rows[-1] @ kernel.A))
    state = np.stack(rows)
    return _products(np.concatenate([kernel.F[None], state[:-1] @ kernel.G])), _products(state)


def _products(response: FloatArray) -> FloatArray:
    power = np.abs(np.fft.rfft(response, 2 * RESPONSE, 0)) ** 2
    return np.asarray(np.fft.irfft(power, 2 * RESPONSE, 0)[: LAGS + 1])


class _Watch:
    """Sums over all steps of what those quantizers of one kind see that round; with ``pairs`` of two at one time too.

    With w_t = exp(2 pi i z_t) the sum of cos 2 pi m (z_t - z_(t-k)) over t is the real part of the autocorrelation of
    w^m at lag k: the transform of its power spectrum, which sequences and harmonics share. In single precision from
    the fractions of steps on: a verdict of half a decibel needs no more.
    """

    def __init__(self, rounds: NDArray[np.bool_], pairs: bool = False) -> None:
        self.rounds = rounds
        self.products = np.zeros((*rounds.shape, LAGS + 1))
        self.crossed = np.zeros((*rounds.shape, rounds.shape[1] if pairs else 0))
        self.count = np.zeros(LAGS + 1)

    def add(self, z: FloatArray, lengths: IntArray) -> None:
        """Z (H, k, N, T), in steps; only the first ``lengths`` count."""
        inside = np.arange(z.shape[3]) < lengths[:, None]
        some = z[self.rounds]
        angle = (2 * np.pi * (some - round_half_even(some))).astype(np.float32)
        cosine, sine = np.cos(angle) * inside, np.sin(angle) * inside
        size = max(CACHED // (z.shape[2] * z.shape[3]), 1)
        tiles = [_lagged(*(x[at : at + size] for x in (cosine, sine))) for at in range(0, len(some), size)]
        if tiles:
            self.products[self.rounds] += np.concatenate(tiles)
        if self.crossed.size:  # cos(a - b) - cos(a + b) = 2 sin a sin b
            for m, part in enumerate((sine, 2 * sine * cosine, sine * (3 - 4 * sine**2)), 1):
                rows = np.zeros((*self.rounds.shape, inside.size), np.float32)
                rows[self.rounds] = part.reshape(len(part), inside.size)
                self.crossed += 2 / m**2 * (rows @ rows.swapaxes(1, 2))
        self.count += np.maximum(lengths - np.arange(LAGS + 1)[:, None], 0).sum(-1)

    def correlation(self) -> FloatArray:
        """Mean over all pairs of steps, harmonics weighted by their share; 1 for errors that do not change."""
        return np.moveaxis(self.products / (WEIGHT * np.maximum(self.count, 1)), 2, 0)

    def together(self) -> FloatArray:
        """Errors of two quantizers at one time: 1 for equal, -1 for opposite ones."""
        return np.asarray(self.crossed / (WEIGHT * max(self.count[0], 1)))


def _lagged(cosine: SingleArray, sine: SingleArray) -> FloatArray:
    """Sums over t and the sequences, harmonics weighted, for every lag, (k, LAGS + 1), of tiles (k, N, T)."""
    wave = cosine + np.complex64(1j) * sine
    size = -(-(cosine.shape[2] + LAGS) // SPAN) * SPAN
    harmonic, power = wave, np.zeros((len(wave), size))
    for m in range(1, HARMONICS + 1):
        spectrum = np.fft.fft(harmonic, size)
        power += (spectrum.real**2 + spectrum.imag**2).sum(1) / m**2
        harmonic = harmonic * wave
    return np.asarray(np.fft.ifft(power)[:, : LAGS + 1].real)

"""Published models of memory cells: how far a written cell is off, how it drifts, how it flickers.

Conductances enter as g^ = g / g_max. Fits are given in microsiemens at the reference range of their source and
scaled to the array's own range, sigma(g^) = fit(g^) g_max / g_ref, as aihwkit does. Three effects:

- *programming*: g_p = max(0, g + sigma_p(g^) z);
- *drift*: g(t) = g_p ((t + t_0) / t_0)^-nu, nu = |mu_nu(g^) + sigma_nu(g^) z'|, t = 0 when programming ends;
- *low-frequency noise* (1/f, integrated from the first read to t; one value per cell and evaluation):
  sigma = g(t) Q(g_p^) sqrt(ln((t + t_0 + t_r) / (2 t_r))), t_r the read time.

Sources, read in aihwkit's files (MIT; published data) or, where said, in CrossSim: Nandakumar et al. ICECS 2019,
Le Gallo et al. Nat. Electron. 2023, Wan et al. Nature 2022, Milo et al. (CrossSim), Joshi et al. 2020 (CrossSim).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.floating]
SMALLEST = 1e-7
DAY_S = 86_400.0


@dataclass(frozen=True)
class Flicker:
    """Relative 1/f noise Q(g^) and the read time t_r."""

    q: Callable[[Real], Real]
    read_s: float

    def sigma(self, relative: Real, seconds_since_write: float) -> Real:
        """Standard deviation / g(t); ``seconds_since_write`` = t + t_0."""
        grown = np.log((seconds_since_write + self.read_s) / (2 * self.read_s))
        return np.asarray(self.q(relative) * np.sqrt(grown))


@dataclass(frozen=True)
class Device:
    """A cell.

    Attributes:
        sigma_p: programming spread in microsiemens at g_ref, per time since programming in seconds (first: at once).
            Between times it is interpolated in log t, after the last it stays: sources give isolated times.
        g_ref_us: range of the fit.
        nu: mean and spread of the drift exponent, or None.
        t0_s: first read after programming.
        flicker: 1/f noise, or None.
        source: where from.
    """

    sigma_p: tuple[tuple[float, Callable[[Real], Real]], ...]
    g_ref_us: float
    source: str
    nu: tuple[Callable[[Real], Real], Callable[[Real], Real]] | None = None
    t0_s: float = 1.0
    flicker: Flicker | None = None

    def programming_sigma(self, relative: Real, time_s: float = 0.0) -> Real:
        """sigma_p(g^) / g_max."""
        times = np.log([max(t, 1.0) for t, _ in self.sigma_p])
        spreads = np.stack([np.maximum(fit(relative), 0.0) for _, fit in self.sigma_p]) / self.g_ref_us
        at = np.interp(np.log(max(time_s, 1.0)), times, np.arange(len(times)))
        low = int(at)
        high = min(low + 1, len(times) - 1)
        return np.asarray(spreads[low] + (at - low) * (spreads[high] - spreads[low]))

    def drift(self, relative: Real, z: Real, time_s: float) -> Real:
        """g(t) / g_p of cells with standard normal ``z``."""
        if self.nu is None or time_s <= 0:
            return np.ones_like(relative)
        mean, spread = (part(np.maximum(relative, SMALLEST)) for part in self.nu)
        exponent = np.abs(mean + spread * z)
        return np.asarray(((time_s + self.t0_s) / self.t0_s) ** -exponent)


def _fit(coefficients: Sequence[float], scale: float = 1.0) -> Callable[[Real], Real]:
    """``sum_i c_i (scale g^)^i``."""

    def value(g: Real) -> Real:
        from numpy.polynomial import Polynomial  # only devices that are simulated need it

        return np.asarray(Polynomial(coefficients)(scale * g))

    return value


def _log(slope: float, offset: float, lo: float, hi: float) -> Callable[[Real], Real]:
    """``clip(slope ln g^ + offset, lo, hi)``."""
    return lambda g: np.clip(slope * np.log(np.maximum(g, SMALLEST)) + offset, lo, hi)


def _below(edge: float, low: Callable[[Real], Real], high: Callable[[Real], Real]) -> Callable[[Real], Real]:
    return lambda g: np.where(g < edge, low(g), high(g))


def _pcm_q(g: Real) -> Real:
    """``min(0.0088 / g^0.65, 0.2)``."""
    return np.asarray(np.minimum(0.0088 / np.maximum(g**0.65, 1e-3), 0.2))


def _hermes(devices: int) -> Device:
    one = devices == 1
    programming = (
        [0.15781817, 2.32443916, -2.16310839, 0.68841818] if one else [0.16603222, 4.71806468, -8.48101252, 4.68961419]
    )
    mean = _below(0.0945, _log(-0.0387, -0.0182, 0.072, 0.13), _fit([0.0736, -0.0126, -0.0436]))
    spread = (
        _below(0.3039, _log(-0.0120, -0.0023, 0.0124, 0.04), _fit([0.0104, 0.0116, -0.0165]))
        if one
        else _below(0.3055, _log(-0.0117, -0.0057, 0.0091, 0.04), _fit([0.0073, 0.0093, -0.0118]))
    )
    q = (
        _below(0.1591, _log(-0.0078, 0.0038, 0.0179, 0.04), _fit([0.0088, 0.0768, -0.1352, 0.0664]))
        if one
        else _below(0.16, _log(-0.0117, -0.0069, 0.015, 0.04), _fit([0.0123, 0.0211, -0.0280, 0.0069]))
    )
    return Device(
        ((0.0, _fit(programming)),),
        10.35 if one else 20.7,
        f"HERMES chip, {devices} device{'s'[one:]} per cell: Le Gallo 2023, aihwkit hermes.py",
        (mean, spread),
        200.0 if one else 300.0,
        Flicker(q, 512e-9),
    )


DEVICES: dict[str, Device] = {
    "pcm": Device(
        ((0.0, _fit([0.26348, 1.9650, -1.1731])),),
        25.0,
        "PCM: Nandakumar 2019, aihwkit pcm.py",
        (_log(-0.0155, 0.0244, 0.049, 0.1), _log(-0.0125, -0.0059, 0.008, 0.045)),
        20.0,
        Flicker(_pcm_q, 250e-9),
    ),
    "hermes1": _hermes(1),
    "hermes2": _hermes(2),
    "pcm_joshi": Device(
        ((0.0, _fit([0.28638599, 0.07585724, -0.00178767], 25.0)),),
        25.0,
        "PCM: Joshi 2020, CrossSim; mean drift exponent 0.06, no spread given",
        (lambda g: np.full_like(g, 0.06), np.zeros_like),
        20.0,
    ),
    "reram_wan": Device(
        (
            (1.0, _fit([0.348, 16.030, -43.853, 45.393, -16.815])),
            (DAY_S, _fit([0.701, 22.086, -50.773, 47.095, -16.458])),
            (2 * DAY_S, _fit([0.782, 20.274, -43.507, 37.062, -11.934])),
        ),
        40.0,
        "NeuRRAM ReRAM at 1 s, 1 day, 2 days: Wan 2022, aihwkit reram.py",
    ),
    "reram_milo": Device(
        ((0.0, _fit([4.782321, -0.009107], 225.0)),),
        225.0,
        "HfO2 ReRAM, 50 to 225 uS: Milo, CrossSim",
    ),
}

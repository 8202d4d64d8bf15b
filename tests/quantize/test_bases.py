"""A kernel in any linear basis: HiPPO's and the LMU's matrices, whose eigenvectors are nearly parallel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import expm

from ssmc.analysis.noise import lyapunov
from ssmc.errors import ModelError
from ssmc.quantize import QuantizeConfig
from ssmc.quantize.bases import Kernel, dense_bases
from ssmc.quantize.kernel import quantize_kernel
from ssmc.quantize.rows import driven
from ssmc.quantize.runs import QuantizedKernel, outputs
from ssmc.quantize.steps import best_step

Array = NDArray[np.float64]


def legs(n: int) -> Kernel:
    """HiPPO-LegS by the bilinear rule (Gu et al. 2020)."""
    i, j = np.indices((n, n))
    A = -np.where(i > j, np.sqrt((2 * i + 1) * (2 * j + 1)), np.where(i == j, i + 1, 0))
    half, one = 0.01 * A, np.eye(n)
    B = 0.02 * np.sqrt(2 * np.arange(n) + 1.0)[:, None]
    return read(np.linalg.solve(one - half, one + half), np.linalg.solve(one - half, B))


def lmu(n: int) -> Kernel:
    """Legendre memory of 20 steps, zero-order hold (Voelker et al. 2019)."""
    i, j = np.indices((n, n))
    A = (2 * i + 1) * np.where(i < j, -1.0, (-1.0) ** (i - j + 1)) / 20
    B = ((2 * np.arange(n) + 1) * (-1.0) ** np.arange(n))[:, None] / 20
    both = expm(np.block([[A, B], [np.zeros((1, n + 1))]]))
    return read(both[:n, :n], both[:n, n:])


def read(A: Array, B: Array) -> Kernel:
    return Kernel(A[None], B[None], np.random.default_rng(0).standard_normal((1, 1, len(A))), np.zeros((1, 1, 1)))


def signals(seed: int) -> list[Array]:
    return [np.random.default_rng(seed + i).standard_normal((80, 1, 1)) for i in range(16)]


def run(kernel: QuantizedKernel, u: Array) -> Array:
    """Outputs (T, p) of one group in integers, one step after the other."""
    n = kernel.shift.shape[1]
    codes = np.clip(np.rint(u[:, 0] / kernel.u_step[0]), -128, 127)
    r, y = np.zeros(n), []
    for ut in codes:
        driven_by = np.clip(np.rint(r / 2.0 ** kernel.shift[0]), *kernel.dac)
        q = np.clip(np.rint(kernel.W[0] @ np.concatenate([driven_by, ut]) * kernel.ratio[0]), *kernel.adc)
        r = np.clip(kernel.keep[0] * r + q[:n], *kernel.register)
        y.append(q[n:] * kernel.y_step[0])
    return np.stack(y)


def quantized(kernel: Kernel, **options: int) -> tuple[QuantizedKernel, str]:
    fed = signals(0)
    steps = best_step(np.concatenate(fed), -128, 127, 2, True)
    chosen = quantize_kernel(kernel, fed, steps, QuantizeConfig(**options))
    return chosen.kernel, chosen.basis


def error(kernel: Kernel, made: QuantizedKernel, heard: list[Array]) -> float:
    wanted = outputs(kernel, heard)
    left = sum(float(((run(made, u) - y[:, 0]) ** 2).sum()) for u, y in zip(heard, wanted, strict=True))
    return (left / sum(float((y**2).sum()) for y in wanted)) ** 0.5


@pytest.mark.parametrize(("made", "n"), [(legs, 6), (legs, 16), (legs, 32), (lmu, 6), (lmu, 12), (lmu, 24)])
def test_eight_bits_keep_kernels_far_from_normal(made: Callable[[int], Kernel], n: int) -> None:
    kernel = made(n)
    codes, basis = quantized(kernel)
    assert basis != "modal"
    assert error(kernel, codes, signals(0)) < 0.05
    assert error(kernel, codes, signals(100)) < 0.06  # data that it was not fitted to


def test_a_kernel_that_is_written_as_modes_stays_modal() -> None:
    A = np.kron(np.diag([0.9, 0.6, 0.3]), [[0.8, -0.6], [0.6, 0.8]])
    codes, basis = quantized(read(A, np.ones((6, 1))))
    assert basis == "modal"
    assert not codes.W[0, :6, :6][np.kron(np.eye(3), np.ones((2, 2))) == 0].any()


def test_a_kernel_without_eigenvectors_has_another_basis() -> None:
    A = np.array([[0.8, 1.0], [0.0, 0.8]])
    kernel = read(A, np.ones((2, 1)))
    codes, basis = quantized(kernel)
    assert basis != "modal"
    assert error(kernel, codes, signals(0)) < 0.05


@pytest.mark.parametrize("kernel", [legs(6), lmu(12)], ids=["legs", "lmu"])
def test_every_basis_computes_the_same(kernel: Kernel) -> None:
    fed = signals(5)
    seen = driven(kernel, fed)
    expected = outputs(kernel, fed)[0]
    names = []
    for name, T, turned in dense_bases(kernel, seen.power):
        names.append(name)
        assert np.allclose(outputs(turned, fed)[0], expected, rtol=1e-6, atol=1e-8)
        assert np.allclose(seen.turned(T).after[-1], np.linalg.solve(T[0], seen.after[-1, 0]))
    assert names == ["Schur", "Schur as given", "balanced", "as given", *["equal noise"] * 3]


@pytest.mark.parametrize("kernel", [legs(6), lmu(12), legs(32)], ids=["legs", "lmu", "large"])
def test_the_states_that_make_equal_noise_make_the_least(kernel: Kernel) -> None:
    seen = driven(kernel, signals(5))
    noise = {}
    for name, T, turned in dense_bases(kernel, seen.power):
        reached = np.diagonal(seen.turned(T).power[0])
        observed = np.diagonal(lyapunov(turned.A.swapaxes(1, 2), turned.C.swapaxes(1, 2) @ turned.C)[0])
        noise[name] = reached * observed
    least = np.sqrt(noise["balanced"]).sum() ** 2 / kernel.A.shape[1]
    assert noise["equal noise"].sum() == pytest.approx(least, rel=1e-3)
    assert np.ptp(noise["equal noise"]) < 1e-3 * noise["equal noise"].max()
    assert all(noise["equal noise"].sum() <= other.sum() * (1 + 1e-6) for other in noise.values())


def test_more_state_bits_are_nearer() -> None:
    kernel = legs(16)
    errors = [error(kernel, quantized(kernel, state_bits=b, adc_bits=b)[0], signals(0)) for b in (6, 8, 12)]
    assert errors[0] > errors[1] > 0.8 * errors[2]


def test_too_few_bits_for_slow_poles_are_refused() -> None:
    T = np.tril(np.ones((8, 8)))
    A = np.linalg.inv(T) @ np.diag(np.full(8, 0.99)) @ T + np.diag(np.full(7, 0.4), -1)
    with pytest.raises(ModelError, match="SSMC-S11"):
        quantized(read(A, np.ones((8, 1))), kernel_bits=2)

"""The kernels of S4D and S4 (github.com/state-spaces/s4) from their parameters, as scans per channel.

Shapes: H channels, S independent (A, B), repeated where S < H, N modes, each for itself and its conjugate, C outputs a
channel, R the rank of the correction P.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from ssmc.export.continuous import DISCRETIZATIONS, TRANSFORMS, complex_of, discretise, likely_first
from ssmc.export.linear_scan import LinearScan, ModalScan

STEP_NAMES = ("log_dt", "inv_dt")
REAL_NAMES = ("log_A_real", "inv_A_real", "A_real")


@dataclass(frozen=True)
class Kernel:
    """What the parameters say before it is known how they are meant.

    Attributes:
        source: the module that holds them.
        dt: (H, 1) or (H, N), raw.
        real, imag: of A (H, N), raw.
        b: (H, N); 1 where the module has no B.
        c: (H, C, N).
        p: (R, H, N) where the kernel has a low-rank correction.
        lengths: L for which C may be stored as C (I - A^L), the likeliest first; 0: as it is. A run of the layer with
            more steps changes both.
    """

    source: nn.Module
    dt: Tensor
    real: Tensor
    imag: Tensor
    b: Tensor
    c: Tensor
    p: Tensor | None
    lengths: tuple[int, ...]


def find_kernel(layer: nn.Module) -> Kernel | None:
    """The kernel of a layer: its child ``kernel``, or one inside that; None where no module has the parameters."""
    child = getattr(layer, "kernel", None)
    if child is None and holds_kernel(layer):
        return _read(layer)
    if not isinstance(child, nn.Module):
        return None
    return next((_read(module) for module in child.modules() if holds_kernel(module)), None)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**module._buffers, **module._parameters}  # type: ignore[dict-item]  # None is not looked up


def holds_kernel(module: nn.Module) -> bool:
    """Whether a module has the parameters itself."""
    names = _tensors(module).keys()
    return "C" in names and any(n in names for n in STEP_NAMES) and any(n in names for n in REAL_NAMES)


def _read(module: nn.Module) -> Kernel:
    held = _tensors(module)
    dt = next(held[name] for name in STEP_NAMES if name in held).detach().double()
    real = next(held[name] for name in REAL_NAMES if name in held).detach().double()
    is_real = "A_imag" not in held
    c = held["C"].detach().to(torch.complex128) if is_real else complex_of(held["C"])
    c = (c if c.ndim == 3 else c[None]).transpose(0, 1)
    h = len(c)
    if "B" in held:
        b = (held["B"].detach().to(torch.complex128) if is_real else complex_of(held["B"])).reshape(real.shape)
    else:
        b = torch.ones_like(real, dtype=torch.complex128)
    imag = torch.zeros_like(real) if is_real else held["A_imag"].detach().double()
    p = complex_of(held["P"]) if "P" in held else None
    p = None if p is None else p.repeat(1, h // p.shape[1], 1)
    real, imag, b = (value.repeat(h // len(value), 1) for value in (real, imag, b))
    dt = dt.expand(h, 1) if dt.numel() == 1 else dt.reshape(h, -1)
    return Kernel(module, dt, real, imag, b, c, p, _kernel_lengths(module))


def _kernel_lengths(source: nn.Module) -> tuple[int, ...]:
    held, longest = getattr(source, "l_kernel", None), getattr(source, "l_max", None)
    lengths = [] if held is None else [int(held)]
    return tuple(dict.fromkeys([*lengths, 0, *([int(longest)] if longest else [])]))


def scans(kernel: Kernel, d: Tensor, by_output: bool = True) -> Iterator[tuple[str, LinearScan]]:
    """Every reading of the parameters as (convention, scan); ``d`` is D (H, C)."""
    source = kernel.source
    real_ways = likely_first(source, "real_transform", tuple(TRANSFORMS))
    step_ways = likely_first(source, "dt_transform", tuple(TRANSFORMS))
    signs = (1, -1) if "log_A_real" in _tensors(source) else (-1, 1)
    for step, real, sign in product(step_ways, real_ways, signs):
        dt = TRANSFORMS[step](torch.sinh(kernel.dt) if getattr(source, "dt_fast", False) else kernel.dt)
        a = torch.complex(-TRANSFORMS[real](kernel.real), sign * kernel.imag)
        words = f"{real} real part, step {step}, imaginary part {'+' if sign > 0 else '-'}"
        if kernel.p is not None:
            yield from _low_rank_scans(kernel, dt, a, d, words, by_output)
            continue
        c = _band_limited(kernel, dt, a)
        for how in likely_first(source, "disc", DISCRETIZATIONS):
            discrete, factor = discretise(how, dt, a)
            b = (factor * kernel.b)[..., None]
            yield f"{how}, {words}", ModalScan(discrete, b, c, d[..., None], by_output=by_output)


def _band_limited(kernel: Kernel, dt: Tensor, a: Tensor) -> Tensor:
    """C without the modes above the band limit, where the module has one."""
    limit = getattr(kernel.source, "bandlimit", None)
    if limit is None:
        return kernel.c
    heard: Tensor = dt * a.imag.abs() / (2 * math.pi) < limit / 2
    return kernel.c * heard[:, None]


def _low_rank_scans(
    kernel: Kernel, dt: Tensor, a: Tensor, d: Tensor, words: str, by_output: bool
) -> Iterator[tuple[str, LinearScan]]:
    """A = diag(a) - P P*, bilinear; C as it is, or stored as C (I - A^L), which makes kernels of length L cheap."""
    A, B = _low_rank(kernel, dt, a)
    c = torch.cat([kernel.c, kernel.c.conj()], -1)
    for length in kernel.lengths:
        C = c
        if length:
            rest = torch.eye(A.shape[-1], dtype=A.dtype) - torch.linalg.matrix_power(A, length)
            C = torch.linalg.solve(rest, c, left=False)
        stored = f"C for length {length}" if length else "C as it is"
        yield f"dplr, bilinear, {stored}, {words}", LinearScan(*_in_pairs(A, B, C), d[..., None], by_output=by_output)


def _low_rank(kernel: Kernel, dt: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """Discrete A (H, 2N, 2N) and B (H, 2N, 1) on [modes; their conjugates]."""
    assert kernel.p is not None
    p = torch.cat([kernel.p, kernel.p.conj()], -1)
    A = torch.diag_embed(torch.cat([a, a.conj()], -1)) - torch.einsum("rhn,rhm->hnm", p, p.conj())
    half = dt.expand_as(a).repeat(1, 2)[..., None] / 2
    eye = torch.eye(A.shape[-1], dtype=A.dtype)
    back = eye - half * A
    b = torch.cat([kernel.b, kernel.b.conj()], -1)[..., None]
    return torch.linalg.solve(back, eye + half * A), torch.linalg.solve(back, 2 * half * b)


def _in_pairs(A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Matrices on [z; conj z] as real ones on [Re z; Im z]."""
    n = A.shape[-1] // 2
    eye = torch.eye(n, dtype=A.dtype)
    to_pairs = torch.cat([torch.cat([eye, 1j * eye], 1), torch.cat([eye, -1j * eye], 1)], 0)
    back = torch.linalg.inv(to_pairs)
    return (back @ A @ to_pairs).real, (back @ B).real, (C @ to_pairs).real

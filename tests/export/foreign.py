"""Layers of other repositories, written again from their equations: complex parameters, convolution by FFT.

Parameters have the names that those repositories use; nothing else is theirs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def convolve(k: Tensor, u: Tensor) -> Tensor:
    """Causal convolution of k (P, M, L) with u (B, M, L) -> (B, P, L)."""
    size = 2 * u.shape[-1]
    spectrum = torch.einsum("pml,bml->bpl", torch.fft.rfft(k, n=size), torch.fft.rfft(u, n=size))
    return torch.fft.irfft(spectrum, n=size)[..., : u.shape[-1]]


def normal(*shape: int, over: float = 1) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape) / math.sqrt(over))


class S4Kernel(nn.Module):
    """k[l] = 2 Re(sum C b a^l) of shape (C, H, L); A = -real(A_real) - i A_imag, of S <= H systems."""

    def __init__(self, h: int, n: int, systems: int, channels: int, disc: str, real: str) -> None:
        super().__init__()
        self.how, self.real, self.repeat = disc, real, h // systems
        self.inv_dt = nn.Parameter(torch.rand(h, 1) * math.log(10) + math.log(0.01))
        raw = torch.rand(systems, n) + 0.3
        self.A_real = nn.Parameter(raw.log() if real == "exp" else raw)
        self.A_imag = nn.Parameter(math.pi * torch.rand(systems, n) * n)
        self.B, self.C = normal(1, systems, n, 2), normal(channels, h, n, 2)

    def forward(self, length: int) -> Tensor:
        real = self.A_real.exp() if self.real == "exp" else self.A_real
        a = (-real - 1j * self.A_imag).repeat(self.repeat, 1)
        b = torch.view_as_complex(self.B)[0].repeat(self.repeat, 1)
        dt_a, dt = a * self.inv_dt.exp(), self.inv_dt.exp()
        if self.how == "zoh":
            step, b = dt_a.exp(), b * (dt_a.exp() - 1) / a
        else:
            step, b = (1 + dt_a / 2) / (1 - dt_a / 2), b * dt / (1 - dt_a / 2)
        powers = step[..., None] ** torch.arange(length)
        return 2 * torch.einsum("chn,hn,hnl->chl", torch.view_as_complex(self.C), b, powers).real


class LowRankKernel(nn.Module):
    """A = diag(-exp(A_real) - i A_imag) - P P* with its conjugates, bilinear; C is held as C (I - A^L)."""

    def __init__(self, h: int, n: int, length: int) -> None:
        super().__init__()
        self.inv_dt = nn.Parameter(torch.rand(h, 1) + math.log(0.05))
        self.A_real, self.A_imag = nn.Parameter(torch.randn(h, n) / 4), nn.Parameter(4 * torch.rand(h, n))
        self.B, self.C, self.P = normal(1, h, n, 2), normal(1, h, n, 2), normal(1, h, n, 2)
        self.register_buffer("l_kernel", torch.tensor(length))

    def matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        """Discrete A (H, 2N, 2N), B (H, 2N, 1), C (H, 1, 2N) on [modes; their conjugates]."""
        pairs = (
            -self.A_real.exp() - 1j * self.A_imag,
            *(torch.view_as_complex(x)[0] for x in (self.B, self.C, self.P)),
        )
        a, b, c, p = (torch.cat([x, x.conj()], -1).to(torch.complex128) for x in pairs)
        half = self.inv_dt.exp()[..., None] / 2 * (torch.diag_embed(a) - p[..., None] * p.conj()[:, None])
        eye = torch.eye(a.shape[-1])
        back = torch.linalg.inv(eye - half)
        return back @ (eye + half), back @ (self.inv_dt.exp() * b)[..., None], c[:, None]

    def forward(self, length: int) -> Tensor:
        a, x, c = self.matrices()
        if self.l_kernel > 0:
            c = c @ torch.linalg.inv(torch.eye(a.shape[-1]) - torch.linalg.matrix_power(a, int(self.l_kernel)))
        k = []
        for _ in range(length):
            k.append((c @ x)[:, 0, 0].real)
            x = a @ x
        return torch.stack(k, -1)[None].float()


class FFTConv(nn.Module):
    """Kernels of all channels, D, activation; (B, H, L), or (B, L, H) where not ``transposed``."""

    def __init__(self, kernel: nn.Module, h: int, channels: int = 1, transposed: bool = True) -> None:
        super().__init__()
        self.kernel, self.transposed = kernel, transposed
        self.D, self.activation, self.drop = normal(channels, h), nn.GELU(), nn.Dropout(0.2)

    def forward(self, x: Tensor, state: object = None, **more: object) -> tuple[Tensor, None]:
        u = x if self.transposed else x.mT
        k = self.kernel(u.shape[-1])
        y = torch.cat(
            [
                convolve(torch.diag_embed(kc.T).permute(1, 2, 0), u) + u * d[:, None]
                for kc, d in zip(k, self.D, strict=True)
            ],
            1,
        )
        y = self.drop(y)
        return self.activation(y if self.transposed else y.mT), None


class S5SSM(nn.Module):
    """P modes for all channels; the whole spectrum, or ``conj_sym``: one of each conjugate pair."""

    def __init__(self, h: int, p: int, conj_sym: bool = False, disc: str = "zoh", bidir: bool = False) -> None:
        super().__init__()
        self.gain, self.how, self.bidir, self.liquid = (2 if conj_sym else 1), disc, bidir, False
        values = torch.complex(-torch.rand(p) - 0.1, 3 * torch.randn(p))
        if conj_sym:
            self.Lambda_re, self.Lambda_im = nn.Parameter(values.real.clone()), nn.Parameter(values.imag.clone())
            self.C = normal(h, p, 2, over=p)
        else:
            self.Lambda = nn.Parameter(values)
            self.C = nn.Parameter(torch.randn(h, p * (2 if bidir else 1), dtype=torch.complex64))
        self.B, self.D, self.log_step = normal(p, h, 2, over=h), normal(h), nn.Parameter(torch.rand(p) - 3)

    def forward(self, u: Tensor) -> Tensor:
        a = torch.complex(self.Lambda_re, self.Lambda_im) if self.gain == 2 else self.Lambda
        c = torch.view_as_complex(self.C) if self.gain == 2 else self.C
        b, dt = torch.view_as_complex(self.B), self.log_step.exp()
        if self.how == "zoh":
            step, b = (a * dt).exp(), ((a * dt).exp() - 1)[:, None] / a[:, None] * b
        else:
            step, b = (1 + a * dt / 2) / (1 - a * dt / 2), (dt / (1 - a * dt / 2))[:, None] * b
        powers = step[:, None] ** torch.arange(u.shape[1])
        k = self.gain * torch.einsum("hp,pl,pm->hml", c, powers, b).real
        return convolve(k, u.mT).mT + self.D * u


class S5(nn.Module):
    """The layer around it."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__()
        self.seq = S5SSM(*args, **options)

    def forward(self, signal: Tensor, step_scale: float = 1.0) -> Tensor:
        return self.seq(signal)


class LRU(nn.Module):
    """``exp_gamma``: gamma_log is its logarithm; ``before``: the output is read before the update."""

    def __init__(self, h: int, p: int, exp_gamma: bool = True, before: bool = False, whole: bool = False) -> None:
        super().__init__()
        self.exp_gamma, self.before = exp_gamma, before
        self.nu_log, self.theta_log = nn.Parameter(torch.rand(p) - 3), nn.Parameter(torch.rand(p))
        gamma = torch.sqrt(1 - torch.exp(-2 * self.nu_log.exp()))
        self.gamma_log = nn.Parameter((gamma.log() if exp_gamma else gamma).detach())
        if whole:
            self.B, self.C = (nn.Parameter(torch.randn(*s, dtype=torch.complex64)) for s in ((p, h), (h, p)))
        else:
            self.B_re, self.B_im = (normal(p, h, over=2 * h) for _ in range(2))
            self.C_re, self.C_im = (normal(h, p, over=p) for _ in range(2))
        self.D = normal(h, h, over=h) if whole else normal(h)
        self.state = self.gamma_log * 0  # kept from the last step, as one of the repositories does

    def forward(self, u: Tensor) -> Tensor:
        b, c = (
            getattr(self, x) if hasattr(self, x) else torch.complex(*(getattr(self, f"{x}_{p}") for p in ("re", "im")))
            for x in "BC"
        )
        gamma = self.gamma_log.exp() if self.exp_gamma else self.gamma_log
        step = torch.exp(-self.nu_log.exp() + 1j * self.theta_log.exp())
        k = torch.einsum("hp,pl,pm->hml", c, step[:, None] ** torch.arange(u.shape[1]), gamma[:, None] * b).real
        if self.before:
            k = torch.cat([torch.zeros_like(k[..., :1]), k[..., :-1]], -1)
        return convolve(k, u.mT).mT + (u * self.D if self.D.ndim == 1 else u @ self.D.T)


def legendre(n: int, window: float) -> tuple[Tensor, Tensor]:
    """A and B of the Legendre memory, zero-order hold with step 1 (arXiv 1905.12159, eq. 1 and 2)."""
    i = torch.arange(n, dtype=torch.float64)
    sign = torch.where(i[:, None] < i, -1.0, (-1.0) ** (i[:, None] - i + 1))
    rate = (2 * i + 1)[:, None] / window
    a, b = rate * sign, rate * ((-1.0) ** i)[:, None]
    step = torch.matrix_exp(a)
    return step.float(), (torch.linalg.inv(a) @ (step - torch.eye(n)) @ b).float()


class LMUFFT(nn.Module):
    """The parallel LMU, with its last step as a second output."""

    def __init__(self, h: int, n: int) -> None:
        super().__init__()
        self.W_u, self.W_h, self.f_u, self.f_h = nn.Linear(h, 1), nn.Linear(n + h, h), nn.ReLU(), nn.ReLU()
        for name, matrix in zip("AB", legendre(n, 12.0), strict=True):
            self.register_buffer(name, matrix)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        k, m = [], self.B
        for _ in range(x.shape[1]):
            k.append(m)
            m = self.A @ m
        m = convolve(torch.stack(k, -1), self.f_u(self.W_u(x)).mT).mT
        h = self.f_h(self.W_h(torch.cat([m, x], -1)))
        return h, h[:, -1]


class Memory(nn.Module):
    """A Legendre memory alone."""

    def __init__(self, n: int) -> None:
        super().__init__()
        for name, matrix in zip("AB", legendre(n, 12.0), strict=True):
            self.register_buffer(name, matrix)

    def forward(self, u: Tensor) -> Tensor:
        m, out = u.new_zeros(len(u), len(self.A)), []
        for k in range(u.shape[1]):
            m = m @ self.A.T + u[:, k] @ self.B.T
            out.append(m)
        return torch.stack(out, 1)


class S4Layer(nn.Module):
    """Kernel of length ``l_max`` from its values at the roots of unity; A = diag(lambda) - p q*, bilinear."""

    def __init__(self, h: int, n: int, l_max: int) -> None:
        super().__init__()
        self.l_max = l_max
        self._p, self._q = (nn.Parameter(torch.randn(n, 2) / 4) for _ in range(2))
        self._lambda_ = nn.Parameter(torch.stack([-torch.rand(n) - 1, 4 * torch.randn(n)], -1)[None, None])
        self._B, self._Ct, self.D = normal(h, n, 2), normal(h, n, 2), normal(1, 1, h)
        self.log_step = nn.Parameter(torch.rand(h) - 3)

    def forward(self, u: Tensor) -> Tensor:
        p, q, values, b, c = (torch.view_as_complex(x) for x in (self._p, self._q, self._lambda_, self._B, self._Ct))
        roots = torch.exp(2j * math.pi * torch.arange(self.l_max) / self.l_max)
        g = (2 / self.log_step.exp())[:, None] * (1 - roots) / (1 + roots)
        inverse = torch.linalg.inv(
            g[..., None, None] * torch.eye(len(p)) - torch.diag(values.flatten()) + torch.outer(p, q.conj())
        )
        at_roots = 2 / (1 + roots) * torch.einsum("hn,hlnm,hm->hl", c.conj(), inverse, b)
        k = torch.fft.fft(at_roots).real / self.l_max  # of x(1/z): the roots above turn the other way
        return convolve(torch.diag_embed(k.T).permute(1, 2, 0)[..., : u.shape[1]], u.mT).mT + self.D * u


class LMUCell(nn.Module):
    """The recurrent LMU's parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.A, self.B = (nn.Parameter(x) for x in legendre(4, 12.0))
        self.e_h, self.W_h = normal(1, 3), normal(3, 3)


class LMU(nn.Module):
    """The recurrent LMU."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = LMUCell()


class MambaBlock(nn.Module):
    """Mamba's parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.A_log, self.in_proj = normal(6, 4), nn.Linear(3, 12)

"""Layers of one's own with the usual parameters: kernel and D alone, other names, other shapes."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402 - after the torch skip

from ssmc.export.swapping import swap_layers  # noqa: E402
from tests.export.foreign import convolve  # noqa: E402

H, N = 3, 4


class Diagonal(nn.Module):
    """S4D in one module: y = k * u + D u, k[l] = 2 Re(sum C (exp(dt A) - 1) / A exp(dt A l))."""

    def __init__(self, steps: int, whole: bool, time_second: bool) -> None:
        super().__init__()
        self.time_second = time_second
        self.log_dt = nn.Parameter(torch.rand(steps) - 3)
        self.log_A_real = nn.Parameter(torch.rand(H, N) - 1)
        self.A_imag = nn.Parameter(math.pi * torch.arange(N).repeat(H, 1).float())
        c = torch.randn(H, N, dtype=torch.cfloat)
        self.C, self.D = nn.Parameter(c if whole else torch.view_as_real(c)), nn.Parameter(torch.randn(H))

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        u = u.mT if self.time_second else u
        a = -self.log_A_real.exp() + 1j * self.A_imag
        c = self.C if self.C.is_complex() else torch.view_as_complex(self.C)
        da = a * self.log_dt.exp().expand(H)[:, None]
        powers = torch.exp(da[..., None] * torch.arange(u.shape[-1]))
        k = 2 * torch.einsum("hn,hnl->hl", c * (da.exp() - 1) / a, powers).real
        y = torch.cat([convolve(k[None, h : h + 1], u[:, h : h + 1]) for h in range(H)], 1) + self.D[:, None] * u
        return y.mT if self.time_second else y


class Modes(nn.Module):
    """S5 (``log_dt``) or LRU (parts ``_real``, ``_imag``; gamma from the modes) as a loop over (B, L, H)."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        b, c = torch.randn(N, H, dtype=torch.cfloat) / 2, torch.randn(H, N, dtype=torch.cfloat) / 2
        if kind == "s5":
            self.Lambda = nn.Parameter(torch.complex(-torch.rand(N), torch.arange(N) + 0.3))
            self.B, self.C, self.log_dt = nn.Parameter(b), nn.Parameter(c), nn.Parameter(torch.rand(N) - 3)
        else:
            self.nu_log, self.theta_log = nn.Parameter(torch.rand(N) - 3), nn.Parameter(torch.rand(N))
            parts = {"B_real": b.real, "B_imag": b.imag, "C_real": c.real, "C_imag": c.imag}
            for name, value in parts.items():
                self.register_parameter(name, nn.Parameter(value.clone()))
        self.D = nn.Parameter(torch.randn(H))

    def matrices(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if self.kind == "s5":
            turn = torch.exp(self.Lambda * self.log_dt.exp())
            return turn, ((turn - 1) / self.Lambda)[:, None] * self.B, 2 * self.C
        turn = torch.exp(-self.nu_log.exp() + 1j * self.theta_log.exp())
        b = (1 - turn.abs() ** 2).sqrt()[:, None] * torch.complex(self.B_real, self.B_imag)
        return turn, b, torch.complex(self.C_real, self.C_imag)

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        turn, b, c = self.matrices()
        x, y = torch.zeros(len(u), N, dtype=torch.cfloat), []
        for k in range(u.shape[1]):
            x = turn * x + u[:, k].cfloat() @ b.T
            y.append((x @ c.T).real)
        return torch.stack(y, 1) + self.D * u


LAYERS = {
    "a step for all channels": (lambda: Diagonal(1, False, False), "s4d"),
    "complex C": (lambda: Diagonal(H, True, False), "s4d"),
    "time second": (lambda: Diagonal(H, False, True), "s4d"),
    "s5": (lambda: Modes("s5"), "s5"),
    "lru": (lambda: Modes("lru"), "lru"),
}


class Network(nn.Module):
    """The layer between two others, (batch, time, channels)."""

    def __init__(self, layer: nn.Module, channels_first: bool) -> None:
        super().__init__()
        self.encoder, self.layer, self.channels_first = nn.Linear(2, H), layer, channels_first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u = self.encoder(x)
        return self.layer(u.mT).mT if self.channels_first else self.layer(u)


@pytest.mark.parametrize("name", LAYERS)
def test_it_is_known_and_its_scan_computes_the_same(name: str) -> None:
    torch.manual_seed(0)
    make, adapter = LAYERS[name]
    layer = make()
    network = Network(layer, isinstance(layer, Diagonal) and not layer.time_second).eval()
    swapped, (swap,) = swap_layers(network, (torch.randn(2, 20, 2),))
    x = torch.randn(3, 30, 2)
    assert (swap.adapter, swap.error < 1e-4) == (adapter, True)
    assert torch.allclose(swapped(x), network(x), atol=1e-4)

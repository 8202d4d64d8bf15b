"""From a continuous diagonal state space to the discrete one.

x'(t) = A x(t) + B u(t),  with step dt:

zoh        exp(dt A),                       (exp(dt A) - 1) / A  B
bilinear   (1 + dt A / 2) / (1 - dt A / 2), dt / (1 - dt A / 2)  B
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

DISCRETIZATIONS = ("zoh", "bilinear")

#: how a parameter becomes positive, by the names that state-spaces/s4 gives them
TRANSFORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": torch.exp,
    "none": lambda x: x,
    "softplus": softplus,
    "relu": lambda x: relu(x) + 1e-4,
    "sigmoid": torch.sigmoid,
}


def discretise(how: str, dt: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """The discrete A and the factor of B; ``dt`` real, ``a`` complex, of shapes that broadcast."""
    if how == "zoh":
        discrete = torch.exp(dt * a)
        return discrete, torch.where(a == 0, dt.to(a), (discrete - 1) / torch.where(a == 0, 1, a))
    return (1 + dt * a / 2) / (1 - dt * a / 2), dt / (1 - dt * a / 2)


def likely_first(layer: nn.Module, attribute: str, options: tuple[str, ...]) -> list[str]:
    """All options, the one that the layer's attribute names first."""
    own = getattr(layer, attribute, None)
    return sorted(options, key=lambda option: option != own)


def complex_of(value: Tensor) -> Tensor:
    """complex128 of a complex tensor, or of a real one whose last axis is (Re, Im)."""
    value = value.detach()
    return (value if value.is_complex() else torch.view_as_complex(value.double().contiguous())).to(torch.complex128)

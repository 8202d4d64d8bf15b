"""Which axis of a layer's input is time."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class TimeAxis(nn.Module):
    """``inner``, which computes on (B, L, H), for a layer that may compute on (B, H, L).

    Args:
        inner: computes on (B, L, H).
        transposed: the layer's input and output are (B, H, L).
    """

    def __init__(self, inner: nn.Module, transposed: bool) -> None:
        super().__init__()
        self.inner = inner
        self.transposed = transposed

    def forward(self, u: Tensor, *ignored: Any, **more: Any) -> Tensor:
        """The output in the input's layout; other arguments are ignored."""
        y: Tensor = self.inner(u.mT if self.transposed else u)
        return y.mT if self.transposed else y


def time_axes(layer: nn.Module) -> tuple[bool, ...]:
    """Values of ``transposed`` to try: the layer's own, or (B, L, H) and then (B, H, L)."""
    own = getattr(layer, "transposed", None)
    return (own,) if isinstance(own, bool) else (False, True)

"""Mamba's selective state spaces (arXiv 2312.00752, 2405.21060): refused by name."""

from __future__ import annotations

from torch import nn

from ssmc.export.adapters import Refused


def adapt(layer: nn.Module) -> None:
    """None for any layer that is not Mamba's.

    Raises:
        Refused: for Mamba and Mamba2, whose step size, B and C are functions of the input.
    """
    if "A_log" in layer._parameters and hasattr(layer, "in_proj"):
        reason = "is a Mamba layer: its state matrix depends on the input, so it is no linear recurrence"
        raise Refused(reason, "use a time-invariant layer instead: S4D, S5 or LRU")

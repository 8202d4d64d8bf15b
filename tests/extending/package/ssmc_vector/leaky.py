"""An adapter for a layer that averages over time by convolution."""

import torch

from ssmc.export.diagonal_scan import DiagonalScan


def adapt(layer):
    """The layer as the scan x[k+1] = a x[k] + (1 - a) u[k], y[k] = x[k+1]; None for any other layer."""
    if type(layer).__name__ != "LeakyAverage":
        return None
    a = layer.decay.detach()[:, None]
    return DiagonalScan(a, 1 - a, torch.ones_like(a), torch.zeros_like(layer.decay), gain=1.0)

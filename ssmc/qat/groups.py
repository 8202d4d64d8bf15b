"""Means over groups of time steps: what stands before a block that runs at a lower rate."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssmc.qat.config import QuantConfig
from ssmc.qat.fake_quant import Quantizer, see


class GroupMean(nn.Module):
    """Quantized means of ``k`` steps each; the last group of a sequence may have fewer (AveragePool, ceil_mode)."""

    def __init__(self, k: int, config: QuantConfig) -> None:
        super().__init__()
        self.k = k
        self.quantizer = Quantizer(config.activation_bits, config)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """X (N, T, H) -> (N, ceil(T / k), H), and the new lengths (N); steps after ``lengths`` change nothing."""
        if lengths is None:
            see(self, None)
            pooled = functional.avg_pool1d(x.transpose(1, 2), self.k, ceil_mode=True, count_include_pad=False)
            return self.quantizer(pooled.transpose(1, 2)), None
        means, fewer = _ragged_means(x, lengths, self.k), (lengths + self.k - 1) // self.k
        see(self, torch.arange(means.shape[1], device=x.device) < fewer[:, None])
        return self.quantizer(means), fewer


def _ragged_means(x: Tensor, lengths: Tensor, k: int) -> Tensor:
    """Means of the true steps of every group, 0 where there are none."""
    rest = -x.shape[1] % k
    here = torch.arange(x.shape[1] + rest, device=x.device) < lengths[:, None]
    padded = functional.pad(x, (0, 0, 0, rest))
    kept = torch.where(here[..., None], padded, torch.zeros_like(padded))
    members = here.view(len(x), -1, k).sum(-1).clamp(min=1)
    return kept.view(len(x), -1, k, x.shape[2]).sum(2) / members[..., None]

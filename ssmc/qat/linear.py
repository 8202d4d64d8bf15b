"""Linear layer with an optional batch norm that folds into it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ssmc.qat.cells import Behind, CellNoise
from ssmc.qat.columns import Columns
from ssmc.qat.config import Grid, Mode, QuantConfig
from ssmc.qat.converters import Converters
from ssmc.qat.fake_quant import Quantizer
from ssmc.qat.weights import WeightNoise, straight_to, weight_codes, weight_scale

BIAS_LIMIT = 1 << 23
Between = tuple[tuple[int, int], Quantizer]


class QuantLinear(nn.Module):
    """z = norm(x W^T + b) over the last axis.

    Float modes: batch norm with batch statistics while training. QUANTIZED: running statistics, folded into W and b
    *before* they are quantized; W symmetric per output, b rounded to the grid of the accumulator (a digital constant).
    ``bits`` of the weights may be several numbers, for equal shares of the outputs: (4, 2) the first half, the second.
    """

    def __init__(
        self, d_in: int, d_out: int, bits: int | tuple[int, ...], config: QuantConfig, norm: bool = False
    ) -> None:
        super().__init__()
        self.config = config
        grids = [config.grid(b) for b in (bits if isinstance(bits, tuple) else (bits,))]
        self.grids = grids if len(set(grids)) > 1 else grids[:1]
        self.mode = Mode.FLOAT
        self.frozen = False
        self.noise, self.cells, self.converters = WeightNoise(config), CellNoise(config), Converters(config)
        self.linear = nn.Linear(d_in, d_out)
        self.norm = nn.BatchNorm1d(d_out) if norm else None

    def forward(self, x: Tensor, x_scale: Tensor, mask: Tensor | None = None, between: Between | None = None) -> Tensor:
        """Input x (..., d_in) with step x_scale -> (..., d_out); mask (...) marks the steps that count as data.

        ``between``: smallest and largest code of x, and the quantizer behind. With a hardware, the result is then what
        its cells and converters give, on the grid of that quantizer.
        """
        if self.mode is Mode.QUANTIZED:
            if between is not None and self.config.hardware is not None and not self.frozen:
                return self._through(x, x_scale, *between)
            weight, bias = self._frozen_constants() if self.frozen else self.quantized(x_scale)
            return torch.matmul(x, weight) + bias
        z = self.linear(x)
        return z if self.norm is None else self._normalise(z, mask)

    def _through(self, x: Tensor, x_scale: Tensor, before: tuple[int, int], behind: Quantizer) -> Tensor:
        """The columns of the crossbar: their sums, read and converted."""
        codes, scale, bias = self.codes(x_scale)
        ratio, offset = (scale * x_scale / behind.scale)[None], (bias / behind.scale)[None]
        ends, cells = (behind.lo, behind.hi), codes.T[None]
        drives = np.full((1, len(codes)), before[0]), np.full((1, len(codes)), before[1])
        columns = self.converters.columns(cells, ratio, offset, ends, drives, self.training)
        v, spread = x / x_scale, None
        if self.cells.active:
            written = self.cells.write(cells, Behind.of(ratio, offset, ends))
            columns = (columns or Columns.quantizer(ratio, offset, ends)).deviating(written)
            weight = straight_to(written.weight, cells)[0].T
            spread = columns.spread(v.detach(), written.variance, written.fresh)
        elif columns is None:
            weight, bias = self.quantized(x_scale)
            return torch.matmul(x, weight) + bias
        else:
            weight = self._noisy(codes)
        return columns.codes(torch.matmul(v, weight), spread) * behind.scale

    def _normalise(self, z: Tensor, mask: Tensor | None) -> Tensor:
        assert self.norm is not None
        if mask is not None and self.training:
            return torch.zeros_like(z).masked_scatter(mask[..., None], self.norm(z[mask]))
        return self.norm(z.flatten(0, -2)).view_as(z)  # type: ignore[no-any-return]

    def folded(self) -> tuple[Tensor, Tensor]:
        """W (d_out, d_in) and b (d_out) with the norm inside: gain = gamma / sqrt(var + eps)."""
        weight, bias = self.linear.weight, self.linear.bias
        if self.norm is None:
            return weight, bias
        mean, var = self.norm.running_mean, self.norm.running_var
        assert mean is not None
        assert var is not None
        gain = self.norm.weight * torch.rsqrt(var + self.norm.eps)
        return weight * gain[:, None], (bias - mean) * gain + self.norm.bias

    def quantized(self, x_scale: Tensor) -> tuple[Tensor, Tensor]:
        """Weight values (d_in, d_out) on their grid and the rounded bias, straight-through in the parameters."""
        codes, scale, bias = self.codes(x_scale)
        return self._noisy(codes) * scale, bias

    def _noisy(self, codes: Tensor) -> Tensor:
        shares = zip(codes.chunk(len(self.grids), 1), self.grids, strict=True)
        return torch.cat([self.noise(share, grid.limit) for share, grid in shares], 1)

    def codes(self, x_scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Integer weights (d_in, d_out), one scale per output, and the bias on the grid of the accumulator."""
        weight, bias = self.folded()
        shares = [self._share(rows, grid) for rows, grid in zip(weight.chunk(len(self.grids)), self.grids, strict=True)]
        codes, scale = torch.cat([codes for codes, _ in shares], 1), torch.cat([scale for _, scale in shares])
        unit = scale * x_scale
        return codes, scale, torch.ops.ssmc.fake_quant(bias, unit, unit, -BIAS_LIMIT, BIAS_LIMIT)

    def _share(self, rows: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """Integer weights (d_in, n) of rows (n, d_in), and one scale per row."""
        scale = weight_scale(rows, grid, self.config.power_of_two, self.config.clipping)
        return weight_codes((rows / scale[:, None]).T, grid), scale

    @torch.no_grad()
    def freeze(self, x_scale: Tensor) -> None:
        """Keep integer codes, one scale per output, and the bias; for export."""
        if self.mode is Mode.QUANTIZED:
            codes, scale, bias = self.codes(x_scale)
            self.register_buffer("weight_codes", codes)
            self.register_buffer("weight_scale", scale)
            self.register_buffer("bias", bias)
            self.register_buffer("one", torch.tensor(1.0))
            self.frozen = True

    def _frozen_constants(self) -> tuple[Tensor, Tensor]:
        codes, one, scale = (self.get_buffer(k) for k in ("weight_codes", "one", "weight_scale"))
        limit = max(grid.limit for grid in self.grids)
        return torch.ops.ssmc.fake_quant(codes, one, scale, -limit, limit), self.get_buffer("bias")

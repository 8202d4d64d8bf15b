"""C and D refitted to data once the poles are on their grid: what a coarse kernel gets wrong, its read-out makes good."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ssmc.qat.config import Mode
from ssmc.qat.recurrence import quantized_step
from ssmc.qat.s4d import S4D

RIDGE = 1e-3


@torch.no_grad()
def refit(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set C and D of every quantized S4D layer to the least-squares fit of its float output, on float batches.

    Per channel, with rows x[k] = [R[k]; u[k]] in codes, as they drive the crossbar, and y[k] the float output:
    ``w = (X^T X + RIDGE trace / (n+1) I)^-1 (X^T y + RIDGE trace / (n+1) w_0)``, w_0 the float C and D in these units. The
    ridge pulls towards them where the data say little.
    """
    layers = [module for module in model.modules() if isinstance(module, S4D)]
    sums = {layer: _Normal(layer) for layer in layers}
    hooks = [layer.register_forward_pre_hook(lambda m, inputs: sums[m].observe(inputs[0])) for layer in layers]  # type: ignore[index]
    modes = [(module, module.mode) for module in model.modules() if isinstance(getattr(module, "mode", None), Mode)]
    for module, _ in modes:
        module.mode = Mode.RECURRENT  # type: ignore[assignment]
    for x in batches:
        model(x)
    for module, mode in modes:
        module.mode = mode  # type: ignore[assignment]
    for hook in hooks:
        hook.remove()
    for layer in layers:
        sums[layer].solve()


class _Normal:
    """Normal equations of one layer: gram (H, n+1, n+1) and moment (H, n+1), per channel."""

    def __init__(self, layer: S4D) -> None:
        self.layer = layer
        heads, modes = layer.A_imag.shape
        self.gram = torch.zeros(heads, 2 * modes + 1, 2 * modes + 1, dtype=torch.float64)
        self.moment = torch.zeros(heads, 2 * modes + 1, dtype=torch.float64)
        self.kernel, self.ratio = layer.codes()

    def observe(self, u: Tensor) -> None:
        """Add u (N, T, H) and what the float kernel makes of it."""
        layer, scales = self.layer, self.layer.scales()
        codes = layer.input_quantizer.codes(u)
        y = layer.real(u)
        ranges = layer.ranges()
        step = quantized_step(self.kernel.dense(), self.ratio, scales.dac_step, scales.keep, ranges)
        register = u.new_zeros(len(u), *scales.dac_step.shape)
        for k in range(u.shape[1]):
            driven = torch.clamp(torch.round(register / scales.dac_step), *ranges.dac)
            rows = torch.cat([driven, codes[:, k, :, None]], -1).transpose(0, 1)
            self.gram += rows.transpose(1, 2) @ rows
            self.moment += (rows * y[:, k].T[..., None]).sum(1)
            register, _ = step(register, codes[:, k])

    def solve(self) -> None:
        """Set C and D of the layer."""
        layer, scales = self.layer, self.layer.scales()
        sigma = scales.state_dac[..., None]
        unit = torch.cat([(torch.tensor([2.0, -2.0]) * sigma).flatten(1), scales.u.expand(len(sigma), 1)], 1).double()
        start = torch.cat([layer.C.flatten(1), layer.D[:, None]], 1) * unit
        pull = RIDGE * self.gram.diagonal(dim1=1, dim2=2).mean(1)[:, None]
        matrix = self.gram + torch.diag_embed(pull.expand_as(start)).clamp_min(0) + 1e-12 * torch.eye(unit.shape[1])
        found = torch.linalg.solve(matrix, self.moment + pull * start) / unit
        layer.C.copy_(found[:, :-1].view_as(layer.C))
        layer.D.copy_(found[:, -1])

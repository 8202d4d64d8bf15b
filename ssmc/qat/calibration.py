"""Post-training calibration: converter steps from data, then C and D refitted to the kernel on its grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from ssmc.analysis.refit import fitted
from ssmc.qat.config import Mode
from ssmc.qat.model import set_mode
from ssmc.qat.recurrence import quantized_step
from ssmc.qat.s4d import S4D

Calibration = Tensor | tuple[Tensor, Tensor]


@torch.no_grad()
def calibrate(model: nn.Module, batches: Sequence[Calibration], reference: nn.Module | None = None) -> None:
    """Observe all ranges, `refit` where configured, and switch to QUANTIZED.

    A batch is x (N, T, d), or (x, lengths) with the true steps of each sequence; padding is not observed.
    ``reference`` is what the read-out is fitted to: the float model before it was pruned; by default ``model`` itself.
    """
    training = model.training
    model.eval()
    set_mode(model, Mode.CALIBRATE)
    for batch in batches:
        model(*_arguments(batch))
    set_mode(model, Mode.QUANTIZED)
    for module in model.modules():
        if isinstance(module, S4D):
            module.choose_grids()
    refit(model, batches, reference or model)
    model.train(training)


@torch.no_grad()
def refit(model: nn.Module, batches: Iterable[Calibration], reference: nn.Module) -> None:
    """Fit C and D of the S4D layers that are ``refitted`` to the float output of the same layers of ``reference``.

    That makes good what pruning, and quantizing A, B and the states, did to it. Per channel,
    `ssmc.analysis.refit.fitted` to rows x = [R; u] in codes as they drive the matrix, from the float [C, D] in these
    units.
    """
    wanted = dict(reference.named_modules())
    layers = {
        layer: _Normal(layer, wanted[name])
        for name, layer in model.named_modules()
        if isinstance(layer, S4D) and layer.config.refitted
    }
    hooks = [layer.register_forward_pre_hook(_observe(normal)) for layer, normal in layers.items()]
    set_mode(model, Mode.RECURRENT)
    for batch in batches:
        model(*_arguments(batch))
    set_mode(model, Mode.QUANTIZED)
    for hook in hooks:
        hook.remove()
    for normal in layers.values():
        normal.solve()


def _arguments(batch: Calibration) -> tuple[Tensor, ...]:
    return (batch,) if isinstance(batch, Tensor) else batch


def _observe(normal: _Normal) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    return lambda _, inputs: normal.observe(inputs[0])


class _Normal:
    """Normal equations of one layer: gram (H, n+1, n+1) and moment (H, n+1)."""

    def __init__(self, layer: S4D, wanted: nn.Module) -> None:
        assert isinstance(wanted, S4D)
        self.layer, self.wanted, self.scales, self.ranges = layer, wanted, layer.scales(), layer.ranges()
        kernel, self.ratio = layer.codes()
        self.matrix = kernel.dense()
        self.gram = torch.zeros_like(self.matrix, dtype=torch.float64)
        self.moment = torch.zeros_like(self.ratio, dtype=torch.float64)

    def observe(self, u: Tensor) -> None:
        """Add the input u (N, T, H) and what the wanted kernel makes of it."""
        y, u = self.wanted.real(u), self.layer.input_quantizer.codes(u)
        unit = self.scales.dac_step
        step = quantized_step(self.matrix, self.ratio, unit, self.scales.keep, self.ranges)
        register = u.new_zeros(len(u), *unit.shape)
        for k in range(u.shape[1]):
            driven = torch.clamp(torch.round(register / unit), *self.ranges.dac)
            rows = torch.cat([driven, u[:, k, :, None]], -1).transpose(0, 1)
            if self.layer.inside is not None:
                rows = rows * self.layer.inside[:, k, None]
            self.gram += rows.transpose(1, 2) @ rows
            self.moment += (rows * y[:, k].T[..., None]).sum(1)
            register, _ = step(register, u[:, k])

    def solve(self) -> None:
        """Set C and D of the layer."""
        layer, sigma = self.layer, self.scales.state_dac
        read = (layer.blocks.read_factor * sigma[..., None]).flatten(1)
        unit = torch.cat([read, self.scales.u.expand(len(sigma), 1)], 1)
        start = torch.cat([layer.C.flatten(1), layer.D[:, None]], 1) * unit
        arrays = (x.double().cpu().numpy() for x in (self.gram, self.moment[:, None], start[:, None]))
        found = torch.from_numpy(fitted(*arrays)).to(unit)[:, 0] / unit
        layer.C.copy_(found[:, :-1].view_as(layer.C))
        layer.D.copy_(found[:, -1])

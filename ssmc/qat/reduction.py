"""Fewer states for a trained float model: every channel is fitted anew to its output on its own input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from ssmc.analysis.output_error import autocorrelation
from ssmc.analysis.pole_fit import Fit
from ssmc.analysis.reduction import Channels, grown, to_order, within
from ssmc.ir.rounding import FloatArray, IntArray
from ssmc.qat.config import Mode
from ssmc.qat.model import ModelConfig, set_mode
from ssmc.qat.poles import Blocks
from ssmc.qat.s4d import S4D

MOST_LAGS = 2048


@dataclass(frozen=True)
class LayerReduction:
    """What became of a layer.

    Attributes:
        name: of the layer in the model.
        before: real states of a channel.
        orders: (H,), real states of each channel now.
        error: (H,), rms of the change of the output over rms of the output, on the inputs seen.
    """

    name: str
    before: int
    orders: IntArray
    error: FloatArray


def reduce(
    model: nn.Module, batches: Sequence[Tensor], *, states: int | None = None, error: float | None = None
) -> tuple[LayerReduction, ...]:
    """Give the S4D layers of a float ``model`` fewer states, in place; calibrate or train afterwards.

    Per channel, poles, residues and D are fitted to the output on the channel's own input
    (`ssmc.analysis.output_error`, `ssmc.analysis.pole_fit`), which unpadded ``batches`` (N, T, d) show. A channel may
    have real poles, and each its own order: all get ``states`` real states, or every channel the fewest that leave at
    most ``error`` of its rms output. Layers get blocks for the largest order; places without a state stay 0.

    Raises:
        ValueError: not one of ``states`` and ``error``, or not within 0..states of the layer and 0..1.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, S4D)}
    most = min(layer.C.shape[1] * 2 for layer in layers.values())
    if (states is None) == (error is None):
        raise ValueError("give either states or error")
    if states is not None and not 1 <= states <= most:
        raise ValueError(f"states is {states}; allowed are 1..{most}")
    if error is not None and not 0 < error < 1:
        raise ValueError(f"error is {error}; allowed is what lies between 0 and 1")
    seen = _inputs(model, list(layers.values()), batches)
    fits = {}
    for name, layer in layers.items():
        channels = channels_of(layer)
        if states is not None:
            fits[name] = to_order(channels, seen[layer], states)
        else:
            fits[name] = within(channels, seen[layer], error or 0.0, channels.A.shape[1])
    count = max(1, *(fit.blocks.x.shape[1] for fit in fits.values()))
    done = []
    for name, layer in layers.items():
        fit = grown(fits[name], count)
        before = int(layer.blocks.orders.max())
        layer.set_blocks(parameters(fit, layer.log_dt.detach()))
        done.append(LayerReduction(name, before, fit.blocks.orders, np.sqrt(fit.error)))
    config = getattr(model, "config", None)
    if isinstance(config, ModelConfig):
        model.config = replace(config, d_state=2 * count)  # type: ignore[assignment]
    return tuple(done)


@torch.no_grad()
def _inputs(model: nn.Module, layers: Sequence[S4D], batches: Sequence[Tensor]) -> dict[S4D, FloatArray]:
    """Autocorrelation (H, L) of what every layer is fed in float."""
    lags = min(MOST_LAGS, max(x.shape[1] for x in batches))
    power: dict[S4D, FloatArray] = {}
    steps = sum(x.shape[0] * x.shape[1] for x in batches)

    def observe(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, S4D)
        u = inputs[0].double().cpu().numpy()
        share = u.shape[0] * u.shape[1] / steps
        power[layer] = power.get(layer, np.zeros(())) + share * autocorrelation([u], lags)

    training = model.training
    model.eval()
    set_mode(model, Mode.FLOAT)
    hooks = [layer.register_forward_pre_hook(observe) for layer in layers]
    for x in batches:
        model(x)
    for hook in hooks:
        hook.remove()
    model.train(training)
    return power


@torch.no_grad()
def channels_of(layer: S4D) -> Channels:
    """The float kernel of a layer, a system per channel."""
    b = layer.blocks
    exact = [value.detach().double() for value in (b.log_dt, b.x, b.w, b.C, b.D)]
    blocks = Blocks(exact[0], exact[1], exact[2], exact[3], exact[4], b.turning, b.g)
    m = blocks.kernel(torch.zeros_like(exact[1])).dense().cpu().numpy()
    return Channels(m[:, :-1, :-1], m[:, :-1, -1], m[:, -1, :-1], m[:, -1, -1])


@torch.no_grad()
def parameters(fit: Fit, log_dt: Tensor) -> Blocks:
    """Parameters of a layer with time steps exp(log_dt) (H) that has the fitted responses."""
    to = {"dtype": log_dt.dtype, "device": log_dt.device}
    x, gains = (torch.from_numpy(value) for value in (fit.blocks.x, fit.gains))
    turning, g = torch.from_numpy(fit.blocks.turning), torch.from_numpy(fit.blocks.sign)
    rates = x - log_dt.double().cpu()[:, None, None]
    angle = x[..., 1] / torch.exp(log_dt.double().cpu())[:, None]
    slow, w = rates[..., 0], torch.where(turning, angle, rates[..., 1])
    start = Blocks(log_dt.double().cpu(), slow, w, torch.zeros_like(gains), torch.from_numpy(fit.d), turning, g)
    b = start.kernel(torch.zeros_like(slow)).b
    pair = torch.view_as_real(torch.view_as_complex(gains.contiguous()) / (2 * torch.view_as_complex(b.contiguous())))
    C = torch.where(turning[..., None], pair, torch.where(g != 0, gains / b, torch.zeros_like(gains)))
    x_, w_, C_, D_, g_ = (value.to(**to) for value in (slow, w, C, start.D, g))  # type: ignore[call-overload]
    return Blocks(log_dt, x_, w_, C_, D_, turning.to(log_dt.device), g_)

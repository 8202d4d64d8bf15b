"""Structural pruning of a trained float model: the modes that matter least to the output are removed."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ssmc.qat.config import Mode
from ssmc.qat.model import S4DClassifier, set_mode
from ssmc.qat.s4d import S4D


@torch.no_grad()
def prune_modes(model: S4DClassifier, modes: int, batches: Iterable[Tensor]) -> None:
    """Keep the ``modes`` complex modes of each channel with the most output energy on float batches (N, T, d).

    The energy of a mode is the mean of (c s)^2 over steps, c s its part of the output on this data. What remains is a
    smaller model: parameters and buffers shrink, nothing is masked.

    Raises:
        ValueError: more modes wanted than there are.
    """
    energies: dict[S4D, Tensor] = {}
    set_mode(model, Mode.RECURRENT)

    def observe(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, S4D)
        energies[layer] = energies.get(layer, torch.tensor(0.0)) + mode_energy(layer, inputs[0])

    layers = [block.ssm for block in model.blocks]
    hooks = [layer.register_forward_pre_hook(observe) for layer in layers]  # type: ignore[union-attr]
    training = model.training
    model.eval()
    for x in batches:
        model(x)
    model.train(training)
    for hook in hooks:
        hook.remove()
    for layer, energy in energies.items():
        layer.keep_modes(energy.topk(modes, 1).indices.sort(1).values)


def mode_energy(layer: S4D, u: Tensor) -> Tensor:
    """(H, N), summed over sequences and steps of u (N, T, H)."""
    m = layer.kernel(0.0)
    state = torch.zeros(u.shape[0], *m.b.shape)
    total = torch.zeros(m.b.shape[:2])
    for k in range(u.shape[1]):
        total += (m.c * state).sum(-1).square().sum(0)
        state = (m.decay * state[..., None, :]).sum(-1) + m.b * u[:, k, :, None, None]
    return total

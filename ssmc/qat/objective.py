"""What a training minimises and what it reports, of outputs (K, p) and their targets: (K) classes or (K, p) numbers.

A loss is any ``f(outputs, target) -> scalar tensor``: those of torch, such as ``nn.CrossEntropyLoss(weight=...)`` for
class weights or ``nn.MSELoss()``, serve as they are. A metric is any ``f(outputs, target) -> float``, larger is better.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]
Metric = Callable[[Tensor, Tensor], float]


def accuracy(outputs: Tensor, target: Tensor) -> float:
    """Share of outputs (K, classes) whose largest is that of the target class (K)."""
    return float((outputs.argmax(1) == target).double().mean())


def macro_f1(outputs: Tensor, target: Tensor) -> float:
    """Mean over the classes of F1 = 2 TP / (2 TP + FP + FN); a class that is neither target nor output does not count.

    ``outputs`` (K, classes), ``target`` (K) classes.
    """
    found, classes = outputs.argmax(1), torch.arange(outputs.shape[1], device=outputs.device)
    wanted, given = target[:, None] == classes, found[:, None] == classes
    hits = (wanted & given).sum(0).double()
    total = (wanted.sum(0) + given.sum(0)).double()
    return float((2 * hits / total)[total > 0].mean())


def r2(outputs: Tensor, target: Tensor) -> float:
    """1 - (sum of squared errors) / (sum of squared deviations from the mean), all numbers (K, p) together."""
    target = target.reshape(outputs.shape).double()
    deviation = (target - target.mean(0)).square().sum()
    return float(1 - (outputs.double() - target).square().sum() / deviation)


def squared_error(outputs: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of outputs (K, p) from targets of as many numbers."""
    return (outputs - target.reshape(outputs.shape)).square().mean()


def steps_of(outputs: Tensor, target: Tensor, lengths: Tensor | None, period: int) -> tuple[Tensor, Tensor]:
    """Outputs (K, p) and targets of the steps that are data.

    Args:
        outputs: (N, p), one a sequence, which stay as they are; or (N, T', p), one a step.
        target: (N, ...) or (N, T', ...).
        lengths: steps of the input that are data (N); None: all.
        period: steps of the input per step of the output.

    Raises:
        ValueError: targets of another number of steps.
    """
    if outputs.ndim == 2:
        return outputs, target
    if target.shape[:2] != outputs.shape[:2]:
        raise ValueError(f"outputs are {tuple(outputs.shape)}, targets {tuple(target.shape)}: give one a step")
    if lengths is None:
        return outputs.flatten(0, 1), target.flatten(0, 1)
    steps = (lengths + period - 1) // period
    inside = torch.arange(outputs.shape[1], device=outputs.device) < steps[:, None]
    return outputs[inside], target[inside]

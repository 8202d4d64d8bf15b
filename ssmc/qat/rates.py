"""Lower rates for the later blocks of a trained classifier."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from ssmc.qat.groups import GroupMean
from ssmc.qat.model import Block, S4DClassifier


@torch.no_grad()
def lower_rates(model: S4DClassifier, rates: Sequence[int]) -> S4DClassifier:
    """A copy of ``model`` whose blocks run at lower rates (`ModelConfig.rates`); calibrate it, then train it on.

    Every state-space layer stays the same continuous system: its time step grows as its rate falls
    (``log_dt += log(rate)``). In float such a model is nearly as good without any training.

    Raises:
        ValueError: as `ModelConfig`; or ``model`` has lower rates already.
    """
    if model.config.period > 1:
        raise ValueError(f"the model has rates {model.config.rates} already: start from one at full rate")
    slower = copy.deepcopy(model)
    slower.config = replace(model.config, rates=tuple(rates))
    for block, rate, period in zip(slower.blocks, slower.config.rates, slower.config.periods, strict=True):
        assert isinstance(block, Block)
        if rate > 1:
            block.slower = GroupMean(rate, model.config.quant)
            block.slower.quantizer.mode = block.quantizer.mode
        block.ssm.log_dt.add_(math.log(period))
    return slower.to(next(model.parameters()).device)

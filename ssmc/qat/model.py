"""Classifier of sequences: encoder, S4D blocks, pooling over time, decoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from math import inf
from operator import mul
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssmc.qat.config import Mode, QuantConfig
from ssmc.qat.fake_quant import Quantizer, see
from ssmc.qat.groups import GroupMean
from ssmc.qat.linear import QuantLinear
from ssmc.qat.pooling import exponential_mean
from ssmc.qat.s4d import S4D

CHOICES = {"activation": ("relu", "gelu"), "pooling": ("mean", "last", "exponential", "none")}
MOST_POOLING_SHIFT = 16
MOST_POOLED_BITS = 15  # differences of codes have one more, and files hold 16
REGISTER_BITS = 24  # what float32 holds exactly


@dataclass(frozen=True)
class ModelConfig:
    """Shape of an ``S4DClassifier``.

    ``input_gain`` multiplies the input before its quantizer; a tuple has a number for each feature. ``pooling`` "none"
    gives an output a step, at the rate of the last block; "exponential" weighs the newest step by 2^-pooling_shift and
    those before it by ever less, so that a decision may be read at any step of a stream. ``rates``, one number k a
    block: in front of it every k steps become one, their mean, so that this block and those behind it run at a k-th of
    the rate; () is full rate.
    ``dt_min`` and ``dt_max`` are those of a step of the input.

    Raises:
        ValueError: a value that is not allowed.
    """

    d_input: int
    d_output: int
    d_model: int = 64
    d_state: int = 16
    layers: int = 2
    activation: Literal["relu", "gelu"] = "relu"
    pooling: Literal["mean", "last", "exponential", "none"] = "mean"
    input_gain: float | tuple[float, ...] = 1.0
    encoder_norm: bool = True
    dropout: float = 0.0
    dt_min: float = 1e-3
    dt_max: float = 1e-1
    quant: QuantConfig = field(default_factory=QuantConfig)
    rates: tuple[int, ...] = ()
    pooling_shift: int = 5

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed are {', '.join(map(repr, allowed))}")
        if isinstance(self.input_gain, tuple) and len(self.input_gain) != self.d_input:
            raise ValueError(f"input_gain has {len(self.input_gain)} numbers for {self.d_input} features")
        gains = self.input_gain if isinstance(self.input_gain, tuple) else (self.input_gain,)
        if not all(0 < gain < inf for gain in gains):
            raise ValueError(f"input_gain is {self.input_gain}: give finite numbers above 0")
        if not 1 <= self.pooling_shift <= MOST_POOLING_SHIFT:
            raise ValueError(f"pooling_shift is {self.pooling_shift}: give 1 to {MOST_POOLING_SHIFT}")
        register = self.quant.activation_bits + self.pooling_shift
        if self.pooling == "exponential" and register > REGISTER_BITS:
            raise ValueError(f"activation_bits and pooling_shift add up to {register}: give {REGISTER_BITS} at most")
        if self.pooling == "exponential" and self.quant.activation_bits > MOST_POOLED_BITS:
            raise ValueError(f"exponential pooling: give {MOST_POOLED_BITS} activation_bits at most")
        if self.d_state < 2 or self.d_state % 2:
            raise ValueError(f"d_state is {self.d_state}: give an even number, two real states a complex mode")
        if self.rates and (len(self.rates) != self.layers or min(self.rates) < 1):
            raise ValueError(
                f"rates are {self.rates}: give one whole number from 1 on for each of {self.layers} blocks"
            )

    @property
    def periods(self) -> tuple[int, ...]:
        """Input steps per step of every block."""
        return tuple(accumulate(self.rates or (1,) * self.layers, mul))

    @property
    def period(self) -> int:
        """Input steps per step of the last block."""
        return self.periods[-1]


class Block(nn.Module):
    """x + glu(norm(mixing(act(S4D(x))))), every arrow a quantizer; x and the result are quantized values."""

    def __init__(self, config: ModelConfig, rate: int = 1, period: int = 1) -> None:
        super().__init__()
        quant = config.quant
        self.slower = GroupMean(rate, quant) if rate > 1 else None
        self.ssm = S4D(config.d_model, config.d_state, quant, config.dt_min * period, config.dt_max * period)
        self.activation = functional.relu if config.activation == "relu" else functional.gelu
        self.act_quantizer = Quantizer(quant.activation_bits, quant)
        self.driven = (0 if config.activation == "relu" else self.act_quantizer.lo), self.act_quantizer.hi
        self.mixing = QuantLinear(
            config.d_model, 2 * config.d_model, (quant.weight_bits, quant.gating), quant, norm=True
        )
        self.mixing_quantizer = Quantizer(quant.converter, quant)
        self.gate_quantizer = Quantizer(quant.gate_bits, quant, signed=False)
        self.product_quantizer = Quantizer(quant.activation_bits, quant)
        self.dropout = nn.Dropout(config.dropout)
        self.quantizer = Quantizer(quant.activation_bits, quant)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Input x (N, T, H) -> (N, T, H)."""
        z = self.act_quantizer(self.activation(self.ssm(x)))
        mixed = self.mixing(z, self.act_quantizer.scale, mask, (self.driven, self.mixing_quantizer))
        value, gate = self.mixing_quantizer(mixed).chunk(2, -1)
        product = self.product_quantizer(value * self.gate_quantizer(torch.sigmoid(gate)))
        return self.quantizer(x + self.dropout(product))  # type: ignore[no-any-return]

    def freeze(self) -> None:
        """Constants instead of parameters; for export."""
        self.ssm.freeze()
        self.mixing.freeze(self.act_quantizer.scale)


class S4DClassifier(nn.Module):
    """x (N, T, d_input) -> logits (N, d_output); ``lengths`` (N) says how many steps of each item are data.

    With ``pooling`` "none": an output a step, (N, T', d_output).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        quant = config.quant
        self.config = config
        self.input_quantizer = Quantizer(quant.input_bits, quant)
        self.encoder = QuantLinear(config.d_input, config.d_model, quant.coder, quant, norm=config.encoder_norm)
        self.encoder_quantizer = Quantizer(quant.converter, quant)
        rates = config.rates or (1,) * config.layers
        self.blocks = nn.ModuleList(Block(config, *each) for each in zip(rates, config.periods, strict=True))
        self.pool_quantizer = Quantizer(quant.activation_bits, quant)
        self.decoder = QuantLinear(config.d_model, config.d_output, quant.coder, quant)
        self.output_quantizer = Quantizer(quant.output_bits, quant)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits; steps at and after ``lengths`` change nothing."""
        mask = _mask(x, lengths)
        see(self, mask)
        see(self.pool_quantizer, None if self.config.pooling != "none" else mask)
        see(self.output_quantizer, None if self.config.pooling != "none" else mask)
        gain = self.config.input_gain
        z = self.input_quantizer(x * (x.new_tensor(gain) if isinstance(gain, tuple) else gain))
        between = self.input_quantizer.ends, self.encoder_quantizer
        z = self.encoder_quantizer(self.encoder(z, self.input_quantizer.scale, mask, between))
        for block in self.blocks:
            if block.slower is not None:
                z, lengths = block.slower(z, lengths)  # type: ignore[operator]
                mask = _mask(z, lengths)
                see(block, mask)
            z = block(z, mask)
        z = self.pool_quantizer(self._pool(z, lengths, mask))
        between = self.pool_quantizer.ends, self.output_quantizer
        return self.output_quantizer(self.decoder(z, self.pool_quantizer.scale, None, between))  # type: ignore[no-any-return]

    def _pool(self, z: Tensor, lengths: Tensor | None, mask: Tensor | None) -> Tensor:
        if self.config.pooling == "none":
            return z
        if self.config.pooling == "exponential":
            return exponential_mean(z, self.config.pooling_shift, self._pooled(), lengths)
        if lengths is None or mask is None:
            return z.mean(1) if self.config.pooling == "mean" else z[:, -1]
        if self.config.pooling == "last":
            return z[torch.arange(z.shape[0], device=z.device), lengths - 1]
        return torch.where(mask[..., None], z, torch.zeros_like(z)).sum(1) / lengths[:, None]

    def _pooled(self) -> Quantizer:
        """Of what goes into the pooling."""
        last = self.blocks[-1].quantizer if len(self.blocks) else self.encoder_quantizer
        assert isinstance(last, Quantizer)
        return last

    def freeze(self) -> None:
        """Constants instead of parameters; for export."""
        see(self, None)
        self.encoder.freeze(self.input_quantizer.scale)
        for block in self.blocks:
            assert isinstance(block, Block)
            block.freeze()
        self.decoder.freeze(self.pool_quantizer.scale)


def _mask(x: Tensor, lengths: Tensor | None) -> Tensor | None:
    """Which steps (N, T) of x are data; None where all are."""
    return None if lengths is None else torch.arange(x.shape[1], device=x.device) < lengths[:, None]


def set_mode(model: nn.Module, mode: Mode) -> None:
    """Put every layer and quantizer of ``model`` into ``mode``."""
    for module in model.modules():
        if isinstance(module, (Quantizer, QuantLinear, S4D)):
            module.mode = mode


def require_calibrated(model: nn.Module) -> None:
    """Refuse a quantized model none of whose steps was ever set.

    Raises:
        ValueError: it was not calibrated.
    """
    steps = [q.step.log2_step for q in model.modules() if isinstance(q, Quantizer) and q.mode is Mode.QUANTIZED]
    if steps and not any(step.any() for step in steps):
        raise ValueError("the model is quantized and was not calibrated: call ssmc.qat.calibrate(model, batches) first")

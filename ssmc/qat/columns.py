"""What the converters behind the columns of a crossbar do, where they are not simply the quantizer that follows.

With x = ratio acc / unit + bias, a column's converter and the digital unit behind it make

    c = clip(round_half_even(x + bow (1 - relative^2) + spread N(0, 1)), first, last)
    q = clip(round_half_even(back c + zero), lo, hi)

`relative` runs from -1 at code ``first`` to 1 at ``last``, as in ``ssmc.targets.aimc.simulation``. A converter that is
the quantizer has its range and back = 1. Gradients pass where neither code is clipped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ssmc.qat.cells import Written
from ssmc.qat.recurrence import Step, StepRanges, joined, split
from ssmc.qat.weights import straight_to

Normal = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Columns:
    """The converters of C columns, in groups (H, C) or not (C).

    Attributes:
        ratio: converter codes per ``unit``; apart from it, so that a tie of acc / unit is one in float32 too.
        unit: accumulator units.
        bias: converter code at accumulator 0.
        first, last: smallest and largest code of the converter.
        back: codes of the quantizer per converter code.
        zero: code of the quantizer at converter code 0.
        bow: integral nonlinearity, codes.
        ends: range of the quantizer.
    """

    ratio: Tensor
    unit: Tensor
    bias: Tensor
    first: Tensor
    last: Tensor
    back: Tensor
    zero: Tensor
    bow: Tensor
    ends: tuple[int, int]

    @classmethod
    def quantizer(cls, ratio: Tensor, bias: Tensor, ends: tuple[int, int]) -> Columns:
        """Converters that are the quantizer."""
        zero = torch.zeros_like(ratio)
        return cls(ratio, zero + 1, bias, zero + ends[0], zero + ends[1], zero + 1, zero, zero, ends)

    def deviating(self, written: Written) -> Columns:
        """Converters of a chip, which are not alike."""
        return replace(self, ratio=self.ratio * written.gain, bias=self.bias + written.offset, bow=written.bow)

    @torch.no_grad()
    def spread(self, v: Tensor, variance: Tensor | None, fresh: float = 0.0) -> Tensor | None:
        """Of noise in converter codes (.., C), for drives v (.., in) of one group with ``variance`` (1, C, in).

        ``fresh``: that of every conversion.
        """
        if variance is None:
            return torch.full_like(self.ratio[0], fresh) if fresh else None
        read = torch.sqrt(torch.matmul(v * v, variance[0].T)) * (self.ratio / self.unit).abs()
        return torch.sqrt(read * read + fresh**2) if fresh else read

    def codes(self, acc: Tensor, spread: Tensor | None = None, normal: Normal = torch.randn_like) -> Tensor:
        """Codes q of accumulators (..., C); ``spread`` (..., C) of noise in converter codes."""
        x = acc * self.ratio / self.unit + self.bias
        with torch.no_grad():
            relative = (2 * x - self.first - self.last) / (self.last - self.first)
            added = self.bow * (1 - relative * relative)
            if spread is not None:
                added = added + spread * normal(x)
        x = x + added
        c = torch.clamp(straight_to(torch.round(x), x), self.first, self.last)
        q = self.back * c + self.zero
        return torch.clamp(straight_to(torch.round(q), q), *self.ends)


@dataclass(frozen=True)
class Crossbar:
    """A kernel in cells: every cell of the matrix, and its converters.

    Attributes:
        weight: codes with what is wrong about the cells, (H, n+1, n+1), rows are outputs.
        columns: the converters, (H, n+1).
        variance: of a product per squared drive, (H, n+1, n+1); None where reading is noiseless.
        noise: of every conversion, in converter codes.
        through: the matrix that carries the gradient from a step to the one before; None: ``weight``. What is wrong
            about cells can put a pole outside the unit circle: registers saturate, a gradient would grow for ever.
    """

    weight: Tensor
    columns: Columns
    variance: Tensor | None = None
    noise: float = 0.0
    through: Tensor | None = None

    @property
    def gradient_through(self) -> Tensor:
        """``through``, or ``weight``."""
        return (self.weight if self.through is None else self.through).detach()

    def step(self, dac_step: Tensor, keep: Tensor, ranges: StepRanges, normal: Normal = torch.randn_like) -> Step:
        """`ssmc.qat.recurrence.quantized_step` through these cells and converters."""
        n = self.weight.shape[-1] - 1
        one, kept = torch.ones_like(dac_step[0, 0]), keep.repeat_interleave(2, 1)

        def step(r: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
            rows = r if ranges.form == "direct" else torch.ops.ssmc.fake_quant(r, dac_step, one, *ranges.dac)
            v = joined(rows, u)
            spread = self.spread(v)
            acc = torch.matmul(self.weight, v.detach())
            acc = straight_to(acc.detach(), acc + torch.matmul(self.gradient_through, v))
            inc, y = split(self.columns.codes(acc.squeeze(-1), spread, normal), n)
            return (inc, y) if ranges.form == "direct" else (torch.clamp(r * kept + inc, *ranges.register), y)

        return step

    @torch.no_grad()
    def spread(self, v: Tensor) -> Tensor | None:
        """Of the noise of every conversion (N, H, n+1) with drives v (N, H, n+1, 1)."""
        if self.variance is None:
            return self.columns.ratio * 0 + self.noise if self.noise else None
        read = torch.matmul(self.variance, v * v).squeeze(-1) * (self.columns.ratio / self.columns.unit) ** 2
        return torch.sqrt(read + self.noise**2)

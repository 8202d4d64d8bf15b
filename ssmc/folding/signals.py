"""Real-valued expressions over integer codes: what lies between two quantizers.

Folding walks the real graph once. Every value is a `Signal`: how its real numbers follow from codes already emitted,
and where batch, time and channels are on its axes. A quantizer closes a signal into one integer operation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import onnx_ir as ir

from ssmc.ir.operations.dequantize import Head
from ssmc.ir.operations.downsample import Rest
from ssmc.ir.quant import Rate
from ssmc.ir.rounding import FloatArray, IntArray
from ssmc.recognition.axes import Roles

MOST_TABLE_BITS = 12


@dataclass(frozen=True)
class Signal:
    """Base: the roles of the axes (``N``, ``T``, ``C``, ``1``) and the number of channels."""

    roles: Roles
    size: int

    def scaled(self, factor: FloatArray) -> Signal | None:
        """The signal times a constant per channel (size,), where this kind can hold it."""
        return None

    def shifted(self, offset: FloatArray) -> Signal | None:
        """The signal plus a constant per channel (size,)."""
        return None

    def channels(self, index: IntArray) -> Signal | None:
        """The signal's channels ``index``, where no operation is needed for that."""
        return None


class Summed(Signal):
    """A signal with a constant term ``offset``; a factor multiplies it and the fields named in ``factors``."""

    factors: ClassVar[tuple[str, ...]]
    offset: FloatArray

    def scaled(self, factor: FloatArray) -> Self:
        """Exact as long as the products are."""
        old = {name: getattr(self, name) for name in ("offset", *self.factors)}
        new: dict[str, Any] = {name: v * factor.reshape(-1, *[1] * (v.ndim - 1)) for name, v in old.items()}
        return replace(self, **new)

    def shifted(self, offset: FloatArray) -> Self:
        """Move the offset."""
        new: dict[str, Any] = {"offset": self.offset + offset}
        return replace(self, **new)


@dataclass(frozen=True)
class Raw(Signal):
    """The model's real input times ``factor``."""

    factor: FloatArray

    def scaled(self, factor: FloatArray) -> Signal | None:
        """Fold a positive factor."""
        return replace(self, factor=self.factor * factor) if (factor > 0).all() else None

    def channels(self, index: IntArray) -> Signal | None:
        """Neighbouring columns."""
        alone = np.array_equal(index, np.arange(index[0], index[-1] + 1))
        return Columns(self.roles, len(index), self, int(index[0])) if alone else None


@dataclass(frozen=True)
class Columns(Signal):
    """Columns of the model's real input from ``start`` on, on their way to a quantizer of their own."""

    source: Raw
    start: int

    def scaled(self, factor: FloatArray) -> Signal | None:
        """Fold a positive factor."""
        whole = self.source.factor.copy()
        whole[self.start : self.start + self.size] *= factor
        return replace(self, source=replace(self.source, factor=whole)) if (factor > 0).all() else None


@dataclass(frozen=True)
class Tokens(Signal):
    """The model's input where it is token ids; only a table may read them."""


@dataclass(frozen=True)
class Coded(Summed):
    """``scale * code + offset`` of one code value.

    Attributes:
        value: the code value in the graph that is being emitted.
        lo, hi: range of the codes.
        scale, offset: (size,).
        rate: once per step or per sequence.
    """

    factors = ("scale",)
    value: ir.Value
    lo: int
    hi: int
    scale: FloatArray
    offset: FloatArray
    rate: Rate

    def mapped(self) -> Mapped | None:
        """The same signal as a table, where the codes are narrow enough for one."""
        if self.hi - self.lo >= 1 << MOST_TABLE_BITS:
            return None
        codes = np.arange(self.lo, self.hi + 1, dtype=np.float64)
        same = len({*zip(self.scale.tolist(), self.offset.tolist(), strict=True)}) == 1
        scale, offset = (v[:1] if same else v for v in (self.scale, self.offset))
        return Mapped(self.roles, self.size, self, scale[:, None] * codes + offset[:, None])


@dataclass(frozen=True)
class Mapped(Signal):
    """Any function of one code: ``table[channel, code - lo]``, (1, levels) or (size, levels), real."""

    source: Coded
    table: FloatArray

    def within(self, lo: int, hi: int) -> Mapped:
        """The same for some of the codes: it was quantized again on the same grid, and others do not occur."""
        table = self.table[:, lo - self.source.lo : hi - self.source.lo + 1]
        return replace(self, source=replace(self.source, lo=lo, hi=hi), table=table)

    def scaled(self, factor: FloatArray) -> Signal:
        """Scale the table."""
        return replace(self, table=self.table * _column(factor))

    def shifted(self, offset: FloatArray) -> Signal:
        """Shift the table."""
        return replace(self, table=self.table + _column(offset))


def _column(values: FloatArray) -> FloatArray:
    return values[:1, None] if (values == values[0]).all() else values[:, None]


@dataclass(frozen=True)
class Product(Summed):
    """``coefficient * a_code * b_code + offset``."""

    factors = ("coefficient",)
    a: Coded
    b: Coded
    coefficient: FloatArray
    offset: FloatArray


@dataclass(frozen=True)
class Dense(Summed):
    """``gain * (W code) + offset``: W (size, in) integers, gain and offset (size,)."""

    factors = ("gain",)
    source: Coded
    W: IntArray
    gain: FloatArray
    offset: FloatArray
    exact: bool = True

    def channels(self, index: IntArray) -> Signal:
        """Rows of the matrix."""
        return replace(self, size=len(index), W=self.W[index], gain=self.gain[index], offset=self.offset[index])


@dataclass(frozen=True)
class Sum(Summed):
    """``a + b + offset`` of two code values with their own scales."""

    a: Coded
    b: Coded
    offset: FloatArray

    def scaled(self, factor: FloatArray) -> Self:
        """Scale both terms."""
        return replace(
            self,
            a=replace(self.a, scale=self.a.scale * factor),
            b=replace(self.b, scale=self.b.scale * factor),
            offset=self.offset * factor,
        )


@dataclass(frozen=True)
class Mean(Summed):
    """``coefficient * mean over time of code + offset``."""

    factors = ("coefficient",)
    source: Coded
    coefficient: FloatArray
    offset: FloatArray


@dataclass(frozen=True)
class Total(Mean):
    """``coefficient * sum over time of code + offset``."""


@dataclass(frozen=True)
class Grouped(Mean):
    """``coefficient * mean of code over each group of k steps + offset``; what a rest does is ``rest``."""

    k: int
    rest: Rest


@dataclass(frozen=True)
class Sliding(Mean):
    """``coefficient * mean of code over the last width steps + offset``."""

    width: int


@dataclass(frozen=True)
class Ending(Signal):
    """The last ``width`` steps of a code value, all where there are fewer: on its way into a mean or sum."""

    source: Coded
    width: int


@dataclass(frozen=True)
class Newest(Signal):
    """The last step of another signal, which is quantized at every step."""

    source: Signal

    def scaled(self, factor: FloatArray) -> Signal | None:
        """Scale the source."""
        return self._of(self.source.scaled(factor))

    def shifted(self, offset: FloatArray) -> Signal | None:
        """Shift the source."""
        return self._of(self.source.shifted(offset))

    def _of(self, source: Signal | None) -> Signal | None:
        return None if source is None else replace(self, source=source)


@dataclass(frozen=True)
class Picked(Signal):
    """Every k-th step of another signal, from step ``phase`` on: a stride between a convolution and its quantizer."""

    source: Signal
    k: int
    phase: int

    def scaled(self, factor: FloatArray) -> Signal | None:
        """Scale the source."""
        return self._of(self.source.scaled(factor))

    def shifted(self, offset: FloatArray) -> Signal | None:
        """Shift the source."""
        return self._of(self.source.shifted(offset))

    def channels(self, index: IntArray) -> Signal | None:
        """Channels of the source."""
        return self._of(self.source.channels(index))

    def _of(self, source: Signal | None) -> Signal | None:
        return None if source is None else replace(self, size=source.size, source=source)


@dataclass(frozen=True)
class Statistic(Signal):
    """On its way to an RMS norm: the mean square of a code value's channels (plus eps), its root, or the inverse."""

    source: Coded
    epsilon: float
    stage: str

    def shifted(self, offset: FloatArray) -> Signal | None:
        """Add eps to the mean square."""
        same = self.stage == "mean square" and bool((offset == offset[0]).all())
        return replace(self, epsilon=self.epsilon + float(offset[0])) if same else None


@dataclass(frozen=True)
class Norm(Summed):
    """``gain * (x - mean) / sqrt(var + epsilon) + offset`` over the channels; ``centred`` False: the mean is 0."""

    factors = ("gain",)
    source: Coded
    centred: bool
    epsilon: float
    gain: FloatArray
    offset: FloatArray


@dataclass(frozen=True)
class Padded(Signal):
    """A code value with ``before`` zero steps in front, on its way into a convolution."""

    source: Coded
    before: int


@dataclass(frozen=True)
class Shortened(Signal):
    """A code value without its last ``cut`` steps, on its way into a padding that makes up for them."""

    source: Coded
    cut: int


@dataclass(frozen=True)
class Convolved(Summed):
    """Causal convolution per channel: ``sum_k taps[c, k] x[t - k] + offset``; taps (size, K).

    ``tail`` steps beyond the last input are still to be cut off.
    """

    factors = ("taps",)
    source: Coded
    taps: FloatArray
    offset: FloatArray
    tail: int = 0


@dataclass(frozen=True)
class Mixed(Summed):
    """Causal convolution over all channels: ``sum_c,k taps[o, c, k] x[c, t - k] + offset``; taps (size, C, K).

    ``tail`` as in `Convolved`.
    """

    factors = ("taps",)
    source: Coded
    taps: FloatArray
    offset: FloatArray
    tail: int = 0


@dataclass(frozen=True)
class KernelOutput(Summed):
    """The unquantized output of a state-space node: ``factor * y + offset`` per channel."""

    factors = ("factor",)
    node: ir.Node
    source: Coded
    factor: FloatArray
    offset: FloatArray


@dataclass(frozen=True)
class Clamped(Signal):
    """Another signal limited to ``low..high``: a ReLU between a matrix and its quantizer."""

    source: Signal
    low: float
    high: float

    def channels(self, index: IntArray) -> Signal | None:
        """Channels of the source."""
        source = self.source.channels(index)
        return None if source is None else replace(self, size=len(index), source=source)


@dataclass(frozen=True)
class Headed(Signal):
    """What the model makes of its outputs outside the integer program: softmax or argmax of a signal's channels."""

    source: Signal
    head: Head

"""Groups of steps to one step each: a lower rate for everything that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

import numpy as np

from ssmc.ir.operations.mean import ROUNDED_MEAN, exact_mean
from ssmc.ir.operations.operation import Function, Op, RealCodes
from ssmc.ir.operations.reading import GraphNode, code_type, per_channel, ratios
from ssmc.ir.quant import Codes
from ssmc.ir.rates import Clock, Group
from ssmc.ir.rounding import IntArray

How = Literal["mean", "pick"]
Rest = Literal["drop", "emit"]
RESTS: tuple[Rest, Rest] = ("drop", "emit")


_GROUPS = """\
  zero = Constant <value_ints: ints = [0]> ()
  one = Constant <value_ints: ints = [1]> ()
  two = Constant <value_ints: ints = [2]> ()
  batch = Shape <start: int = 0, end: int = 1> (x)
  time = Shape <start: int = 1, end: int = 2> (x)
  size = Shape <start: int = 2> (x)
  short = Sub (k, one)
  more = Mul (short, rest)
  reach = Add (time, more)
  rows = Div (reach, k)
  whole = Mul (rows, k)
  pads = Concat <axis: int = 0> (zero, short)
  nothing = Constant <value: tensor = @TYPE {0}> ()
  padded = Pad (x, pads, nothing, one)
  cut = Slice (padded, zero, whole, one)
  shape = Concat <axis: int = 0> (batch, rows, k, size)
  grouped = Reshape <allowzero: int = 1> (cut, shape)
  total = ReduceSum <keepdims: int = 0> (grouped, two)
  first = Constant <value: tensor = int64 {0}> ()
  next = Constant <value: tensor = int64 {1}> ()
  last = Squeeze (rows, zero)
  index = Range (first, last, next)
  start = Mul (index, k)
  left = Sub (time, start)
  members = Min (left, k)"""

#: every k-th step from ``phase`` on, those of a last group that is not whole only where ``rest`` is 1
PICK = """DownsamplePick (x, k, phase, rest) => (y) {
  one = Constant <value_ints: ints = [1]> ()
  time = Shape <start: int = 1, end: int = 2> (x)
  rows = Div (time, k)
  whole = Mul (rows, k)
  left = Sub (time, whole)
  more = Mul (left, rest)
  end = Add (whole, more)
  y = Slice (x, phase, end, one, k)
}"""


def group_text(dtype: str) -> str:
    """ONNX text: the sum ``total`` (N, rows, C) of each group of ``x`` in ``dtype``, and its ``members`` (rows,)."""
    return _GROUPS.replace("@TYPE", dtype)


@dataclass(frozen=True)
class Downsample(Op):
    """One step for every ``k`` steps of the input, on a clock of its own; groups start at step 0 of each sequence.

    - ``mean``: ``y = clip(round_half_even(ratio * sum / m), lo, hi)`` with exact rational ``ratio``, one per channel;
      m = k, or the steps that are left for the last group where ``rest`` is ``emit``.
    - ``pick``: the code at step ``phase`` of each group, given at that step where ``rest`` is ``emit``, else with the
      last step of the group. A ``phase`` of k or more passes over whole groups in the beginning.

    Attributes:
        rest: what a last, incomplete group does: ``emit`` gives one more step, ``drop`` nothing.
    """

    k: int
    how: How
    phase: int
    rest: Rest
    ratio: tuple[Fraction, ...]
    lo: int
    hi: int

    functions: ClassVar[dict[str, Function]] = {
        "Downsample": Function(
            "Downsample (x, k, rest, gain, step, lo, hi) => (q) {\n" + group_text("double") + ROUNDED_MEAN
        ),
        "DownsamplePick": Function(PICK),
    }
    integer_constants: ClassVar[frozenset[str]] = frozenset({"k", "phase", "rest"})

    @classmethod
    def read(cls, node: GraphNode) -> tuple[Downsample, Codes]:
        """One exact ratio per channel for a mean; the codes of a pick are the input's."""
        c, (x,) = node.constants, node.types
        k, rest = int(c["k"][0]), RESTS[int(c["rest"][0])]
        if node.op_type == "DownsamplePick":
            phase, one = int(c["phase"][0]), (Fraction(1),) * x.size
            return cls(*node.wiring, k, "pick", phase, rest, one, *x.ends), Codes(x.size, x.quant, x.rate)
        ratio = ratios(per_channel(c, "gain", x.size), per_channel(c, "step", x.size))
        lo, hi = int(c["lo"]), int(c["hi"])
        op = cls(*node.wiring, k, "mean", 0, rest, ratio, lo, hi)
        return op, code_type(x.size, lo, hi, x.rate)

    @property
    def group(self) -> Group:
        """When it gives its steps."""
        if self.how == "pick" and self.rest == "emit":
            return Group(self.k, self.phase, rest=False)
        return Group(self.k, self.k - 1, rest=self.rest == "emit")

    def clock(self, source: Clock) -> Clock:
        """That of the input, and one group more."""
        return (*source, self.group)

    def gather(self, held: IntArray, count: IntArray, x: IntArray) -> IntArray:
        """What a group has so far, (N, C), with the step x that is the ``count``-th (N,), counted from 1."""
        place = (count - 1)[:, None]
        if self.how == "mean":
            return np.where(place % self.k == 0, 0, held) + x
        wanted = (place >= self.phase) & ((place - self.phase) % self.k == 0)
        return np.where(wanted, x, held)

    def give(self, held: IntArray, count: IntArray) -> IntArray:
        """Output codes (N, C) of groups that end with step ``count`` (N,), counted from 1."""
        if self.how == "pick":
            return held
        return exact_mean(self.ratio, held, (count - 1) % self.k + 1, self.lo, self.hi)

    def whole(self, x: IntArray, lengths: IntArray | None = None) -> IntArray:
        """Output codes (N, rows, C) of sequences (N, T, C) that have ended; anything beyond the rows of a sample.

        ``lengths`` (N,) are the true steps, T where they are not given.
        """
        lengths = np.full(len(x), x.shape[1]) if lengths is None else lengths
        rows = int(self.group.at_end(lengths).max(initial=0))
        if self.how == "pick":
            return x[:, self.phase :: self.k][:, :rows]
        totals, members = self._sums(x, lengths, rows)
        flat = exact_mean(self.ratio, totals.reshape(-1, x.shape[2]), members.ravel(), self.lo, self.hi)
        return flat.reshape(totals.shape)

    def real(self, *xs: IntArray) -> RealCodes | None:
        """The means in units of an output code."""
        if self.how == "pick":
            return None
        (x,) = xs
        lengths, rows = np.full(len(x), x.shape[1]), int(self.group.at_end(np.array(x.shape[1])))
        (totals, members), (sizes, _) = (self._sums(array, lengths, rows) for array in (x, np.abs(x)))
        share = np.array([float(r) for r in self.ratio]) / members[..., None]
        return RealCodes(totals * share, sizes * share)

    def largest_sum(self, tops: Sequence[int]) -> int | None:
        """Of a whole group."""
        return self.k * tops[0] if self.how == "mean" else None

    def _sums(self, x: IntArray, lengths: IntArray, rows: int) -> tuple[IntArray, IntArray]:
        """Sums (N, rows, C) and numbers of steps (N, rows) of the groups of sequences (N, T, C)."""
        starts = np.minimum(np.arange(rows) * self.k, lengths[:, None])
        ends = np.minimum(starts + self.k, lengths[:, None])
        before = np.concatenate([np.zeros_like(x[:, :1]), x.cumsum(1)], 1)
        sample = np.arange(len(x))[:, None]
        return before[sample, ends] - before[sample, starts], ends - starts

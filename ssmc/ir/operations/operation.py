"""What an operation of the integer program says about itself.

Each operation has one file in this folder. Its class states the equation, the ONNX text that defines it, how it is
read from a node of the graph, what it computes, and what pruning and the report need to know. Three kinds compute:
a `Stateless` operation on the codes of one time step, a `Recurrent` one with registers that live from step to step,
and a `Reduction`, which makes one value of a whole sequence.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssmc.ir.matrix import Matrix
from ssmc.ir.operations.reading import GraphNode
from ssmc.ir.parts import Constants
from ssmc.ir.quant import Codes
from ssmc.ir.rates import Clock
from ssmc.ir.requant import Requant
from ssmc.ir.rounding import FloatArray, IntArray

Mask = NDArray[np.bool_]
PER_CHANNEL = ("gain", "gain_a", "gain_b", "step", "offset", "lo", "hi")


@dataclass(frozen=True)
class Function:
    """The ONNX function of a node type: its text, and the first level at which such nodes may stand in a graph."""

    text: str
    since: Literal["folded", "fused", "placed"] = "folded"


class RealCodes(NamedTuple):
    """Output codes in real numbers, before rounding, and the sum of the absolute terms that they are made of."""

    value: FloatArray
    magnitude: FloatArray


@dataclass(frozen=True)
class Op(ABC):
    """Base of the operations: named, with input and output values by name.

    Attributes:
        functions: the node types of the domain ``ssmc`` that are read as this operation.
        integer_constants: names of a node's constants that are int64; the others are float64.
        computes: makes codes by arithmetic or a table, so that its exactness is worth a word; others only move codes.
        float_terms: how many float32 errors of a sum add up where float32 evaluates the operation.
    """

    name: str
    inputs: tuple[str, ...]
    output: str

    functions: ClassVar[dict[str, Function]]
    integer_constants: ClassVar[frozenset[str]] = frozenset()
    computes: ClassVar[bool] = True
    float_terms: ClassVar[float] = 1.0

    @classmethod
    @abstractmethod
    def read(cls, node: GraphNode) -> tuple[Op, Codes | None]:
        """The operation of a node and the type of its output; None where the output is real."""

    def clock(self, source: Clock) -> Clock:
        """The clock of the output, where ``source`` is that of the inputs."""
        return source

    def matrices(self) -> tuple[Matrix, ...]:
        """Its integer matrices."""
        return ()

    def requants(self) -> tuple[Requant, ...]:
        """Its requantizations, one per matrix or product."""
        return ()

    def largest_sum(self, tops: Sequence[int]) -> int | None:
        """Largest absolute value of any sum, for inputs whose codes are at most ``tops``; None where it forms none."""
        return None

    def error_bound(self) -> float:
        """Largest distance, in output codes before rounding, from the real-valued meaning; 0 is proven exact.

        By default that of the conversions which its matrices are lowered to, and of ratios that no 62 bits hold.
        """
        pairs = zip_longest(self.matrices(), self.requants())
        return max((r.distance + (m.conversion_error(r) if m else 0.0) for m, r in pairs if r), default=0.0)

    def real(self, *xs: IntArray) -> RealCodes | None:
        """The real-valued meaning on input codes; None where the operation rounds nothing."""
        return None

    @classmethod
    def channels(cls, c: Constants, sources: Sequence[int]) -> int:
        """Output channels of a node with constants ``c`` whose inputs have ``sources`` channels."""
        return sources[0]

    @classmethod
    def demand(cls, c: Constants, out: Mask, sources: Sequence[Mask]) -> tuple[Mask, tuple[Mask, ...]]:
        """Channels that must stay, of the output and of every input, where these are needed already.

        By default channel c of the output and of the inputs belong together.
        """
        union = np.any([out, *sources], axis=0)
        return union, (union,) * len(sources)

    @classmethod
    def narrowed(cls, c: Constants, out: Mask, source: Mask) -> Constants:
        """The constants that change where only the channels ``out`` and ``source`` stay."""
        return {key: c[key][out] for key in PER_CHANNEL if key in c and c[key].shape == out.shape}

    @classmethod
    def constant_codes(cls, c: Constants, source: FloatArray | None) -> FloatArray | None:
        """Codes of the output's constant channels, NaN elsewhere, given those of the input; None: not known."""
        return None

    @classmethod
    def absorbed(cls, c: Constants, source: FloatArray) -> Constants | None:
        """The constants that change where constant input channels move into the offset; None where nothing moves."""
        return None


@dataclass(frozen=True)
class Stateless(Op):
    """An operation on the codes of one time step, or of one sequence."""

    @abstractmethod
    def apply(self, *args: Any, **kwargs: Any) -> IntArray:
        """Codes (..., C) of every input to codes of the output."""


@dataclass(frozen=True)
class Recurrent(Op):
    """An operation whose registers live from step to step."""

    @abstractmethod
    def start(self, batch: int) -> IntArray:
        """Registers (N, ...) before the first step."""

    @abstractmethod
    def advance(self, register: IntArray, x: IntArray) -> tuple[IntArray, IntArray]:
        """Registers (N, ...) and codes (N, C) of one step to new registers and output codes."""


@dataclass(frozen=True)
class Reduction(Op):
    """One value of a whole sequence: what is accumulated lives from step to step."""

    @property
    def start(self) -> int:
        """What the accumulator holds before the first step."""
        return 0

    @abstractmethod
    def accumulate(self, total: IntArray, x: IntArray) -> IntArray:
        """The accumulator (N, C) with one more step."""

    @abstractmethod
    def finish(self, total: IntArray, length: IntArray) -> IntArray:
        """Output codes (N, C) after ``length`` (N,) true steps."""

    def clock(self, source: Clock) -> Clock:
        """A value of the whole sequence has none."""
        return ()

    @abstractmethod
    def reduce(self, x: IntArray) -> IntArray:
        """Output codes (N, C) of whole sequences (N, T, C) at once."""

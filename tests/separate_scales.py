"""Recurrences with scales of their own for A, B, C, D, state, input and output, and their codes in fractions."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import onnx
from numpy.typing import NDArray

from tests.graph_writer import Codes, Floats, Graph, Grid, signed

TIME = 12
UNIT = 4
Exact = list[Fraction]


@dataclass(frozen=True)
class Separate:
    """A random system as general QAT tools write it: one step per tensor, or per row of a weight.

    Attributes:
        channels: groups of ``states`` states with one input and one output each, or 0: one dense system of
            ``states`` states, ``inputs`` inputs and ``outputs`` outputs.
        after: y reads the new state.
        feed: there is a D.
        per_row: weights have a step per row of a dense system, per group of others.
        weight_bits, code_bits: of the weights, and of state, input and output.
        bias: the state's sum has a real constant.
        delta: the state is a register of `UNIT` steps per read-out step, whose increments are quantized; its step is a
            power of two, so that float32 adds it up exactly.
    """

    seed: int
    channels: int = 0
    states: int = 3
    inputs: int = 2
    outputs: int = 2
    after: bool = False
    feed: bool = True
    per_row: bool = False
    weight_bits: int = 8
    code_bits: int = 8
    bias: bool = False
    delta: bool = False

    @property
    def groups(self) -> int:
        """Independent systems."""
        return self.channels or 1

    @property
    def width(self) -> tuple[int, int]:
        """Inputs and outputs of a group."""
        return (1, 1) if self.channels else (self.inputs, self.outputs)

    @cached_property
    def weights(self) -> dict[str, tuple[Codes, Floats]]:
        """A, B, C and D as codes (G, rows, columns) and float32 steps (G, rows)."""
        rng = np.random.default_rng(self.seed)
        n, (m, p), top = self.states, self.width, (1 << (self.weight_bits - 1)) - 1
        made = {}
        for name, shape, size in (("A", (n, n), 0.8 / n), ("B", (n, m), 1.0), ("C", (p, n), 1.0), ("D", (p, m), 1.0)):
            codes = rng.integers(-top, top + 1, (self.groups, *shape))
            if name == "A" and self.delta:  # A - I, which decays
                codes = codes // 4 * (1 - np.eye(n, dtype=np.int64)) - top * np.eye(n, dtype=np.int64)
            spread = () if not self.per_row else (self.groups, 1) if self.channels else (1, shape[0])
            step = np.asarray(size / top * rng.uniform(0.5, 1.0, spread), np.float32)
            made[name] = codes * (name != "D" or self.feed), np.broadcast_to(step, (self.groups, shape[0]))
        return made

    @cached_property
    def steps(self) -> dict[str, np.float32]:
        """Steps of input, state and output, and the constant of the state's sum."""
        rng = np.random.default_rng((self.seed, 1))
        top = 1 << (self.code_bits - 1)
        drawn = {name: np.float32(rng.uniform(0.7, 3.0) / top) for name in ("u", "s", "y")}
        drawn |= {"s": np.float32(2.0 / top)} if self.delta else {}
        return drawn | {"b": np.float32(rng.uniform(-0.2, 0.2) if self.bias else 0.0)}

    def grid(self, name: str) -> Grid:
        """Quantizer of input, state or output."""
        return signed(self.code_bits, self.steps[name])


class _Step:
    """One step of a system in ONNX: states (N, G, n), inputs (N, G m)."""

    def __init__(self, s: Separate) -> None:
        self.s = s

    def __call__(self, g: Graph, states: list[str], u: str) -> tuple[list[str], list[str]]:
        s = self.s
        n, (m, p) = s.states, s.width
        column = g.op("Reshape", u, g.const([-1, s.groups, m, 1], np.int64))
        held = g.quant(states[0], s.grid("s"), "R") if s.delta else states[0]
        old = g.op("Unsqueeze", held, g.const([3], np.int64))
        fed = g.op("Add", self._times(g, "A", old), self._times(g, "B", column))
        moved = g.op("Reshape", g.op("Add", fed, g.const(s.steps["b"])), g.const([-1, s.groups, n], np.int64))
        new = self._register(g, states[0], moved) if s.delta else g.quant(moved, s.grid("s"), "state")
        after = g.quant(new, s.grid("s"), "Ry") if s.delta and s.after else new
        read = g.op("Unsqueeze", after, g.const([3], np.int64)) if s.after else old
        seen = self._times(g, "C", read)
        if s.feed:
            seen = g.op("Add", seen, self._times(g, "D", column))
        return [new], [g.quant(g.op("Reshape", seen, g.const([-1, s.groups * p], np.int64)), s.grid("y"), "y")]

    def _register(self, g: Graph, state: str, moved: str) -> str:
        step = self.s.steps["s"] / np.float32(UNIT)
        increment = g.quant(moved, signed(self.s.code_bits, step), "increment")
        end = g.const(step * np.float32(UNIT * self.s.grid("s").hi))
        return g.op("Clip", g.op("Add", state, increment), g.op("Neg", end), end)

    def _times(self, g: Graph, name: str, x: str) -> str:
        """A weight times a column."""
        codes, step = self.s.weights[name]
        stored = g.const(codes, np.int8 if self.s.weight_bits <= 8 else np.int16)
        scale = step.ravel()[0] if not self.s.per_row else step[:, 0] if self.s.channels else step[0]
        where = {"axis": 0 if self.s.channels else 1} if self.s.per_row else {}
        return g.op("MatMul", g.op("DequantizeLinear", stored, g.const(scale), **where), x)


def model(s: Separate) -> onnx.ModelProto:
    """x (N, T, G m) is quantized, walks through the recurrence, and its output is the model's."""
    g = Graph("qdq")
    size = s.groups * s.width[0]
    u = g.quant("x", s.grid("u"), "u")
    (y,) = g.loop(u, [(s.groups, s.states)], _Step(s))
    return g.finish(size, y, ["batch", "time", s.groups * s.width[1]])


def sample(s: Separate, batch: int = 2) -> Floats:
    """Random input that visits the whole range of its codes."""
    rng = np.random.default_rng((s.seed, 2))
    return rng.uniform(-3.2, 3.2, (batch, TIME, s.groups * s.width[0])).astype(np.float32)


def exact_sums(s: Separate, state: NDArray[np.int64], u: NDArray[np.int64], rows: str) -> Exact:
    """``A x + B u`` (rows "AB") or ``C x + D u`` ("CD") in units of the code that is made of it, group by group.

    Args:
        s: the system.
        state: codes (G, n).
        u: codes (G, m).
        rows: which weights.
    """
    step = Fraction(float(s.steps["s" if rows == "AB" else "y"])) / (UNIT if s.delta and rows == "AB" else 1)
    constant = Fraction(float(s.steps["b"])) / step if rows == "AB" else Fraction(0)
    scaled = [(s.weights[rows[0]], s.steps["s"], state), (s.weights[rows[1]], s.steps["u"], u)]
    return [
        constant + sum(_term(part, group, row) for part in scaled) / step
        for group in range(s.groups)
        for row in range(scaled[0][0][0].shape[1])
    ]


def _term(part: tuple[tuple[Codes, Floats], np.float32, NDArray[np.int64]], group: int, row: int) -> Fraction:
    (codes, step), scale, v = part
    return Fraction(float(step[group, row])) * Fraction(float(scale)) * int(codes[group, row] @ v[group])


def quantized(value: Fraction, bits: int) -> int:
    """The exact code."""
    return min(max(round(value), -(1 << (bits - 1))), (1 << (bits - 1)) - 1)


def tie_distance(value: Fraction) -> Fraction:
    """Distance from the nearest half."""
    return abs(value - (value.numerator // value.denominator) - Fraction(1, 2))

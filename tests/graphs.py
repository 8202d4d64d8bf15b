"""Random quantized state-space models as ONNX graphs, written without torch and without a line of ssmc.

`model` builds what a `Spec` says: encoder, recurrence as ``Scan``, table, mixing, gate, residual, pooling, decoder.
With power-of-two scales every float32 sum of the model is exact, so onnxruntime's result *is* the model's meaning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from ssmc.verify import run_onnx
from tests.graph_writer import Codes, Floats, Graph, Grid, signed, unsigned


@dataclass(frozen=True)
class Spec:
    """A random model.

    Attributes:
        spelling: of quantizers: ``qdq``, ``round`` (Div-Round-Clip-Mul), ``minmax`` (Max, Min for Clip), ``qonnx``.
        form: ``direct`` or ``delta``.
        layout: ``pair`` (Re and Im in two state tensors), ``joint`` (one tensor, a matrix per channel) or
            ``dense`` (one MIMO matrix).
        after: y reads the new state.
        y_inside: the quantizer of y stands in the loop body.
        free: scales are arbitrary float32 numbers, else powers of two.
        per_channel: activations and states have a scale per channel.
        sparse: many weights, whole rows and columns among them, are 0.
        pool: ``mean``, ``last`` or ``none``.
    """

    seed: int = 0
    spelling: str = "qdq"
    form: str = "direct"
    layout: str = "pair"
    after: bool = False
    y_inside: bool = False
    free: bool = False
    per_channel: bool = False
    sparse: bool = False
    features: int = 2
    channels: int = 3
    states: int = 2
    weight_bits: int = 6
    code_bits: int = 7
    table: str = "Relu"
    norm: bool = True
    gate: bool = True
    residual: bool = True
    pool: str = "mean"
    layers: int = 1
    classes: int = 3


def model(spec: Spec) -> onnx.ModelProto:
    """The ONNX model of a spec."""
    return _Builder(spec).build()


def reference(spec: Spec, x: Floats) -> NDArray[np.float32]:
    """onnxruntime on the original model; for QONNX, which it does not run, on the same model spelled with Round."""
    runnable = replace(spec, spelling="round") if spec.spelling == "qonnx" else spec
    return np.asarray(run_onnx(model(runnable), {"x": x})[0])


def sample(spec: Spec, batch: int = 3, steps: int = 9, seed: int = 1) -> Floats:
    """A random input."""
    rng = np.random.default_rng((spec.seed, seed))
    return rng.standard_normal((batch, steps, spec.features)).astype(np.float32)


class _Builder:
    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.rng = np.random.default_rng(spec.seed)
        self.g = Graph(spec.spelling)

    def scale(self, size: int | None = None) -> Floats:
        """Steps near 2 / 2**code_bits: codes cover about -2..2."""
        spread = self.rng.integers(-1, 2, () if size is None else (size,))
        exponent = 2 - self.spec.code_bits + spread
        mantissa = self.rng.uniform(0.75, 1.5, exponent.shape) if self.spec.free else 1.0
        return np.asarray(mantissa * np.exp2(exponent), np.float32)

    def activation(self, size: int) -> Floats:
        """A step per channel, or one; free steps that differ by channel have no common grid in a matrix."""
        return self.scale(size if self.spec.per_channel and not self.spec.free else None)

    def codes(self, *shape: int) -> Codes:
        top = (1 << (self.spec.weight_bits - 1)) - 1
        codes = self.rng.integers(-top, top + 1, shape)
        if self.spec.sparse:
            codes = codes * (self.rng.random(shape) < 0.7)
            codes[self.rng.random(shape[0]) < 0.3] = 0
            codes[..., self.rng.random(shape[-1]) < 0.3] = 0
        return codes

    def gain(self, fan_in: int) -> float:
        """Weight step that keeps sums of ``fan_in`` terms near 1."""
        exact = 2.0 / (np.sqrt(fan_in) * (1 << (self.spec.weight_bits - 1)))
        return float(np.float32(exact)) if self.spec.free else float(2.0 ** np.round(np.log2(exact)))

    def linear(self, x: str, inputs: int, outputs: int, name: str) -> str:
        weight = self.g.weight(self.codes(outputs, inputs), self.gain(inputs), f"{name}.W")
        turned = self.g.op("Transpose", weight, perm=[1, 0], out=f"{name}.Wt")
        bias = self.g.const(self.rng.integers(-8, 9, outputs) * 2.0**-4, name=f"{name}.b")
        return self.g.op("Add", self.g.op("MatMul", x, turned, out=f"{name}.mm"), bias, out=f"{name}.sum")

    def quant(self, x: str, grid: Grid, name: str) -> str:
        return self.g.quant(x, grid, name)

    def build(self) -> onnx.ModelProto:
        s, bits = self.spec, self.spec.code_bits
        h = self.quant("x", signed(bits, self.activation(s.features)), "xq")
        # The channel scale of u is shared by the recurrence, so it is kept.
        self.u_scale = self.activation(s.channels)
        h = self.quant(self.linear(h, s.features, s.channels, "enc"), signed(bits, self.u_scale), "u")
        for layer in range(s.layers):
            h = self.block(h, f"l{layer}.")
        h = self.pool(h)
        out = self.quant(self.linear(h, s.channels, s.classes, "dec"), signed(8, self.scale()), "out")
        shape = ["batch", "time", s.classes] if s.pool == "none" else ["batch", s.classes]
        return self.g.finish(s.features, out, shape)

    def block(self, u: str, p: str) -> str:
        s, g, bits = self.spec, self.g, self.spec.code_bits
        y = self.scan(u, p)
        if not s.y_inside:
            y = self.quant(y, signed(bits, self.activation(s.channels)), f"{p}y")
        h = self.quant(g.op(s.table, y, out=f"{p}act"), unsigned(bits, self.scale()), f"{p}h")
        width = 2 * s.channels if s.gate else s.channels
        m = self.linear(h, s.channels, width, f"{p}mix")
        if s.norm:
            m = self.batch_norm(m, width, p)
        m = self.quant(m, signed(bits, self.activation(width)), f"{p}m")
        if s.gate:
            halves = (f"{p}a", f"{p}b")
            g.nodes.append(helper.make_node("Split", [m], halves, name=f"{p}split", axis=2, num_outputs=2))
            gate = self.quant(g.op("Sigmoid", halves[1]), unsigned(bits, 2.0**-bits), f"{p}gate")
            m = self.quant(g.op("Mul", halves[0], gate), signed(bits, self.activation(s.channels)), f"{p}g")
        if s.residual:
            m = g.op("Add", u, m, out=f"{p}res")
        self.u_scale = self.activation(s.channels)
        return self.quant(m, signed(bits, self.u_scale), f"{p}r")

    def batch_norm(self, x: str, size: int, p: str) -> str:
        eps = 2.0**-10
        gamma = self.rng.integers(1, 5, size) / 4 * self.rng.choice([-1, 1], size)
        beta, mean = (self.rng.integers(-8, 9, size) / 16 for _ in range(2))
        var = self.rng.uniform(0.5, 2, size) if self.spec.free else np.full(size, 1 - eps)
        parameters = [self.g.const(v) for v in (gamma, beta, mean, var)]
        turned = self.g.op("Transpose", x, perm=[0, 2, 1])
        normal = self.g.op("BatchNormalization", turned, *parameters, epsilon=eps, out=f"{p}bn")
        return self.g.op("Transpose", normal, perm=[0, 2, 1])

    def pool(self, h: str) -> str:
        g = self.g
        if self.spec.pool == "none":
            return h
        if self.spec.pool == "last":
            return g.op("Gather", h, g.const(-1, np.int64), axis=1)
        mean = g.op("ReduceMean", h, g.const([1], np.int64), keepdims=0, out="mean")
        return self.quant(mean, signed(self.spec.code_bits, self.activation(self.spec.channels)), "pooled")

    def scan(self, u: str, p: str) -> str:
        s = self.spec
        parts = 2 if s.layout == "pair" else 1
        shape = [s.states] if s.layout == "dense" else [s.channels, s.states]
        (y,) = self.g.loop(u, [shape] * parts, lambda b, states, ut: self.step(b, states, ut, p), f"{p}scan")
        return y

    def step(self, b: Graph, states: list[str], u: str, p: str) -> tuple[list[str], list[str]]:
        """State rows share one grid per row (the fused matrix), so free scales stay exact."""
        s = self.spec
        delta = s.form == "delta"
        grid = signed(s.code_bits, self.state_scale(delta))
        unit = int(self.rng.choice([1, 2, 4, 8])) if delta else 1
        register = replace(grid, scale=np.asarray(grid.scale / unit, np.float32))
        read = [b.quant(v, grid, f"{v}.R") for v in states] if delta else states
        new = []
        for state, total in zip(states, self.rows(b, read, u, grid.scale, f"{p}A"), strict=True):
            moved = b.quant(total, register, f"{state}.q")
            new.append(self.accumulate(b, state, moved, register.scale, grid.hi * unit) if delta else moved)
        source = new if s.after else read
        if delta and s.after:
            source = [b.quant(v, grid, f"{v}.Ry") for v in new]
        y = self.output(b, source, u, grid.scale, f"{p}C")
        return new, [b.quant(y, signed(s.code_bits, self.scale()), f"{p}yq") if s.y_inside else y]

    def accumulate(self, b: Graph, state: str, increment: str, scale: Floats, top: int) -> str:
        """``clip(r + increment)``; bounds per channel need Max and Min."""
        moved = b.op("Add", state, increment)
        lo, hi = b.const(-scale * np.float32(top)), b.const(scale * np.float32(top))
        if scale.ndim:
            return b.op("Min", b.op("Max", moved, lo), hi, out=f"{state}.next")
        return b.op("Clip", moved, lo, hi, out=f"{state}.next")

    def state_scale(self, delta: bool) -> Floats:
        """Powers of two for a register, whose sum in float32 must be exact (DESIGN, two forms)."""
        s = self.spec
        per_channel = s.per_channel and s.layout != "dense"
        scale = self.scale(s.channels).reshape(-1, 1) if per_channel else self.scale()
        return np.asarray(np.exp2(np.round(np.log2(scale))), np.float32) if delta else scale

    def rows(self, b: Graph, read: list[str], u: str, drive: Floats, name: str) -> list[str]:
        """Sums A s + B u per state tensor."""
        s = self.spec
        if s.layout == "dense":
            return [self.dense(b, read[0], u, drive, s.states, name)]
        column = b.op("Unsqueeze", u, b.const([-1], np.int64))
        if s.layout == "joint":
            return [self.matrix(b, read[0], column, drive, s.states, name)]
        p, q = self.codes(s.channels, s.states), self.codes(s.channels, s.states)
        out = []
        for part, (first, second) in enumerate(((p, -q), (q, p))):
            first_w, second_w, input_w = (
                self.fused(b, codes, drive_, f"{name}{part}.{key}")
                for codes, drive_, key in (
                    (first, drive, "re"), (second, drive, "im"),
                    (self.codes(s.channels, s.states), self.input_drive(), "b"),
                )
            )  # fmt: skip
            total = b.op("Add", b.op("Mul", first_w, read[0]), b.op("Mul", second_w, read[1]))
            out.append(b.op("Add", total, b.op("Mul", input_w, column), out=f"{name}{part}.sum"))
        return out

    def output(self, b: Graph, states: list[str], u: str, drive: Floats, name: str) -> str:
        """Y = C s + D u."""
        s = self.spec
        if s.layout == "dense":
            return self.dense(b, states[0], u, drive, s.channels, name)
        column = b.op("Unsqueeze", u, b.const([-1], np.int64))
        if s.layout == "joint":
            return b.op("Squeeze", self.matrix(b, states[0], column, drive, 1, name), b.const([-1], np.int64))
        terms = [
            b.op("Mul", self.fused(b, self.codes(s.channels, s.states), drive, f"{name}.{i}"), state)
            for i, state in enumerate(states)
        ]
        total = b.op("ReduceSum", b.op("Sub", *terms), b.const([-1], np.int64), keepdims=0)
        feed = self.fused(b, self.codes(s.channels, 1), self.input_drive(), f"{name}.d")
        through = b.op("Squeeze", b.op("Mul", feed, column), b.const([-1], np.int64))
        return b.op("Add", b.op("Mul", b.const(2.0), total), through)

    def input_drive(self) -> Floats:
        return self.u_scale.reshape(-1, 1) if self.u_scale.ndim else self.u_scale

    def omega(self) -> float:
        return self.gain(self.spec.states + 1) * 2.0 ** (2 - self.spec.code_bits)

    def fused(self, b: Graph, codes: Codes, drive: Floats, name: str) -> str:
        """Codes (H, k) of a matrix that acts on drive codes: real weight = omega * code / drive step."""
        step = np.asarray(self.omega() / drive.astype(np.float64), np.float32)
        scale = step.ravel() if step.ndim else step
        return b.weight(codes, scale, name)

    def matrix(self, b: Graph, state: str, column: str, drive: Floats, rows: int, name: str) -> str:
        """Per channel: (N, H, rows) = A (H, rows, n) s + B (H, rows, 1) u."""
        s = self.spec
        A = self.fused(b, self.codes(s.channels, rows, s.states), drive, f"{name}.A")
        B = self.fused(b, self.codes(s.channels, rows, 1), self.input_drive(), f"{name}.B")
        last = b.const([-1], np.int64)
        left = b.op("Squeeze", b.op("MatMul", A, b.op("Unsqueeze", state, last)), last)
        right = b.op("Squeeze", b.op("MatMul", B, b.op("Unsqueeze", column, last)), last)
        return b.op("Add", left, right, out=f"{name}.sum")

    def dense(self, b: Graph, state: str, u: str, drive: Floats, rows: int, name: str) -> str:
        """(N, rows) = s A^T + u B^T, the grid per input channel where its scale is."""
        s = self.spec
        A = self.fused(b, self.codes(s.states, rows), drive, f"{name}.A")
        B = self.fused(b, self.codes(s.channels, rows), self.input_drive(), f"{name}.B")
        return b.op("Add", b.op("MatMul", state, A), b.op("MatMul", u, B), out=f"{name}.sum")

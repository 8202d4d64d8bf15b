"""Float state-space models as ONNX graphs, written without torch."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from tests.graph_writer import Graph

FEATURES, CLASSES = 3, 4


def stable(rng: np.random.Generator, groups: int, n: int) -> NDArray[np.float64]:
    """Real matrices (groups, n, n) with poles of magnitude 0.5 to 0.98, some of them real, in a random basis."""
    A = np.zeros((groups, n, n))
    for g in range(groups):
        k = 0
        while k < n:
            size = rng.uniform(0.5, 0.98)
            if k + 1 < n and rng.random() < 0.7:
                angle = rng.uniform(0.05, 1.5)
                A[g, k : k + 2, k : k + 2] = size * np.array(
                    [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
                )
            else:
                A[g, k, k] = size
            k += 2 if A[g, k, k + 1 : k + 2].any() else 1
        T = np.linalg.qr(rng.standard_normal((n, n)))[0]
        A[g] = T @ A[g] @ T.T
    return A


def float_model(
    seed: int = 0, channels: int = 4, states: int = 5, *, dense: bool = False, after: bool = False, pool: str = "mean",
    every: int = 1, whole: bool = False,
) -> onnx.ModelProto:  # fmt: skip
    """Encoder, recurrence (per channel, or one dense one), gated mixing, residual, pooling, decoder.

    What follows the encoder sees the means of ``every`` so many steps; ``whole``: of a sequence without a rest.
    """
    rng, g = np.random.default_rng(seed), Graph("qdq")
    groups, m = (1, channels) if dense else (channels, 1)
    A = stable(rng, groups, states)
    B, C = rng.standard_normal((groups, states, m)), rng.standard_normal((groups, m, states))
    D = rng.standard_normal((groups, m, m))

    def linear(x: str, inputs: int, outputs: int, name: str) -> str:
        weight = g.const(rng.standard_normal((inputs, outputs)) / np.sqrt(inputs), name=f"{name}.W")
        return g.op("Add", g.op("MatMul", x, weight, out=f"{name}.mm"), g.const(rng.standard_normal(outputs) / 4))

    def step(b: Graph, old: list[str], ut: str) -> tuple[list[str], list[str]]:
        last, column = b.const([-1], np.int64), b.const([-1, groups, m, 1], np.int64)
        s, u = b.op("Unsqueeze", old[0], last), b.op("Reshape", ut, column)
        new = b.op("Add", b.op("MatMul", b.const(A), s), b.op("MatMul", b.const(B), u))
        y = b.op("Add", b.op("MatMul", b.const(C), new if after else s), b.op("MatMul", b.const(D), u))
        flat = b.op("Reshape", y, b.const([-1, channels], np.int64))
        return [b.op("Squeeze", new, last)], [flat]

    u = linear("x", FEATURES, channels, "enc")
    if whole:
        groups_of_steps = g.op("Reshape", u, g.const([0, -1, every, channels], np.int64))
        u = g.op("ReduceMean", groups_of_steps, g.const([2], np.int64), keepdims=0)
    elif every > 1:
        means = g.op("AveragePool", g.op("Transpose", u, perm=[0, 2, 1]), kernel_shape=[every], strides=[every],
                     ceil_mode=1, count_include_pad=0)  # fmt: skip
        u = g.op("Transpose", means, perm=[0, 2, 1])
    (y,) = g.loop(u, [[groups, states]], step)
    value = linear(g.op("Relu", y), channels, channels, "mix")
    gate = g.op("Sigmoid", linear(u, channels, channels, "gate"))
    h = g.op("Add", u, g.op("Mul", value, gate), out="res")
    if pool == "last":
        h = g.op("Gather", h, g.const(-1, np.int64), axis=1)
    else:
        h = g.op("ReduceMean", h, g.const([1], np.int64), keepdims=0, out="mean")
    return g.finish(FEATURES, linear(h, channels, CLASSES, "dec"), ["batch", CLASSES])

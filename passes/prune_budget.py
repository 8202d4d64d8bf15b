"""Cut whole modes and channels of kernels that a search chose: what costs the least accuracy goes first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import onnx_ir as ir

from ssmc.ir.build import node_name
from ssmc.ir.kernel_nodes import kernel_constants, kernel_nodes, set_constants
from ssmc.ir.operations import AnyOp, StateSpace
from ssmc.ir.program import Program
from ssmc.ir.rounding import FloatArray, IntArray
from ssmc.pipeline import Effect, Level, Pass, PassResult


@dataclass(frozen=True)
class Cut:
    """A mode, or a channel, of a kernel.

    Attributes:
        kernel: name of the operation.
        group: of its matrix.
        states: of the mode; empty for a channel.
        output: of the group, for a channel; None for a mode.
    """

    kernel: str
    group: int
    states: tuple[int, ...] = ()
    output: int | None = None


@dataclass(frozen=True)
class PruneBudget(Pass):
    """Structural pruning within a budget of accuracy (semantics.md §1); `ssmc.bundle.pruning` finds the cuts on data.

    Before: level *folded*, kernels unfused.
    After: the weights of a cut mode are 0: its rows of A and B, its columns of A and C. A cut channel reads nothing:
        its row of C and D is 0, and its output rests. ``prune-structure`` removes what is then dead.
    Preserves: everything else, code for code; without cuts the graph.

    Attributes:
        cuts: what goes.
    """

    name = "prune-budget"
    effect = Effect.LOSSY
    requires = Level.FOLDED

    cuts: tuple[Cut, ...] = ()

    def run(self, model: ir.Model) -> PassResult:
        """Cut."""
        applied = []
        for node in kernel_nodes(model.graph):
            cuts = [cut for cut in self.cuts if cut.kernel == node_name(node)]
            if not cuts:
                continue
            k = kernel_constants(node)
            W, W_y = k.W.copy(), k.W_y.copy()
            _zero(W, W_y, cuts)
            set_constants(node, model.graph, {"W": W, "W_y": W_y})
            channels = sum(cut.output is not None for cut in cuts)
            applied.append(f"{node_name(node)}: {len(cuts) - channels} modes, {channels} channels")
        return PassResult(model, tuple(applied), effect=Effect.LOSSY if applied else Effect.EXACT)


def cut_program(program: Program, cuts: Iterable[Cut]) -> Program:
    """The same on a program of that level: what its executor computes is what the compiled model will."""
    by_kernel: dict[str, list[Cut]] = {}
    for cut in cuts:
        by_kernel.setdefault(cut.kernel, []).append(cut)
    return replace(program, ops=tuple(_cut_op(op, by_kernel.get(op.name, [])) for op in program.ops))


def _cut_op(op: AnyOp, cuts: list[Cut]) -> AnyOp:
    if not cuts or not isinstance(op, StateSpace) or op.output_matrix is None:
        return op
    W, W_y = op.matrix.codes.copy(), op.output_matrix.codes.copy()
    _zero(W, W_y, cuts)
    return replace(op, matrix=replace(op.matrix, codes=W), output_matrix=replace(op.output_matrix, codes=W_y))


def _zero(W: FloatArray | IntArray, W_y: FloatArray | IntArray, cuts: Iterable[Cut]) -> None:
    """Zero, in place, what the cuts name in W (G, n, n + m) and W_y (G, p, n + m)."""
    for cut in cuts:
        states = list(cut.states)
        W[cut.group, states] = 0
        W[cut.group, :, states] = 0
        W_y[cut.group, :, states] = 0
        if cut.output is not None:
            W_y[cut.group, cut.output] = 0

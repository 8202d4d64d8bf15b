"""Legality is data: which operations may occur at each level of lowering."""

from __future__ import annotations

from enum import Enum

import onnx_ir as ir

from ssmc.errors import ModelError, VerificationError
from ssmc.ir.build import graphs, node_name
from ssmc.ir.functions import DOMAIN, REAL, code_op_types


class Level(Enum):
    """How far a graph is lowered, in the order of the levels."""

    IMPORTED = "imported"
    CANONICAL = "canonical"
    FOLDED = "folded"
    FUSED = "fused"
    PLACED = "placed"

    def reaches(self, other: Level) -> bool:
        """Whether a graph at this level is lowered as far as ``other``, or further."""
        order = list(Level)
        return order.index(self) >= order.index(other)


CODE, FUSED, PARTS = (code_op_types(since) for since in ("folded", "fused", "placed"))

#: level -> (ssmc operations allowed, whether other ONNX operations are allowed). Fusing leaves ``KernelPairAfter``
#: where y reads the new state; placed, a target may keep any kernel in two operations.
LEVELS: dict[Level, tuple[frozenset[str], bool]] = {
    Level.IMPORTED: (frozenset(), True),
    Level.CANONICAL: (frozenset(REAL), True),
    Level.FOLDED: (CODE, False),
    Level.FUSED: (CODE - {"KernelPair", "KernelPairScales"} | FUSED, False),
    Level.PLACED: (CODE | FUSED | PARTS, False),
}


def check_level(model: ir.Model, level: Level, after: str) -> None:
    """Refuse an operation that is not legal at ``level``, and name the pass that left it.

    Raises:
        VerificationError: SSMC-L01.
    """
    node = _first_illegal(model, level)
    if node is not None:
        raise VerificationError(
            "SSMC-L01",
            f"left {_kind(node)} ({node_name(node)}), which may not occur at level {level.value}",
            "in a pass of your own remove it or declare the level that allows it; else report this",
            after,
        )


def check_imported(model: ir.Model) -> None:
    """Refuse a graph to compile that holds operations which only passes make.

    Raises:
        ModelError: SSMC-L02.
    """
    node = _first_illegal(model, Level.IMPORTED)
    if node is not None:
        fact = f"{_kind(node)} may not occur in a model that is to be compiled"
        raise ModelError("SSMC-L02", fact, "give the ONNX file, or what ssmc.importers reads from it", node_name(node))


def _first_illegal(model: ir.Model, level: Level) -> ir.Node | None:
    allowed, others = LEVELS[level]
    for graph in graphs(model.graph):
        for node in graph:
            if not (node.op_type in allowed if node.domain == DOMAIN else others):
                return node
    return None


def _kind(node: ir.Node) -> str:
    return f"{node.domain or 'onnx'}::{node.op_type}"

"""Legality is data: which operations may occur at each level of lowering."""

from __future__ import annotations

import onnx_ir as ir

from ssmc.errors import ModelError
from ssmc.ir.build import graphs, node_name
from ssmc.ir.functions import DOMAIN, REAL, code_op_types

CODE, FUSED, PARTS = (code_op_types(since) for since in ("folded", "fused", "placed"))

#: level -> (ssmc operations allowed, whether other ONNX operations are allowed)
LEVELS: dict[str, tuple[frozenset[str], bool]] = {
    "imported": (frozenset(), True),
    "canonical": (frozenset(REAL), True),
    "folded": (CODE | FUSED, False),
    "fused": (CODE | FUSED, False),
    "placed": (CODE | FUSED | PARTS, False),
}


def check_level(model: ir.Model, level: str, after: str) -> None:
    """Raise ModelError SSMC-L01 at the first operation that is not legal at ``level``."""
    allowed, others = LEVELS[level]
    for graph in graphs(model.graph):
        for node in graph:
            legal = node.op_type in allowed if node.domain == DOMAIN else others
            if not legal:
                raise ModelError(
                    "SSMC-L01",
                    f"{node.domain or 'onnx'}::{node.op_type} may not occur at level '{level}' (after {after})",
                    "report this with the model",
                    node_name(node),
                )

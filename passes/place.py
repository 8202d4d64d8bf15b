"""Decide, per operation, whether it runs on crossbars or in the digital unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from ssmc.ir.build import node_name
from ssmc.pipeline import Level, Pass, PassResult

MATRICES = ("Linear", "Kernel", "KernelPair", "KernelPairAfter")
KEY = "ssmc.place"
Policy = Literal["auto", "analog", "digital"]


@dataclass(frozen=True)
class Place(Pass):
    """Write ``ssmc.place`` = analog or digital into every node's metadata.

    Before: level *fused*.
    After: level *placed*. Matrices and kernels go where ``policy`` says (with auto they stay analog here, and the
        target weighs each by its own costs when it lowers them); everything else is digital.
    Preserves: the graph.

    Attributes:
        policy: for every matrix.
    """

    name = "place"
    requires = Level.FUSED
    level = Level.PLACED

    policy: Policy = "auto"

    def run(self, model: ir.Model) -> PassResult:
        """Annotate every node."""
        applied = []
        for node in model.graph:
            where = "analog" if node.op_type in MATRICES and self.policy != "digital" else "digital"
            if node.metadata_props.get(KEY) != where:
                node.metadata_props[KEY] = where
                applied.append(f"{node_name(node)}: {where}")
        return PassResult(model, tuple(applied))

"""Decide, per operation, whether it runs on crossbars or in the digital unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from ssmc.ir.build import node_name
from ssmc.pipeline import Level, Pass, PassResult

KERNELS = ("Kernel", "KernelPair", "KernelPairAfter")
KEY = "ssmc.place"
Policy = Literal["auto", "analog", "analog-split", "digital-poles", "digital-states", "digital"]


@dataclass(frozen=True)
class Place(Pass):
    """Write ``ssmc.place`` into every node's metadata: analog, digital, or in which parts of a kernel differ.

    Before: level *fused*.
    After: level *placed*. Kernels go where ``policy`` says, other matrices likewise, but for analog where it parts A,
        B and C (with auto all stay analog here, and the target weighs each by its own costs when it lowers them);
        everything else is digital.
    Preserves: the graph.

    Attributes:
        policy: for every kernel and matrix.
    """

    name = "place"
    requires = Level.FUSED
    level = Level.PLACED

    policy: Policy = "auto"

    def run(self, model: ir.Model) -> PassResult:
        """Annotate every node."""
        applied = []
        for node in model.graph:
            where = self._place(node)
            if node.metadata_props.get(KEY) != where:
                node.metadata_props[KEY] = where
                applied.append(f"{node_name(node)}: {where}")
        return PassResult(model, tuple(applied))

    def _place(self, node: ir.Node) -> str:
        if self.policy == "digital" or node.op_type not in ("Linear", *KERNELS):
            return "digital"
        return "analog" if self.policy == "auto" or node.op_type not in KERNELS else self.policy

"""Another end of the crossbar's pipeline, and a pass to put there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ssmc.pipeline import Pass, PassResult
from ssmc.targets.aimc.target import AimcTarget


@dataclass(frozen=True)
class Zero(Pass):
    """Zeroes the weights of the first node that has some, or only writes a remark beside it."""

    name = "zero"
    remark: bool = False

    def run(self, model: ir.Model) -> PassResult:
        node = next(node for node in model.graph if "W" in str(node.inputs[1]))
        if self.remark:
            node.metadata_props["remark"] = "seen"
            return PassResult(model)
        weights = node.inputs[1]
        assert weights is not None
        assert weights.const_value is not None
        weights.const_value = ir.tensor(np.zeros_like(weights.const_value.numpy()), name=weights.name)
        return PassResult(model)


@dataclass(frozen=True)
class Ending(AimcTarget):
    """The target with another end of its pipeline."""

    end: tuple[Pass, ...] = ()

    def pipeline(self) -> tuple[Pass, ...]:
        return (*super().pipeline()[:-1], *self.end)

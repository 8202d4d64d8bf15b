"""``Sum`` of two values is ``Add``, which ssmc knows."""

from dataclasses import dataclass

import onnx_ir as ir

from ssmc.ir.build import is_op, node_name
from ssmc.pipeline import Pass, PassResult


@dataclass(frozen=True)
class SumsToAdds(Pass):
    """Write every ``Sum`` of two values as ``Add``.

    Before: any ONNX graph.
    After: no ``Sum`` of two values.
    Preserves: every value.
    """

    name = "sums-to-adds"

    def run(self, model: ir.Model) -> PassResult:
        """Rename the operation in place; its inputs and output stay."""
        found = [node for node in model.graph if is_op(node, "Sum") and len(node.inputs) == 2]
        for node in found:
            node.op_type = "Add"
        return PassResult(model, tuple(map(node_name, found)))

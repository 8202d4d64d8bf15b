"""The operations of the integer program: what a target executes, one frozen dataclass and one file each.

Everything happens once per time step, except what follows a reduction over time, which happens once per sequence.
Shapes: N samples, G groups (channels of an SSM; 1 for a dense matrix), and per group n states, m inputs, p outputs.

`OPERATIONS` is the one list of them: levels, ONNX functions, reading, serialization, the executor, pruning, widths and
the report follow from it. A new operation is a file here and its line in `OPERATIONS` and `AnyOp`; besides that it
needs a rule that folds it, an emitter of C, an integer ONNX form and an instruction of the tile program, and mypy
names the places that lack it.
"""

from __future__ import annotations

from typing import TypeAlias, get_args

from ssmc.ir.operations.concat import Concat
from ssmc.ir.operations.dequantize import Dequantize
from ssmc.ir.operations.downsample import Downsample
from ssmc.ir.operations.exponential_mean import ExponentialMean
from ssmc.ir.operations.ids import Ids
from ssmc.ir.operations.last import Last
from ssmc.ir.operations.linear import Linear
from ssmc.ir.operations.mean import Mean
from ssmc.ir.operations.norm import Norm
from ssmc.ir.operations.operation import Op
from ssmc.ir.operations.product import Product
from ssmc.ir.operations.quantize import Quantize
from ssmc.ir.operations.slice import Slice
from ssmc.ir.operations.sliding_mean import SlidingMean
from ssmc.ir.operations.state_space import StateSpace
from ssmc.ir.operations.sum import Sum
from ssmc.ir.operations.table import Table

__all__ = [
    "OPERATIONS",
    "AnyOp",
    "Concat",
    "Dequantize",
    "Downsample",
    "ExponentialMean",
    "Ids",
    "Last",
    "Linear",
    "Mean",
    "Norm",
    "Op",
    "Product",
    "Quantize",
    "Slice",
    "SlidingMean",
    "StateSpace",
    "Sum",
    "Table",
]

#: Every operation, closed, so that mypy can check that a match over them is complete.
AnyOp: TypeAlias = (
    Quantize
    | Ids
    | Linear
    | StateSpace
    | Table
    | Product
    | Sum
    | Norm
    | Slice
    | Concat
    | Downsample
    | SlidingMean
    | ExponentialMean
    | Mean
    | Last
    | Dequantize
)
OPERATIONS: tuple[type[Op], ...] = get_args(AnyOp)

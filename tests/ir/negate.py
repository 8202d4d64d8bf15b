"""A new operation, written as one class, through everything that the list of operations drives.

`test_new_operation.py` runs this file in a process of its own, since the list is closed once the compiler is imported:
the class below and its place in the list are all that is added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from ssmc.ir import operations
from ssmc.ir.operations.operation import Function, RealCodes, Stateless
from ssmc.ir.operations.reading import GraphNode, code_type
from ssmc.ir.quant import Codes
from ssmc.ir.rounding import IntArray, saturate


@dataclass(frozen=True)
class Negate(Stateless):
    """``y = clip(-x, lo, hi)``."""

    lo: int
    hi: int

    functions: ClassVar[dict[str, Function]] = {
        "Negate": Function("""Negate (x, lo, hi) => (y) {
  negative = Neg (x)
  low = Max (negative, lo)
  y = Min (low, hi)
}""")
    }

    @classmethod
    def read(cls, node: GraphNode) -> tuple[Negate, Codes]:
        (x,), c = node.types, node.constants
        return cls(*node.wiring, int(c["lo"]), int(c["hi"])), code_type(x.size, c["lo"], c["hi"], x.rate)

    def apply(self, x: IntArray) -> IntArray:
        return saturate(-x, self.lo, self.hi)

    def real(self, *xs: IntArray) -> RealCodes:
        return RealCodes(-xs[0].astype(np.float64), np.abs(xs[0]).astype(np.float64))


operations.OPERATIONS = (*operations.OPERATIONS, Negate)


def model() -> ir.Model:
    """Quantize, Linear, Negate, Linear (which does not read channel 1), Dequantize."""
    from ssmc.ir.build import constant_dtype, ssmc_node
    from ssmc.ir.functions import OPSET

    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=ir.Shape(["N", "T", 3]))
    nodes: list[ir.Node] = []
    initializers: list[ir.Value] = []

    def node(op_type: str, source: str, value: ir.Value, output: str, **constants: Any) -> ir.Value:
        inputs = {source: value}
        for key, array in constants.items():
            data = np.asarray(array, constant_dtype(op_type, key))
            inputs[key] = ir.val(f"{output}.{key}", const_value=ir.tensor(data, name=f"{output}.{key}"))
            initializers.append(inputs[key])
        kind = ir.DataType.FLOAT if op_type == "Dequantize" else ir.DataType.DOUBLE
        nodes.append(ssmc_node(op_type, inputs, output, dtype=kind))
        return nodes[-1].outputs[0]

    def linear(value: ir.Value, output: str, rows: list[list[int]]) -> ir.Value:
        numbers = {"gain": 1, "step": 2, "offset": 0, "lo": -8, "hi": 7}
        return node("Linear", "x", value, output, W=rows, **{k: np.full(len(rows), v) for k, v in numbers.items()})

    a = linear(node("Quantize", "x", x, "u", scale=0.5, lo=-8, hi=7), "a", [[1, 2, 0], [1, 1, 1], [0, -1, 2]])
    w = linear(node("Negate", "x", a, "v", lo=-8, hi=7), "w", [[1, 0, -2], [3, 0, 1]])
    y = node("Dequantize", "codes", w, "y", scale=0.25)
    graph = ir.Graph([x], [y], nodes=nodes, initializers=initializers, opset_imports={"": OPSET, "ssmc": 1}, name="it")
    return ir.Model(graph, ir_version=10)


def check() -> None:
    """Level, function, reader, executor, serialization, pruning, ties, widths and report know the operation."""
    from ssmc.checking.ties import code_reach
    from ssmc.ir.executor import Executor
    from ssmc.ir.functions import attach_functions
    from ssmc.ir.levels import Level, check_level
    from ssmc.ir.read_program import read_program
    from ssmc.ir.serialize import program_from_json, program_to_json
    from ssmc.passes.prune_structure import PruneStructure
    from ssmc.report.facts import is_computed_exactly, op_facts
    from ssmc.verify import run_onnx

    graph = model()
    check_level(graph, Level.FOLDED, "this test")
    attach_functions(graph)
    x = (np.random.default_rng(0).integers(-20, 21, (4, 5, 3)) / 4).astype(np.float32)
    (expected,) = run_onnx(ir.to_proto(graph), {"x": x})
    program = read_program(graph)
    assert np.array_equal(Executor(program).run(x), expected)
    assert len(np.unique(expected)) > 4

    back = program_from_json(*program_to_json(program))
    assert [type(op) for op in back.ops] == [type(op) for op in program.ops]
    assert np.array_equal(Executor(back).run(x), expected)

    assert PruneStructure().run(graph).applied == ("a: 1 of 3 channels", "v: 1 of 3 channels")
    assert np.array_equal(Executor(read_program(graph)).run(x), expected)

    negate = program.ops[2]
    assert isinstance(negate, Negate)
    assert not code_reach(negate, [np.arange(-8, 8)]).any()
    (facts,) = (facts for facts in op_facts(program) if facts.name == "v")
    assert (facts.kind, facts.bits, facts.exactness, facts.accumulator_bits) == ("Negate", 4, "proven", 0)
    assert is_computed_exactly("Negate")


if __name__ == "__main__":
    check()

"""The integer target: the program itself, run by the reference executor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssmc.errors import ModelError
from ssmc.ir.executor import Executor
from ssmc.ir.matrix import weight_bits
from ssmc.ir.operations import Op, StateSpace
from ssmc.ir.program import Program
from ssmc.ir.rates import period, seen_at_end
from ssmc.ir.serialize import program_from_json, program_to_json
from ssmc.passes.to_integers import to_integers
from ssmc.pipeline import Pass
from ssmc.targets.base import Arrays, Compiled, Json, Target
from ssmc.targets.integer.integer_onnx import integer_onnx


def steps_of(program: Program, op: Op, steps: int) -> int:
    """How often an op runs in a sequence of ``steps`` steps of the input."""
    return int(seen_at_end(program.clock(op), np.array(steps))) if program.rate(op) == "step" else 1


@dataclass(frozen=True)
class IntegerCompiled(Compiled):
    """An integer program."""

    program: Program

    def executor(self, **options: Any) -> Executor:
        """The reference executor; it takes no options."""
        return Executor(self.program)

    def fast_executor(self, steps: int, **options: Any) -> Executor:
        """Compiled, over all cores (`ssmc.native.fast`), unless the reference executor is done sooner."""
        from ssmc.native.fast import FAST_FROM_STEPS, fast_executor

        return self.executor(**options) if options or steps < FAST_FROM_STEPS else fast_executor(self.program)

    def cost(self, steps: int) -> Json:
        """Multiply-accumulates and storage of one inference: counts, no energy."""
        program = self.program
        each = [(op, matrix, int(np.count_nonzero(matrix.codes))) for op, matrix in program.matrices()]
        runs = [steps_of(program, op, steps) for op, _, _ in each]
        per_step = [(program.clock(op), count) for op, _, count in each if program.rate(op) == "step"]
        weights = sum(count * matrix.weight_bits for _, matrix, count in each)
        weights += sum(op.table.size * weight_bits(op.table) for op in program.embeddings())
        registers = sum(op.register_bits * op.keep.size for op in program.ops if isinstance(op, StateSpace))
        mean = sum((Fraction(count, period(clock)) for clock, count in per_step), Fraction(0))
        slower = any(clock for clock, _ in per_step)
        return {
            "macs_per_sequence": sum(count * times for (_, _, count), times in zip(each, runs, strict=True)),
            "macs_per_step": int(mean) if mean.denominator == 1 else float(mean),
            "state_bits": registers,
            "steps": steps,
            "weight_bits": weights,
            **({"macs_worst_step": sum(count for _, count in per_step)} if slower else {}),
        }

    def files(self) -> tuple[Json, Arrays]:
        """The serialized program."""
        return program_to_json(self.program)

    def extra_files(self) -> dict[str, bytes]:
        """``integer.onnx``, where ONNX's integer operations can express the program."""
        try:
            return {"integer.onnx": integer_onnx(self.program).SerializeToString(deterministic=True)}
        except ModelError:
            return {}


@dataclass(frozen=True)
class IntegerTarget(Target):
    """Integer program for a processor: reference executor, exact.

    Attributes:
        output_lag: 0 to fuse kernels whose output reads the new state within a bound (`FuseKernel`); None to keep
            them exact, in two operations.
    """

    output_lag: int | None = None

    @property
    def name(self) -> str:
        """``int``."""
        return "int"

    def pipeline(self) -> tuple[Pass, ...]:
        """From the imported graph to one integer operation per quantizer."""
        return to_integers(self.output_lag)

    def emit(self, program: Program) -> IntegerCompiled:
        """The program is the compiled model."""
        return IntegerCompiled(program)

    @classmethod
    def load(cls, program: Json, arrays: Mapping[str, NDArray[np.generic]]) -> IntegerCompiled:
        """Read back a bundle."""
        return IntegerCompiled(program_from_json(program, dict(arrays)))

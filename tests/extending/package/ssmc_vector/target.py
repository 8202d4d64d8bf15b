"""The integer program on a vector unit: as many multiply-accumulates a cycle as it has lanes."""

from dataclasses import dataclass

import numpy as np

from ssmc.hardware.file import load_hardware
from ssmc.ir.executor import Executor
from ssmc.ir.program import Program
from ssmc.ir.serialize import program_from_json, program_to_json
from ssmc.passes.to_integers import to_integers
from ssmc.targets.base import Compiled, Target
from ssmc_vector.sums_to_adds import SumsToAdds


@dataclass(frozen=True)
class VectorCompiled(Compiled):
    """The program, and the unit that runs it."""

    program: Program
    lanes: int
    clock_mhz: float

    def executor(self):
        """The reference executor."""
        return Executor(self.program)

    def cost(self, steps):
        """Cycles of the matrices that run every step."""
        matrices = [matrix for op, matrix in self.program.matrices() if self.program.rate(op) == "step"]
        macs = sum(int(np.count_nonzero(matrix.codes)) for matrix in matrices)
        cycles = -(-macs // self.lanes)
        return {"latency_per_step_ns": cycles / self.clock_mhz * 1e3, "macs_per_step": macs, "steps": steps}

    def files(self):
        """The serialized program and the unit."""
        program, arrays = program_to_json(self.program)
        return {"program": program, "lanes": self.lanes, "clock_mhz": self.clock_mhz}, arrays


@dataclass(frozen=True)
class VectorTarget(Target):
    """Integer program on a vector unit: cycles of its multiply-accumulates.

    Attributes:
        lanes: multiply-accumulates that start in one cycle.
        hardware: preset or file; the clock of its digital unit is the unit's.
    """

    name = "vector"
    lanes: int = 4
    hardware: str = "tiny32"

    def pipeline(self):
        """One pass of our own, then those of every target."""
        return (SumsToAdds(), *to_integers())

    def emit(self, program):
        """The program with the unit's figures."""
        return VectorCompiled(program, self.lanes, load_hardware(self.hardware).digital.clock_mhz.value)

    @classmethod
    def load(cls, program, arrays):
        """Read back what `VectorCompiled.files` wrote."""
        return VectorCompiled(program_from_json(program["program"], arrays), program["lanes"], program["clock_mhz"])

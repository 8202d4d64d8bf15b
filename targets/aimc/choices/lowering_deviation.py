"""What lossy conversions change: the lowered program against the one it came from, in integers, on drawn inputs.

Both run free, each on its own codes. The inputs are drawn from a fixed seed, uniformly over the codes of the input's
quantizer, and all arithmetic is on integers: the same figures on every machine.
"""

from __future__ import annotations

import numpy as np

from ssmc.ir.executor import Executor
from ssmc.ir.operations import Quantize
from ssmc.ir.program import Program
from ssmc.ir.rounding import FloatArray
from ssmc.ir.serialize import Json
from ssmc.targets.aimc.lowering.partial_sums import Lowered

SEQUENCES, STEPS, SEED = 4, 64, 0


def lowering_deviation(source: Program, lowered: Lowered) -> Json | None:
    """Codes compared and differing, and the largest difference of an output in its steps; None where none is lossy."""
    if lowered.exact:
        return None
    x = drawn_input(source)
    a, b = Executor(source), Executor(lowered.program)
    state_a, state_b = a.init(SEQUENCES), b.init(SEQUENCES)
    active = np.ones(SEQUENCES, np.bool_)
    compared = differing = 0
    largest = 0.0
    results = [(a.step_codes(state_a, row, active), b.step_codes(state_b, row, active)) for row in x]
    results.append((a.finish_codes(state_a), b.finish_codes(state_b)))
    output = source.ops[-1].inputs[0]
    for one, other in results:
        for name in one:
            gap = np.abs(one[name] - other[name])
            compared += gap.size
            differing += int(np.count_nonzero(gap))
            if name == output:
                largest = max(largest, float(gap.max(initial=0)))
    return {
        "codes_compared": compared,
        "codes_differing": differing,
        "largest_output_difference_codes": largest,
        "sequences": SEQUENCES,
        "steps": STEPS,
    }


def drawn_input(program: Program) -> FloatArray:
    """Real inputs (T, n, d) whose codes are uniform."""
    first = next(op for op in program.ops if isinstance(op, Quantize))
    quant = first.quant
    codes = np.random.default_rng(SEED).integers(quant.lo, quant.hi + 1, (STEPS, SEQUENCES, program.input_size))
    return np.asarray(codes * quant.scale, np.float64)

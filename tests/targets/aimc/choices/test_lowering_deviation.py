"""What lossy conversions change, in the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ssmc.hardware.model import Hardware
from ssmc.ir.executor import Executor
from ssmc.ir.program import Program
from ssmc.report.crossbar import crossbar_sections
from ssmc.targets.aimc.choices.lowering_deviation import SEQUENCES, STEPS, drawn_input, lowering_deviation
from ssmc.targets.aimc.lowering.partial_sums import lower
from ssmc.targets.aimc.target import AimcTarget

Programs = Callable[..., Program]


def test_the_deviation_is_that_of_running_both(taox64: Hardware, program_of: Programs) -> None:
    program = program_of(weight_bits=4)
    sliced = replace(taox64, cell=replace(taox64.cell, levels=4), adc=replace(taox64.adc, bits=4))
    lowered = lower(program, sliced)
    found = lowering_deviation(program, lowered)
    assert found is not None
    assert (found["sequences"], found["steps"]) == (SEQUENCES, STEPS)
    assert 0 < found["codes_differing"] <= found["codes_compared"]
    x = drawn_input(program).transpose(1, 0, 2)
    gap = np.abs(Executor(program).run(x) - Executor(lowered.program).run(x)) / program.ops[-1].scale
    assert found["largest_output_difference_codes"] == gap.max() > 0


def test_it_stands_in_the_report_where_a_conversion_is_lossy_and_nowhere_else(
    taox64: Hardware, program_of: Programs
) -> None:
    program = program_of(weight_bits=4)
    exact = AimcTarget(taox64).emit(program).cost(10)
    assert "lowering" not in exact
    assert "Lossy" not in "".join(crossbar_sections(exact))
    sliced = replace(taox64, cell=replace(taox64.cell, levels=4), adc=replace(taox64.adc, bits=4))
    cost = AimcTarget(sliced).emit(program).cost(10)
    page = "".join(crossbar_sections(cost))
    assert "Lossy conversions" in page
    assert all(m["matrix"] in page for m in cost["matrices"] if m["conversion"] == "lossy")

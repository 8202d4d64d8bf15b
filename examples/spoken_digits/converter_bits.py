"""Fewer converter bits on the spoken-digits model: what the range of the converters does to accuracy.

\b
    python -m examples.spoken_digits.converter_bits --data fsdd.npz --write

Three rules for `taox64` with 8 to 3 bits: the range that every input could reach (a proof of no overflow, what ssmc did
before), the range of the quantizer that follows, and the range of least squared error on 64 recordings of the training
part. Accuracy on the 300 official test recordings. `--hardware FILE` measures a file of your own the same way.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np

import ssmc
from examples.lib import options
from examples.spoken_digits.recordings import load_splits, samples
from ssmc.bundle.check import accuracy
from ssmc.conversion.column_sums import Inputs
from ssmc.conversion.one_conversion import realised_over
from ssmc.conversion.ranges import input_range
from ssmc.data import Samples, load_samples
from ssmc.hardware.file import load_hardware
from ssmc.hardware.model import Hardware
from ssmc.ir.matrix import Matrix, PartialSum
from ssmc.ir.program import Program
from ssmc.targets.aimc.lowering.conversion_plan import MatrixPlan
from ssmc.targets.aimc.lowering.partial_sums import Lowered, lower, with_matrices
from ssmc.targets.aimc.lowering.recorded_inputs import recorded_inputs
from ssmc.targets.aimc.simulation.chip import Chip
from ssmc.targets.aimc.simulation.tile_executor import TileExecutor
from ssmc.targets.aimc.target import AimcCompiled, AimcTarget
from ssmc.targets.aimc.tiles.assemble import assemble

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "hardware.md"
BEGIN, END = "<!-- made by examples/spoken_digits/converter_bits.py --write -->", "<!-- end of converter bits -->"
BITS = range(8, 2, -1)
RECORDINGS = 64


@click.command()
@options.data
@click.option("--hardware", multiple=True, help="Hardware files to measure instead of taox64 with 8 to 3 bits.")
@click.option("--write", is_flag=True, help="Put the table into docs/hardware.md.")
def main(data: Path, hardware: tuple[str, ...], write: bool) -> None:
    """Print the table as Markdown."""
    program, test = exact_program(), load_samples(HERE / "test.npz")
    train = samples(load_splits(data)["train"]).spread(RECORDINGS)
    seen = recorded_inputs(program, train)
    rows = [("bits", "reachable range", "quantizer's range", "recorded sequences"), ("---",) * 4]
    for name, hw in chips(hardware):
        plain, chosen = lower(program, hw), lower(program, hw, seen=seen)
        found = [correct(made, hw, test) for made in (reachable(program, plain, hw), plain, chosen)]
        rows.append((name, *(f"{100 * share:.1f}" for share in found)))
        click.echo(" ".join(rows[-1]), err=True)
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    click.echo(table)
    if write:
        page = PAGE.read_text(encoding="utf-8")
        before, rest = page.split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


def exact_program() -> Program:
    """The integer program of the model, before any converter."""
    bundle = ssmc.compile(HERE / "model.onnx", AimcTarget("taox64"), oracle=False)
    assert isinstance(bundle.compiled, AimcCompiled)
    return bundle.compiled.source


def chips(files: tuple[str, ...]) -> list[tuple[str, Hardware]]:
    """Name and hardware of every row; as many arrays as a program needs."""
    if files:
        loaded = [load_hardware(Path(file)) for file in files]
        return [(hw.name, replace(hw, array=replace(hw.array, count=0))) for hw in loaded]
    hw = load_hardware("taox64")
    return [(str(bits), replace(hw, adc=replace(hw.adc, bits=bits))) for bits in BITS]


def correct(lowered: Lowered, hw: Hardware, test: Samples) -> float:
    """Share of the recordings that an ideal chip labels right."""
    tiles = assemble(lowered, hw)
    x, lengths = test.batch(np.arange(len(test)))
    assert test.label is not None
    return accuracy(TileExecutor(lowered.program, tiles, Chip(tiles, hw)).run(x, lengths), test.label)


def reachable(program: Program, lowered: Lowered, hw: Hardware) -> Lowered:
    """The same conversions with the smallest power-of-two step that covers all that any input can reach."""
    plans = {}
    for op in program.ops:
        for name in (plan.name for plan in lowered.plans.values() if plan.op == op.name):
            plan = lowered.plans[name]
            plans[name] = covering(plan, Inputs(input_range(program, op)), hw) if plan.kind == "lossy" else plan
    found = {name: (plan.matrix, plan.requant) for name, plan in plans.items()}
    return Lowered(with_matrices(program, found), plans)


def covering(plan: MatrixPlan, inputs: Inputs, hw: Hardware) -> MatrixPlan:
    """One plan with steps that cover the reachable sums of all its columns."""
    codes, half = plan.matrix.codes, 1 << (hw.adc.bits - 1)
    whole = PartialSum(codes, (0, codes.shape[2]), None, 1, *(np.zeros(codes.shape[:2], np.int64),) * 4)
    parts = []
    for part in plan.matrix.parts or (whole,):
        cells = Inputs((inputs.ends[0][:, slice(*part.rows)], inputs.ends[1][:, slice(*part.rows)])).driven(part.plane)
        low, high = Matrix(part.codes).reach(*cells.ends)
        top = max(-int(low.min()), int(high.max()), 1)
        one = np.ones(low.shape, np.int64)
        step = next(1 << e for e in range(63) if (top >> e) < half)
        parts.append(replace(part, step=step * one, lo=-half * one, hi=(half - 1) * one, excess=0 * one))
    matrix = Matrix(codes, tuple(parts))
    return replace(plan, matrix=matrix, requant=realised_over(plan.exact, matrix, inputs, plan.name))


if __name__ == "__main__":
    main()

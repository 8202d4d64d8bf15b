"""The spoken-digits model on a Cortex-M4: same codes as the reference, instructions per step next to a bound.

The bound counts what any scalar implementation of these exact numbers executes, item by item (`BOUND`); the second
one lets the DSP extension multiply two 16-bit pairs at once in dense matrices. Loops, addresses and spilled
registers are left out: they are what the ratio shows.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import board
import click

import ssmc
from ssmc.emit_c.emit import emit
from ssmc.emit_c.source import Layer
from ssmc.ir.program import Program
from ssmc.targets.c99.target import CTarget

ROOT = Path(__file__).parents[2]
STEPS = 108  # of an average recording
MODEL = ROOT / "examples" / "spoken_digits" / "model.onnx"

#: instructions of one item on a Cortex-M4, and which
BOUND: dict[str, tuple[float, str]] = {
    "macs": (2, "load a weight, multiply-accumulate"),
    "macs, two at once": (1.25, "per four: load, 2 sign-extend pairs, 2 dual multiply-accumulates"),
    "requantizations": (9, "load shift, half, odd bit (2), 2 adds, shift, saturate, store"),
    "read-outs": (9, "load register, load shift, half, odd bit (2), 2 adds, shift, saturate"),
    "updates": (3, "add, saturate, store"),
    "look-ups": (5, "load code, load row, address, load value, store"),
    "additions": (6, "load code, load and store 64-bit sum, extend, add low, add high"),
    "values": (1, "load an input that is kept in a register while it is used"),
}


def items(layers: tuple[Layer, ...], program: Program) -> Counter[str]:
    """How many of each item a step needs."""
    found: Counter[str] = Counter()
    for layer in layers:
        dense = layer.stored.startswith("dense")
        found["dense macs" if dense else "macs"] += layer.macs
        found.update(layer.requants)
    found["updates"] = sum(op.keep.size for op in program.ops if hasattr(op, "keep"))
    found["values"] = sum(codes.size for codes in program.values.values() if codes.rate == "step")
    return found


def bound(found: Counter[str], dsp: bool) -> float:
    """Instructions per step."""
    dense = BOUND["macs, two at once" if dsp else "macs"][0] * found["dense macs"]
    return dense + sum(BOUND[name][0] * count for name, count in found.items() if name in BOUND)


def measure(program: Program, folder: Path) -> dict[str, Any]:
    """Build, run, compare."""
    got = board.execute(board.build(program, folder))
    if not got.passed:
        raise click.ClickException(f"the codes differ:\n{got.said}")
    found = items(emit(program, "model").step_layers, program)
    scalar, dsp = bound(found, dsp=False), bound(found, dsp=True)
    figures = {key: value for key, value in asdict(got).items() if key not in ("said", "passed")}
    return {
        **figures, "optimize": board.OPTIMIZE, "items_per_step": dict(sorted(found.items())),
        "bound_scalar": scalar, "bound_dsp": dsp,
        "ratio_scalar": got.instructions_per_step / scalar, "ratio_dsp": got.instructions_per_step / dsp,
    }  # fmt: skip


def on_the_board(figures: dict[str, Any]) -> dict[str, Any]:
    """What only the board's compiler and QEMU know, for the cost section of the bundle's report."""
    per_step = round(figures["instructions_per_step"])
    return {
        "cortex_m4_bound_instructions_per_step": round(figures["bound_scalar"]),
        "cortex_m4_bound_instructions_per_sequence": round(figures["bound_scalar"]) * STEPS,
        "cortex_m4_flash_bytes": figures["text_bytes"],
        "cortex_m4_instructions_per_sequence": per_step * STEPS,
        "cortex_m4_instructions_per_step": per_step,
        "cortex_m4_ram_bytes": figures["state_bytes"],
        "cortex_m4_stack_bytes": figures["stack_bytes"],
    }


@click.command(help=__doc__)
@click.option("--model", type=click.Path(exists=True, path_type=Path), default=MODEL)
@click.option("--output", "-o", type=click.Path(path_type=Path), default=Path("out/cortex_m"), help="Build folder.")
@click.option("--result", type=click.Path(path_type=Path), default=ROOT / "benchmarks" / "results" / "cortex_m.json")
def main(model: Path, output: Path, result: Path) -> None:
    """Run and report."""
    if missing := board.missing_tools():
        packages = "gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"
        raise click.ClickException(f"not installed: {', '.join(missing)}; apt-get install {packages}")
    bundle = ssmc.compile(model, CTarget(board.PREFIX), steps=STEPS)
    figures = measure(bundle.compiled.program, output)
    report = replace(bundle.report, cost={**bundle.report.cost, **on_the_board(figures)})
    replace(bundle, report=report).save(output / "bundle")
    click.echo("self-test in QEMU (mps2-an386, Cortex-M4): every code agrees")
    click.echo(f"{figures['instructions_per_step']:,.0f} instructions per step ({figures['optimize']})")
    click.echo(f"  {figures['ratio_scalar']:.2f}x the scalar bound of {figures['bound_scalar']:,.0f}")
    click.echo(f"  {figures['ratio_dsp']:.2f}x the bound with dual multiply-accumulates, {figures['bound_dsp']:,.0f}")
    for name, (each, what) in BOUND.items():
        click.echo(f"    {each:>4} {name}: {what}")
    click.echo(f"flash {figures['text_bytes']:,} bytes (code and constants), RAM {figures['state_bytes']:,} bytes, ")
    click.echo(f"stack {figures['stack_bytes']:,} bytes in the deepest function")
    click.echo(f"report: {output / 'bundle' / 'report.html'}")
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()

"""Committed models on a Cortex-M4: same codes as the reference, instructions per step next to a bound, flash and RAM.

The demo model of the spoken digits, and the headline models of the commands (`docs/results.md`), or one given by
``--model``. The bound is that of `bound.py`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import board
import click
from bound import BOUND, bound, items

import ssmc
from ssmc.ir.program import Program
from ssmc.targets.c99.target import CTarget

ROOT = Path(__file__).parents[2]
STEPS = 108  # of an average recording
MODEL = ROOT / "examples" / "spoken_digits" / "model.onnx"
HEADLINE = sorted((ROOT / "examples" / "commands" / "models").glob("qat-headline-n6-s*.onnx"))


def measure(program: Program, folder: Path) -> dict[str, Any]:
    """Build, run, compare."""
    got = board.execute(board.build(program, folder))
    if not got.passed:
        raise click.ClickException(f"the codes differ:\n{got.said}")
    found = items(program)
    least = bound(found)
    figures = {key: value for key, value in asdict(got).items() if key not in ("said", "passed")}
    return {
        **figures, "optimize": board.OPTIMIZE, "items_per_step": dict(sorted(found.items())), "bound": least,
        "ratio": got.instructions_per_step / least,
        "constant_bytes": CTarget(board.PREFIX).emit(program).emitted.flash_bytes,
    }  # fmt: skip


def on_the_board(figures: dict[str, Any]) -> dict[str, Any]:
    """What only the board's compiler and QEMU know, for the cost section of the bundle's report."""
    per_step = round(figures["instructions_per_step"])
    return {
        "cortex_m4_bound_instructions_per_step": round(figures["bound"]),
        "cortex_m4_bound_instructions_per_sequence": round(figures["bound"]) * STEPS,
        "cortex_m4_flash_bytes": figures["text_bytes"],
        "cortex_m4_instructions_per_sequence": per_step * STEPS,
        "cortex_m4_instructions_per_step": per_step,
        "cortex_m4_ram_bytes": figures["state_bytes"],
        "cortex_m4_stack_bytes": figures["stack_bytes"],
    }


def one(model: Path, output: Path) -> dict[str, Any]:
    """Compile, measure, and leave the bundle with the board's figures in its report."""
    bundle = ssmc.compile(model, CTarget(board.PREFIX), steps=STEPS)
    figures = measure(bundle.compiled.program, output)
    report = replace(bundle.report, cost={**bundle.report.cost, **on_the_board(figures)})
    replace(bundle, report=report).save(output / "bundle")
    click.echo(f"{model.stem}: every code of the self-test agrees in QEMU (mps2-an386, Cortex-M4)")
    per_step, least = figures["instructions_per_step"], figures["bound"]
    click.echo(
        f"  {per_step:,.0f} instructions per step ({board.OPTIMIZE}), {per_step / least:.2f}x the bound of {least:,.0f}"
    )
    for name, count in sorted(figures["items_per_step"].items(), key=lambda item: -BOUND[item[0]][0] * item[1]):
        click.echo(f"    {count:>6} {name}, {BOUND[name][0]:g} each")
    click.echo(f"  flash {figures['text_bytes']:,} bytes, {figures['constant_bytes']:,} of them constants")
    click.echo(
        f"  RAM {figures['state_bytes']:,} bytes, stack {figures['stack_bytes']:,} bytes in the deepest function"
    )
    click.echo(f"  report: {output / 'bundle' / 'report.html'}")
    return figures


@click.command(help=__doc__)
@click.option("--model", type=click.Path(exists=True, path_type=Path), help="Only this one; writes no result.")
@click.option("--output", "-o", type=click.Path(path_type=Path), default=Path("out/cortex_m"), help="Build folder.")
@click.option("--result", type=click.Path(path_type=Path), default=ROOT / "benchmarks" / "results" / "cortex_m.json")
def main(model: Path | None, output: Path, result: Path) -> None:
    """Run and report."""
    if missing := board.missing_tools():
        packages = "gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"
        raise click.ClickException(f"not installed: {', '.join(missing)}; apt-get install {packages}")
    if model is not None:
        one(model, output)
        return
    figures = {"demo": one(MODEL, output), **{path.stem: one(path, output / path.stem) for path in HEADLINE}}
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()

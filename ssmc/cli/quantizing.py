"""``ssmc quantize``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssmc.cli.progress import stages
from ssmc.cli.say import say, typed
from ssmc.cli.states import STATE_HELP, named_states
from ssmc.cli.types import COUNT, Finite, NewFile, Writing, budget_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssmc.budgets import Budgets
    from ssmc.quantize import QuantizeConfig
    from ssmc.quantize.allocation import Allocated
    from ssmc.quantize.model import Quantized
    from ssmc.quantize.read_back import Fidelity

BITS = click.IntRange(1, 16)
WARN_DB = 10
WIDTHS = {
    "kernel_bits": "kernel matrix",
    "state_bits": "states",
    "adc_bits": "converters",
    "activation_bits": "values",
    "converter_bits": "values",
    "input_bits": "values",
    "weight_bits": "weights",
}


@click.command(cls=Writing, short_help="Quantize a float ONNX model after training.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Calibration sequences (.npz).")
@click.option(
    "--samples",
    type=COUNT,
    default=64,
    show_default=True,
    help="Number of calibration sequences to use, evenly spaced.",
)
@click.option(
    "--output",
    "-o",
    type=NewFile(),
    default="quantized.onnx",
    show_default=True,
    help="ONNX file to write.",
)
@click.option(
    "--hardware",
    metavar="FILE|PRESET",
    help="Take the widths that a crossbar gives: weights from its cells, states and values from DAC and ADC.",
)
@click.option(
    "--slices",
    type=click.IntRange(1, 16),
    default=1,
    show_default=True,
    help="Cells (or pairs) of --hardware that hold a weight.",
)
@click.option("--bits", type=BITS, help="Default of all widths below.  [default: 8, or what --hardware gives]")
@click.option(
    "--kernel-bits", type=BITS, help="Width of the fused kernel matrix [[A, B], [C, D]], which the cells hold."
)
@click.option("--state-bits", type=BITS, help="Width of the read-out of the states (state DAC).")
@click.option("--adc-bits", type=BITS, help="Width of the ADC codes of a kernel's columns.")
@click.option("--weight-bits", type=BITS, help="Width of all other matrices; 2: ternary, 1: binary.")
@click.option("--activation-bits", type=BITS, help="Width of values between operations.")
@click.option("--input-bits", type=BITS, help="Width of the model's input.")
@click.option(
    "--output-bits",
    type=BITS,
    help="Width of the model's output. Default: 8, of an output per step 12, or --activation-bits if larger.",
)
@click.option(
    "--form",
    type=click.Choice(["auto", "delta", "direct"]),
    default="auto",
    show_default=True,
    help="Form of every mode; auto: the one with less predicted noise.",
)
@click.option(
    "--granularity",
    type=click.Choice(["mode", "channel", "tensor"]),
    default="mode",
    show_default=True,
    help="Share one scale per mode, per channel or per tensor of a kernel.",
)
@click.option(
    "--power-of-two/--free",
    default=True,
    help="Restrict scales to powers of two (default), or allow any.",
)
@click.option(
    "--refit/--no-refit",
    default=True,
    show_default=True,
    help="Fit C and D to the quantized states, and matrices to quantized inputs, on the calibration data.",
)
@click.option("--state", "state_pairs", multiple=True, metavar="IN:OUT", help=STATE_HELP)
@click.option(
    "--keep-scales",
    is_flag=True,
    help="Keep the quantizers that the model has already, and quantize only what is float.",
)
@budget_option
@click.option(
    "--error",
    type=Finite(min=0, max=100),
    metavar="POINTS",
    help="Give every tensor the fewest bits, up to the widths above, that lose at most so many points of accuracy on "
    "labelled sequences of --data that are not used for calibration.",
)
@click.option("--min-sqnr", type=Finite(), metavar="DB", help="Refuse a model whose output SQNR is lower.")
def quantize(
    model: Path,
    data: Path,
    samples: int,
    output: Path,
    hardware: str | None,
    slices: int,
    bits: int | None,
    output_bits: int | None,
    form: str,
    granularity: str,
    power_of_two: bool,
    refit: bool,
    budgets: Budgets,
    state_pairs: tuple[str, ...],
    keep_scales: bool,
    error: float | None,
    min_sqnr: float | None,
    **widths: int | None,
) -> None:
    """Quantize a float ONNX MODEL on calibration data and write standard quantized ONNX, ready for 'ssmc compile'.

    Each recurrence is diagonalised into modes, and each mode gets the form (direct or delta) with less predicted
    noise. Quantizer steps minimise the squared error on the data; C and D are refitted to the quantized states.
    Needs no torch.

    \b
    Example:
      ssmc quantize model_float.onnx --data calib.npz -o model.onnx
      ssmc quantize model_float.onnx --data calib.npz --bits 6 --state-bits 8
      ssmc quantize model_float.onnx --data calib.npz --hardware my_chip.toml
      ssmc quantize model_float.onnx --data labelled.npz --error 1
    """
    from ssmc.bundle.files import write_file
    from ssmc.data import load_samples
    from ssmc.importers.onnx_file import file_parts
    from ssmc.quantize import QuantizeConfig
    from ssmc.quantize.allocation import allocate, parted
    from ssmc.quantize.model import Ready

    chosen = {key: bits if width is None else width for key, width in widths.items()}
    given: dict[str, Any] = {key: width for key, width in chosen.items() if width is not None}
    others = {"output_bits": output_bits, "form": form, "granularity": granularity}
    given |= {**others, "power_of_two": power_of_two, "refit": refit}
    if hardware is None:
        config = QuantizeConfig(**given)
    else:
        config = _for_hardware(hardware, slices, given if bits is None else {**given, "converter_bits": bits})
    with stages("quantizing") as stage:
        states = named_states(state_pairs)
        sequences = load_samples(data, budgets, file_parts(model, budgets, states))
        calibration, judges = (sequences.spread(samples), None) if error is None else parted(sequences, samples)
        ready = Ready.read(model, calibration, stage, budgets, states, keep_scales)
        if error is None or judges is None:
            narrow, done = None, ready.quantize(config, stage)
        else:
            narrow = allocate(ready, judges, error, config, stage)
            done = narrow.quantized
    _require(done.fidelity, min_sqnr)
    write_file(output, done.model.SerializeToString(deterministic=True))
    _tell(done, narrow)
    say(f"wrote {output}: {done.quantizers} quantizers; compile it with 'ssmc compile {typed(output)}'")


def _tell(done: Quantized, narrow: Allocated | None) -> None:
    """What became of kernels and tensors, and how good the model is."""
    from ssmc.printable import printable

    for kernel in done.kernels:
        unit = "modes" if kernel.basis == "modal" else "pairs of states"
        click.echo(
            f"{printable(kernel.name)}: {kernel.basis} states, {kernel.delta} of {kernel.modes} {unit} in delta form"
        )
    for line in [*(width_lines(narrow) if narrow else ()), *fidelity_lines(done.fidelity)]:
        click.echo(line)


def _for_hardware(name: str, slices: int, given: dict[str, Any]) -> QuantizeConfig:
    """The widths of the hardware, which are told, and those that are ``given``."""
    from ssmc.hardware.file import load_hardware
    from ssmc.hardware.widths import widths
    from ssmc.quantize import QuantizeConfig

    hw = load_hardware(name)
    click.echo(widths(hw, slices).line(hw.name))
    return QuantizeConfig.for_hardware(hw, slices=slices, **given)


def width_lines(narrow: Allocated) -> Iterator[str]:
    """Bits of every tensor, what they save and what they lose."""
    from ssmc.printable import printable

    for (name, width), bits in narrow.bits.items():
        fed = width == "activation_bits" and (name, "kernel_bits") in narrow.bits
        yield f"{bits:2d} bits: {'input' if fed else WIDTHS[width]} of {printable(name)}"
    now, full = narrow.figures, narrow.fp32
    saved = {"ACE": full.ace / now.ace, "size": full.size_bits / now.size_bits, "ADC complexity": full.adc / now.adc}
    yield "against 32 bits " + ", ".join(f"{name} {factor:.2f}x smaller" for name, factor in saved.items())
    share, real = narrow.judged.accuracy, narrow.judged.float_accuracy
    yield f"accuracy on {narrow.sequences} sequences that were not calibrated on {share:.4f}, float {real:.4f}"


def fidelity_lines(fidelity: Fidelity) -> Iterator[str]:
    """How good the quantized model is on the calibration data."""
    weak = f"; below {WARN_DB} dB: more bits, or training (QAT)" if fidelity.sqnr_db < WARN_DB else ""
    yield f"output SQNR {_decibels(fidelity.sqnr_db)} on the calibration data{weak}"
    if fidelity.accuracy is not None:
        yield f"accuracy on the calibration data {fidelity.accuracy:.4f}, float {fidelity.float_accuracy:.4f}"


def _decibels(sqnr: float) -> str:
    """A word where a ratio has no figure."""
    if math.isfinite(sqnr):
        return f"{sqnr:.1f} dB"
    return "unlimited (no output differs)" if sqnr > 0 else "none (the float model's outputs are 0)"


def _require(fidelity: Fidelity, least: float | None) -> None:
    from ssmc.errors import GateError

    if least is not None and fidelity.sqnr_db < least:
        fact = f"the output SQNR is {_decibels(fidelity.sqnr_db)}, --min-sqnr asks for {least:g}"
        raise GateError("SSMC-C02", fact, "give more bits; nothing was written", "--min-sqnr")

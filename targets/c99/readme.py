"""The README that goes with a model's C."""

from __future__ import annotations

from collections.abc import Iterator

from ssmc.emit_c.emit import Emitted
from ssmc.emit_c.source import Layer, comment_text, per_input_step
from ssmc.emit_c.text import counts_outputs, per_step
from ssmc.ir.rates import period


def readme_text(model: Emitted) -> str:
    """Figures, interface and layout, in Markdown."""
    return "\n".join(_lines(model)) + "\n"


def _lines(model: Emitted) -> Iterator[str]:
    p = model.prefix
    yield f"# {p}"
    yield ""
    yield "Made by ssmc: a quantized state-space model in C99. `stdint.h` only, no heap, no floating point, no global"
    yield "variables. Its codes equal ssmc's reference executor for every input."
    yield ""
    yield f"Build `{p}.c`, include `{p}.h`. `{p}_selftest.c` is a program of its own:"
    yield f"`cc {p}.c {p}_selftest.c && ./a.out`."
    yield ""
    yield "```c"
    yield from _example(model)
    yield "```"
    yield ""
    if model.quantizes:
        yield f"`{p}_quantize` makes input codes from 16-bit samples; for any other source the header states the scale."
    else:
        yield "The header states the scales of input and output codes."
    yield ""
    yield from _figures(model)
    yield ""
    yield "## Layers"
    yield ""
    yield "| layer | multiply-accumulates | besides | weights |"
    yield "| --- | --: | --- | --- |"
    for layer in (*model.step_layers, *model.finish_layers):
        slow = f" (every {period(layer.clock)} steps)" if layer.clock else ""
        yield f"| {_cell(layer.name)}{slow} | {layer.macs} | {_besides(layer)} | {layer.stored} |"
    yield ""
    yield from _layout()


def _example(model: Emitted) -> Iterator[str]:
    p = model.prefix
    yield f"static {p}_state state;"
    yield f"{p}_output y[{p.upper()}_OUTPUTS];"
    yield f"{p}_init(&state);"
    if counts_outputs(model.program):
        yield f"if ({p}_step(&state, x, y)) {{ /* every time step; 1 where it gives an output */ }}"
        yield f"if ({p}_finish(&state, y)) {{ /* at the end: an output for the steps that are left */ }}"
    elif per_step(model.program):
        yield f"{p}_step(&state, x, y);    /* every time step */"
    else:
        yield f"{p}_step(&state, x);       /* every time step */"
        yield f"{p}_finish(&state, y);     /* whenever the result is wanted */"


def _figures(model: Emitted) -> Iterator[str]:
    step, once = model.step_layers, model.finish_layers
    slower = any(layer.clock for layer in step)
    worst = [
        ("multiply-accumulates in the step at which every rate has a step", str(macs(step))),
        ("requantizations, read-outs, look-ups in that step", str(operations(step))),
    ]
    rows = [
        ("constants in flash", f"{model.flash_bytes} bytes"),
        ("RAM, the state struct", f"{model.state_bytes} bytes"),
        ("stack, arrays of the largest layer", f"{model.scratch_bytes} bytes"),
        ("multiply-accumulates per step", f"{per_input_step(step, lambda layer: layer.macs):.10g}"),
        ("multiply-accumulates at the end", str(macs(once))),
        ("requantizations, read-outs, look-ups per step", f"{per_input_step(step, Layer.operations):.10g}"),
        *(worst if slower else []),
    ]
    yield "| figure | value |"
    yield "| --- | --: |"
    for name, value in rows:
        yield f"| {name} | {value} |"


def macs(layers: tuple[Layer, ...]) -> int:
    """Multiply-accumulates where all of them run."""
    return sum(layer.macs for layer in layers)


def operations(layers: tuple[Layer, ...]) -> int:
    """Everything that is no multiply-accumulate where all of them run."""
    return sum(map(Layer.operations, layers))


def _besides(layer: Layer) -> str:
    return ", ".join(f"{count} {what}" for what, count in layer.requants.items())


def _cell(text: str) -> str:
    return comment_text(text).replace("|", "\\|")


def _layout() -> Iterator[str]:
    yield "## Layout of the weights"
    yield ""
    yield "Codes of a matrix are stored in the narrowest of these widths; zero blocks of a kernel are not stored."
    yield ""
    yield "- *dense*: row after row, one row per output."
    yield "- *sparse*: the codes other than zero, the input of each, and where each row begins."
    yield "- *dense, two rows a word*: 256 times the code of one row plus that of the next; of two such pairs of rows"
    yield "  (one, at the end) two inputs each in turn."
    yield "- *dense, by pairs*: 32-bit words of four rows (one, at the end) in turn; a word has codes of pairs of"
    yield "  inputs, from the highest bits of both halves down."
    yield "- *pairs of states*: a stream of bytes, channel by channel, described in the comment above it."
    yield "- *[blocks][A, B, C][channels]*: states that feed each other form a block; per block A, B and C, row by row,"
    yield "  and of each entry one code per channel. D lies in an array of its own."
    yield "- 8 and 16 bit: `int8_t`, `int16_t`. 4 and 2 bit: two's complement, two or four codes a byte, the first in"
    yield "  the lowest bits, every row beginning at a byte. 1 bit: 0 is -1, 1 is +1, eight codes a byte."

"""Run a model's C as a program of its own: codes in, every value of every step out; here or on a Cortex-M4 in QEMU."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np

from ssmc.emit_c.buffers import Field
from ssmc.emit_c.emit import Emitted, emit
from ssmc.emit_c.text import has_finish
from ssmc.ir.program import Program
from ssmc.ir.rates import seen, seen_at_end
from ssmc.ir.rounding import IntArray
from ssmc.native.build import STRICT

#: without optimisation: gcc takes a seventh of the time, and the fast executor runs the same text at -O3
SANITIZE = ("-O0", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
#: take the text's branch for Arm's DSP extension, with its instructions in C
EMULATED = ("-D__ARM_FEATURE_DSP=1", f"-I{Path(__file__).parent / 'emulated'}")
BOARD = Path(__file__).parents[3] / "examples" / "cortex_m"

_MAIN = """\
#include "m.h"
#include <stddef.h>
#include <stdio.h>

/* members of the state: where, how many bytes, and whether they are complete after a step (1), at the end (2) */
static const size_t members[][3] = { @MEMBERS };
static m_state state;
static m_input x[@INPUTS];
@Y

static int put(FILE *out, size_t when)
{
    for (size_t i = 0; i < sizeof members / sizeof members[0]; ++i) {
        if ((members[i][2] & when) != 0 && fwrite((const char *)&state + members[i][0], members[i][1], 1, out) != 1) {
            return 1;
        }
    }
    return 0;
}

/* codes.bin: for every sequence its number of steps, then its codes */
int main(void)
{
    FILE *in = fopen("codes.bin", "rb"), *out = fopen("values.bin", "wb");
    uint32_t steps;
    int failed = in == NULL || out == NULL;
    while (!failed && fread(&steps, sizeof steps, 1, in) == 1) {
        m_init(&state);
        for (uint32_t t = 0; t < steps && !failed; ++t) {
            failed = fread(x, sizeof x, 1, in) != 1;
            m_step(&state, x@ARGUMENT);
            failed = failed || put(out, 1);
        }
        @FINISH
        failed = failed || put(out, 2);
    }
    return failed || fclose(out) != 0;
}
"""


def write_sources(model: Emitted, folder: Path) -> None:
    """The model and a main that runs it over a file."""
    stepwise = model.program.output_rate == "step"
    members = ", ".join(
        f"{{ offsetof(m_state, {f.name}), {f.bytes}u, {_when(model.program, f)}u }}" for f in kept(model)
    )
    pairs = [
        ("@MEMBERS", members or "{ 0, 0, 0 }"), ("@INPUTS", str(model.program.input_size)),
        ("@Y", f"static m_output y[{model.program.output_size}];"), ("@ARGUMENT", ", y" if stepwise else ""),
        ("@FINISH", "m_finish(&state, y);" if has_finish(model.program) else "(void)y;"),
    ]  # fmt: skip
    text = _MAIN
    for key, value in pairs:
        text = text.replace(key, value)
    for name, content in (("m.h", model.header), ("m.c", model.source), ("main.c", text)):
        (folder / name).write_text(content)


def kept(model: Emitted) -> list[Field]:
    """Members of the state that hold a value of the program."""
    return [field for field in model.fields if field.value]


def _when(program: Program, field: Field) -> int:
    """1 for what every step writes, 2 for the end alone, 3 for a lower rate, of which the end may write a rest."""
    codes = program.values[field.value]
    return 2 if codes.rate == "sequence" else 3 if codes.clock else 1


def run(
    program: Program,
    codes: IntArray,
    folder: Path,
    compiler: str = "gcc",
    lengths: IntArray | None = None,
    flags: tuple[str, ...] = (),
) -> dict[str, IntArray]:
    """Values of input codes (N, T, inputs) with sanitizers on: name -> (N, T, size), per-sequence ones (N, size)."""
    model = emit(program, "m", share=False)
    write_sources(model, folder)
    subprocess.run([compiler, *STRICT, *SANITIZE, *flags, "m.c", "main.c", "-o", "m"], cwd=folder, check=True)
    steps = _write_codes(model, codes, lengths, folder)
    subprocess.run(["./m"], cwd=folder, check=True)
    return _read_values(model, steps, codes.shape[1], folder)


def run_on_board(
    program: Program, codes: IntArray, folder: Path, lengths: IntArray | None = None, timeout: float = 600
) -> dict[str, IntArray]:
    """The same of an image for the Cortex-M4, in QEMU."""
    board = load_board()
    model = emit(program, "m", share=False)
    write_sources(model, folder)
    board.compile_model("m", folder)
    image = board.link(folder, "main.c", "m.o")
    steps = _write_codes(model, codes, lengths, folder)
    done = board.emulate(image, timeout=timeout)
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode} in QEMU: {done.stdout}{done.stderr}")
    return _read_values(model, steps, codes.shape[1], folder)


@cache
def load_board() -> ModuleType:
    """``examples/cortex_m/board.py``, which is no package."""
    spec = importlib.util.spec_from_file_location("board", BOARD / "board.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["board"] = module
    spec.loader.exec_module(module)
    return module


def _write_codes(model: Emitted, codes: IntArray, lengths: IntArray | None, folder: Path) -> list[int]:
    steps = [codes.shape[1]] * len(codes) if lengths is None else lengths.tolist()
    with (folder / "codes.bin").open("wb") as file:
        for sequence, count in zip(codes, steps, strict=True):
            file.write(np.uint32(count).tobytes())
            file.write(np.ascontiguousarray(sequence[:count], model.input_type.dtype).tobytes())
    return steps


def _read_values(model: Emitted, steps: list[int], longest: int, folder: Path) -> dict[str, IntArray]:
    """Frames of what each step writes, then one of the end, sequence by sequence; zeros beyond its length."""
    data = np.fromfile(folder / "values.bin", np.uint8)
    parts = {when: [f for f in kept(model) if _when(model.program, f) & when] for when in (1, 2)}
    width = {when: sum(f.bytes for f in fields) for when, fields in parts.items()}
    assert data.size == width[1] * sum(steps) + width[2] * len(steps)
    found = {f.value: np.zeros(_shape(model.program, f, len(steps), longest), np.int64) for f in kept(model)}
    at = 0
    for n, count in enumerate(steps):
        for when, frames in ((1, count), (2, 1)):
            block = data[at : at + frames * width[when]].reshape(frames, width[when])
            at, place = at + block.size, 0
            for f in parts[when]:
                codes = np.ascontiguousarray(block[:, place : place + f.bytes]).view(f.ctype.dtype)
                place += f.bytes
                _write(found[f.value], n, codes, _rows_before(model.program, f, count, when))
    return found


def _shape(program: Program, field: Field, samples: int, longest: int) -> tuple[int, ...]:
    codes = program.values[field.value]
    rows = () if codes.rate == "sequence" else (int(seen_at_end(codes.clock, np.array(longest))),)
    return (samples, *rows, field.count)


def _rows_before(program: Program, field: Field, count: int, when: int) -> IntArray:
    """Rows that a value has before each frame, and after the last: it has a new one where that grows."""
    codes = program.values[field.value]
    if codes.rate == "sequence":
        return np.array([0, 1])
    if when == 1:
        return seen(codes.clock, np.arange(count + 1))
    return np.array([rows(codes.clock, np.array(count)) for rows in (seen, seen_at_end)])


def _write(found: IntArray, n: int, codes: IntArray, rows: IntArray) -> None:
    """Put the new codes (frames, size) of sequence n into their rows."""
    new = np.diff(rows) > 0
    if found.ndim == 2:
        found[n] = codes[0]
    else:
        found[n, rows[:-1][new]] = codes[new]

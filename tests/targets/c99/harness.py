"""Run a model's C as a program of its own, sanitizers on: codes in, every value of every step out."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np

from ssmc.ir.program import Program
from ssmc.ir.rounding import IntArray
from ssmc.targets.c99.build import STRICT
from ssmc.targets.c99.emit import Emitted, emit

SANITIZE = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

_MAIN = """\
#include "m.h"
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

static const size_t places[] = { @PLACES };

int main(int argc, char **argv)
{
    const int steps = argc > 1 ? atoi(argv[1]) : 0;
    m_state *state = malloc(sizeof *state);
    m_input *x = malloc(@INPUTS * sizeof *x);
    m_output *y = malloc(@OUTPUTS * sizeof *y);
    size_t size = sizeof *state;
    if (state == NULL || x == NULL || y == NULL || fwrite(&size, sizeof size, 1, stdout) != 1
        || fwrite(places, sizeof places, 1, stdout) != 1) {
        return 2;
    }
    for (;;) {
        m_init(state);
        for (int t = 0; t < steps; ++t) {
            if (fread(x, sizeof *x, @INPUTS, stdin) != @INPUTS) {
                free(state);
                free(x);
                free(y);
                return 0;
            }
            m_step(state, x@Y);
            fwrite(state, sizeof *state, 1, stdout);
        }
        @FINISH
    }
}
"""


def build(model: Emitted, folder: Path, compiler: str = "gcc") -> Path:
    """The program, compiled strictly and with sanitizers."""
    members = [f.name for f in model.fields if f.value]
    stepwise = model.program.output_rate == "step"
    text = _MAIN.replace("@PLACES", ", ".join(f"offsetof(m_state, {m})" for m in members) or "0")
    text = text.replace("@INPUTS", f"{model.program.input_size}u").replace("@OUTPUTS", f"{model.program.output_size}u")
    text = text.replace("@Y", ", y" if stepwise else "")
    finish = "m_finish(state, y);\n        fwrite(state, sizeof *state, 1, stdout);"
    text = text.replace("@FINISH", "" if stepwise else finish)
    for name, content in (("m.h", model.header), ("m.c", model.source), ("main.c", text)):
        (folder / name).write_text(content)
    subprocess.run([compiler, *STRICT, *SANITIZE, "m.c", "main.c", "-o", "m"], cwd=folder, check=True)
    return folder / "m"


def run(program: Program, codes: IntArray, folder: Path, compiler: str = "gcc") -> dict[str, IntArray]:
    """Values of input codes (N, T, inputs): name -> (N, T, size), per-sequence values -> (N, size)."""
    model = emit(program, "m", share=False)
    binary = build(model, folder, compiler)
    n, steps = codes.shape[:2]
    fed = np.ascontiguousarray(codes, model.input_type.dtype).tobytes()
    done = subprocess.run([str(binary), str(steps)], input=fed, capture_output=True, check=True)
    members = [f for f in model.fields if f.value]
    size, *places = np.frombuffer(done.stdout, "<u8", 1 + max(len(members), 1)).tolist()
    rest = np.frombuffer(done.stdout, np.uint8, offset=8 * (1 + max(len(members), 1)))
    frames = steps + (program.output_rate == "sequence")
    states = rest.reshape(n, frames, size)
    found: dict[str, IntArray] = {}
    for member, place in zip(members, places, strict=False):
        part = np.ascontiguousarray(states[..., place : place + member.bytes]).view(member.ctype.dtype).astype(np.int64)
        found[member.value] = part[:, -1] if program.values[member.value].rate == "sequence" else part[:, :steps]
    return found

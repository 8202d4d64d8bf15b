"""detect.c with a model's C: built for this machine, or for a Cortex-M4 and run in QEMU."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from examples.cortex_m import board
from examples.stream.gate import Frames
from ssmc.emit_c.emit import emit
from ssmc.ir.program import Program
from ssmc.native.build import STRICT

HERE = Path(__file__).parent
SOURCES = [str(HERE / "main.c"), str(HERE / "detect.c")]

Found = list[tuple[int, int, int, int]]


def on_board(program: Program, frames: Frames, timeout: float = 1800) -> Found:
    """First and last loud frame, class and margin in codes of every word, from the Cortex-M4 in QEMU."""

    def run(folder: Path) -> str:
        board.compile_model("model", folder)
        image = board.link(folder, *SOURCES, "model.o")
        return board.emulate(image, timeout=timeout).stdout

    return _words(program, frames, run)


def on_this_machine(program: Program, frames: Frames, compiler: str = "gcc") -> Found:
    """The same from a program of this machine, with sanitizers."""

    def run(folder: Path) -> str:
        flags = [*STRICT, "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-I."]
        subprocess.run([compiler, *flags, *SOURCES, "model.c", "-o", "detect"], cwd=folder, check=True)
        return subprocess.run(["./detect"], cwd=folder, check=True, capture_output=True, text=True).stdout

    return _words(program, frames, run)


def _words(program: Program, frames: Frames, run: Callable[[Path], str]) -> Found:
    with tempfile.TemporaryDirectory(prefix="ssmc-stream-") as name:
        folder, model = Path(name), emit(program, "model")
        (folder / "model.h").write_text(model.header)
        (folder / "model.c").write_text(model.source)
        frames.astype("<i2").tofile(folder / "stream.bin")
        lines = [line.split()[1:] for line in run(folder).splitlines() if line.startswith("word ")]
    return [(int(first), int(last), int(label), int(margin)) for first, last, label, margin in lines]

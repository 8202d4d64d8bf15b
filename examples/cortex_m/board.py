"""Build a model's C for the MPS2 AN386 board (Cortex-M4) and run it in QEMU."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ssmc.ir.program import Program
from ssmc.native.build import STRICT
from ssmc.targets.c99.target import CCompiled

HERE = Path(__file__).parent
COMPILER = "arm-none-eabi-gcc"
MACHINE = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=soft")
OPTIMIZE = "-O2"
COUNTING = ("-icount", "shift=0")  # one nanosecond an instruction
QEMU = ("qemu-system-arm", "-M", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "null")
SEMIHOSTING = ("-semihosting-config", "enable=on,target=native")
PREFIX = "model"


@dataclass(frozen=True)
class Run:
    """What a board said.

    Attributes:
        passed: every code of the self-test agrees.
        instructions_per_step: counted by QEMU over a whole sequence.
        instructions_per_tick: of the counter, by a loop of known length.
        text_bytes: code and constants of the model.
        state_bytes: its RAM.
        stack_bytes: deepest stack of its functions, by the compiler.
        said: the output.
    """

    passed: bool
    instructions_per_step: float
    instructions_per_tick: float
    text_bytes: int
    state_bytes: int
    stack_bytes: int
    said: str


def missing_tools() -> list[str]:
    """What has to be installed first."""
    return [tool for tool in (COMPILER, "arm-none-eabi-size", QEMU[0]) if shutil.which(tool) is None]


def build(program: Program, folder: Path, optimize: str = OPTIMIZE) -> Path:
    """The image; the model itself is compiled as strictly as on the host."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in CCompiled(program, PREFIX).extra_files().items():
        (folder / name).write_bytes(data)
    compile_model(PREFIX, folder, optimize)
    renamed = f"-Dmain={PREFIX}_selftest"
    common = [COMPILER, *MACHINE, optimize]
    run(common, "-std=c99", renamed, "-c", f"{PREFIX}_selftest.c", "-o", "selftest.o", folder=folder)
    return link(folder, str(HERE / "main.c"), f"{PREFIX}.o", "selftest.o")


def compile_model(prefix: str, folder: Path, optimize: str = OPTIMIZE) -> None:
    """``prefix.c`` to ``prefix.o``."""
    command = [COMPILER, *MACHINE, optimize, *STRICT, "-fstack-usage"]
    run(command, "-c", f"{prefix}.c", "-o", f"{prefix}.o", folder=folder)


def link(folder: Path, *parts: str) -> Path:
    """An image of sources and objects, one of which has ``main``."""
    command = [COMPILER, *MACHINE, OPTIMIZE, "-I.", *parts, str(HERE / "startup.c"), "-nostartfiles"]
    run(command, f"-T{HERE / 'mps2.ld'}", "--specs=rdimon.specs", "-o", "image.elf", folder=folder)
    return folder / "image.elf"


def run(command: list[str], *more: str, folder: Path) -> str:
    """A tool's output; raises where it fails."""
    done = subprocess.run([*command, *more], cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed:\n{done.stderr}")
    return done.stdout


def emulate(image: Path, *options: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run an image in QEMU; its files are those beside it."""
    command = [*QEMU, *options, *SEMIHOSTING, "-kernel", str(image.absolute())]
    return subprocess.run(command, cwd=image.parent, capture_output=True, text=True, timeout=timeout, check=False)


def execute(image: Path, timeout: float = 300) -> Run:
    """Run an image of `build` in QEMU."""
    done = emulate(image, *COUNTING, timeout=timeout)
    said = done.stdout + done.stderr
    numbers: dict[str, float] = {}
    for line in said.splitlines():
        if line.startswith("known_instructions"):
            words = line.split()
            numbers = dict(zip(words[::2], map(float, words[1::2]), strict=True))
    if not numbers:
        return Run(False, 0, 0, 0, 0, 0, said)
    per_tick = numbers["known_instructions"] / numbers["known_ticks"]
    size = run(["arm-none-eabi-size"], f"{PREFIX}.o", folder=image.parent).splitlines()[1].split()
    stack = [int(line.split("\t")[1]) for line in (image.parent / f"{PREFIX}.su").read_text().splitlines()]
    per_step = numbers["ticks"] * per_tick / numbers["steps"]
    state = int(numbers["state_bytes"])
    return Run(done.returncode == 0, per_step, per_tick, int(size[0]), state, max(stack), said)

"""Target ``c``: the integer program as portable C99, with its costs, a self-test and an executor that runs it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssmc.emit_c.emit import Emitted, emit
from ssmc.emit_c.source import Layer, per_input_step, per_sequence
from ssmc.errors import UsageError
from ssmc.ir.executor import Executor
from ssmc.ir.program import Program
from ssmc.ir.serialize import program_from_json, program_to_json
from ssmc.native.build import find_compiler
from ssmc.native.executor import NativeExecutor
from ssmc.passes.to_integers import to_integers
from ssmc.pipeline import Pass
from ssmc.targets.base import Arrays, Compiled, Json, Target
from ssmc.targets.c99.readme import macs, operations, readme_text
from ssmc.targets.c99.selftest import make_vectors, selftest_text

#: of C99
HEADERS = (
    "assert", "complex", "ctype", "errno", "fenv", "float", "inttypes", "iso646", "limits", "locale", "math", "setjmp",
    "signal", "stdarg", "stdbool", "stddef", "stdint", "stdio", "stdlib", "string", "tgmath", "time", "wchar", "wctype",
)  # fmt: skip


@dataclass(frozen=True)
class CCompiled(Compiled):
    """A model in C.

    Attributes:
        program: the integer program.
        prefix: of all names and files.
    """

    program: Program
    prefix: str

    @cached_property
    def emitted(self) -> Emitted:
        """The texts, and what is known about them."""
        return emit(self.program, self.prefix)

    def executor(self, **options: Any) -> Executor:
        """Runs the C on this machine; the reference executor, with the same codes, where there is no compiler."""
        return Executor(self.program) if find_compiler() is None else NativeExecutor(self.program, word=8, **options)

    def cost(self, steps: int) -> Json:
        """Counts per step and sequence, flash and RAM of the C; code size is the compiler's."""
        model = self.emitted
        step, once = model.step_layers, model.finish_layers
        others, others_at_end = operations(step), operations(once)
        slower = any(layer.clock for layer in step)
        worst = {"macs_worst_step": macs(step), "requants_worst_step": others} if slower else {}
        return {
            "flash_constant_bytes": model.flash_bytes,
            "macs_per_sequence": per_sequence(step, lambda layer: layer.macs, steps) + macs(once),
            "macs_per_step": per_input_step(step, lambda layer: layer.macs),
            "ram_state_bytes": model.state_bytes,
            "requants_per_sequence": per_sequence(step, Layer.operations, steps) + others_at_end,
            "requants_per_step": per_input_step(step, Layer.operations),
            "stack_array_bytes": model.scratch_bytes,
            "steps": steps,
            **worst,
        }

    def files(self) -> tuple[Json, Arrays]:
        """The serialized program and the prefix."""
        program, arrays = program_to_json(self.program)
        return {"prefix": self.prefix, "program": program}, arrays

    def extra_files(self) -> dict[str, bytes]:
        """The C, its self-test and its README."""
        texts = {
            f"{self.prefix}.h": self.emitted.header,
            f"{self.prefix}.c": self.emitted.source,
            f"{self.prefix}_selftest.c": selftest_text(self.emitted, make_vectors(self.program)),
            "README.md": readme_text(self.emitted),
        }
        return {name: text.encode() for name, text in texts.items()}


@dataclass(frozen=True)
class CTarget(Target):
    """The integer program as portable C99 for a microcontroller, with a self-test.

    Attributes:
        prefix: of all names and files; a C identifier.
    """

    prefix: str = "model"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", self.prefix):
            fact = f"'{self.prefix[:80]}' cannot begin the names of a C file"
            remedy = "use at most 63 lower-case letters, digits and _, a letter first"
            raise UsageError("SSMC-C26", fact, remedy, "prefix")
        if self.prefix in HEADERS:
            fact = f"'{self.prefix}.h' would hide a header of the C standard"
            raise UsageError("SSMC-C26", fact, "choose another prefix", "prefix")

    @property
    def name(self) -> str:
        """``c``."""
        return "c"

    def pipeline(self) -> tuple[Pass, ...]:
        """Those of every target: to integer operations (`ssmc.passes.to_integers`)."""
        return to_integers()

    def emit(self, program: Program) -> CCompiled:
        """The program in C.

        Raises:
            ModelError: SSMC-C21..C24 for what C cannot do.
        """
        compiled = CCompiled(program, self.prefix)
        compiled.emitted  # noqa: B018 (declines now what it cannot do)
        return compiled

    @classmethod
    def load(cls, program: Json, arrays: Mapping[str, NDArray[np.generic]]) -> CCompiled:
        """Read back a bundle."""
        return CCompiled(program_from_json(program["program"], dict(arrays)), cls(prefix=program["prefix"]).prefix)

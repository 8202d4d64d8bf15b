"""What a target is: a pipeline of passes, and an emitter that turns the final program into something that runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ssmc.ir.executor import Executor
from ssmc.ir.program import Program

Json = dict[str, Any]
Arrays = dict[str, NDArray[np.generic]]


class Compiled(ABC):
    """A model compiled for one target: it runs, it counts, and it can be written to files."""

    program: Program
    #: the target simulates devices: `executor` takes ``noise`` and ``seed``
    has_devices: ClassVar[bool] = False

    @abstractmethod
    def executor(self, **options: Any) -> Executor:
        """Something with ``init / step / finish / run``; options are the target's (device noise, seed)."""

    @abstractmethod
    def cost(self, steps: int) -> Json:
        """Costs of one inference of ``steps`` time steps; plain numbers, units in the keys, sorted by component."""

    @abstractmethod
    def files(self) -> tuple[Json, Arrays]:
        """``program.json`` and the arrays of ``weights.npz``; `Target.load` reads them back."""

    def fast_executor(self, steps: int, **options: Any) -> Executor:
        """An executor for ``steps`` time steps in total.

        Same codes as `executor`; may compile native code first if that is faster overall.
        """
        return self.executor(**options)

    def settings(self) -> dict[str, str]:
        """What was set besides the target's options, as text by key (aimc: every key of the hardware)."""
        return {}

    def extra_files(self) -> dict[str, bytes]:
        """Files that only this target adds to a bundle, by name (for target c the C sources)."""
        return {}


@dataclass(frozen=True)
class Target(ABC):
    """A frozen dataclass whose fields are the target's options; every option has a default."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The word after ``--target``."""

    @abstractmethod
    def pipeline(self) -> tuple[Any, ...]:
        """Passes (`ssmc.pipeline.Pass`), in order."""

    @abstractmethod
    def emit(self, program: Program) -> Compiled:
        """The compiled model of the placed program."""

    def emit_decided(self, program: Program, decided: object) -> Compiled:
        """`emit`, for a target whose passes decide something that it must not decide again.

        Args:
            program: of the graph as the target's pipeline left it.
            decided: what its passes handed on (`ssmc.pipeline.PassResult.decided`); None where they decide nothing.
        """
        return self.emit(program)

    @classmethod
    @abstractmethod
    def load(cls, program: Json, arrays: Mapping[str, NDArray[np.generic]]) -> Compiled:
        """Read back what `Compiled.files` wrote."""

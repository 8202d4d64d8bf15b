"""What a pass is, and the driver that runs a tuple of them, believes none of them, and records what each did."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path

import onnx_ir as ir

from ssmc.errors import ModelError, UsageError, VerificationError
from ssmc.ir.functions import attach_functions
from ssmc.ir.levels import check_level
from ssmc.verify import Oracle

TIES = float("inf")  # a flipped code may move a quantized recurrence by any amount


class Effect(Enum):
    """What a pass may do to the meaning of the model."""

    EXACT = "exact"
    BOUNDED = "bounded"
    LOSSY = "lossy"


@dataclass(frozen=True)
class Declined:
    """A place where a pass could have acted and did not."""

    node: str
    reason: str


@dataclass(frozen=True)
class PassResult:
    """The new graph with what was done and what was not.

    Attributes:
        decided: what `Target.emit_decided` needs of the pass's decisions, so that nothing is decided twice.
    """

    model: ir.Model
    applied: tuple[str, ...] = ()
    declined: tuple[Declined, ...] = ()
    effect: Effect | None = None
    decided: object = None


@dataclass(frozen=True)
class Pass(ABC):
    """A frozen dataclass: its fields are its options, its docstring its contract."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Verb-noun, as listed by ``ssmc passes``."""

    @property
    def effect(self) -> Effect:
        """The most the pass may do; a result may say that less was done."""
        return Effect.EXACT

    @property
    def level(self) -> str:
        """Level (`ssmc.ir.levels`) at which the pass leaves the graph."""
        return "canonical"

    @abstractmethod
    def run(self, model: ir.Model) -> PassResult:
        """Transform the model in place; raise ModelError where the model cannot go on."""

    def options(self) -> dict[str, object]:
        """Field names and values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class PassRecord:
    """What one pass did.

    Attributes:
        deviation: largest difference of the model's output from before the pass, relative to the output's
            largest magnitude, on the oracle's random input; None where the oracle did not run.
        ms: wall-clock milliseconds of the pass itself.
    """

    name: str
    effect: Effect
    applied: tuple[str, ...]
    declined: tuple[Declined, ...]
    deviation: float | None
    ms: float


@dataclass(frozen=True)
class PipelineResult:
    """The final model and the record of every pass.

    Attributes:
        compared, ties: codes compared with onnxruntime teacher-forced, and those that differ at ties of the real
            value; None where that was not done.
        decided: of the last pass that handed something on (`PassResult.decided`).
    """

    model: ir.Model
    records: tuple[PassRecord, ...]
    compared: int | None = None
    ties: int | None = None
    decided: object = None


def run_pipeline(
    model: ir.Model,
    passes: Sequence[Pass],
    *,
    oracle: bool = True,
    dump_dir: Path | None = None,
    stop_after: str | None = None,
    progress: Callable[[str], None] = lambda name: None,
    after: Mapping[str, Callable[[ir.Model], None]] | None = None,
    judged: Collection[str] = (),
) -> PipelineResult:
    """Run the passes in order; ``after`` names observers that are shown the graph after a pass.

    After every pass the level's legality table is checked; with ``oracle`` onnxruntime runs the model
    before and after, and an EXACT pass that moved the output is an error. Passes that change the order of float32
    arithmetic may flip codes at ties, which a feedback loop amplifies: the caller names those that it judges
    teacher-forced instead (``judged``); their free-running deviation is recorded, not gated (DESIGN §3).

    Raises:
        UsageError: SSMC-U03 for an unknown ``stop_after``.
        ModelError: from a pass, or SSMC-L01 where an op is not legal at the pass's level.
        VerificationError: SSMC-V01 where a pass moved the output more than its effect allows.
    """
    names = [step.name for step in passes]
    if stop_after is not None and stop_after not in names:
        raise UsageError("SSMC-U03", f"no pass is named '{stop_after}'", f"choose one of {', '.join(names)}")
    judge = Oracle(model) if oracle else None
    records: list[PassRecord] = []
    decided: object = None
    for index, step in enumerate(passes):
        progress(step.name)
        start = time.perf_counter()
        result = step.run(model)
        elapsed = (time.perf_counter() - start) * 1e3
        model = result.model
        decided = decided if result.decided is None else result.decided
        attach_functions(model)
        check_level(model, step.level, step.name)
        effect = result.effect or step.effect
        deviation = judge.deviation(model) if judge else None
        records.append(PassRecord(step.name, effect, result.applied, result.declined, deviation, elapsed))
        _dump(model, dump_dir, index, step.name)
        if after is not None and step.name in after:
            after[step.name](model)
        if judge and effect is Effect.EXACT and deviation is not None:
            _require_exact(step.name, deviation, TIES if step.name in judged else judge.tolerance)
        if step.name == stop_after:
            break
    return PipelineResult(model, tuple(records), decided=decided)


def _require_exact(name: str, deviation: float, tolerance: float) -> None:
    if not deviation <= tolerance:
        raise VerificationError(
            "SSMC-V01",
            f"an exact pass moved the output by {deviation:.3g} of its range (float error explains {tolerance:.3g})",
            "report this; --dump-dir keeps the graph before and after",
            name,
        )


def _dump(model: ir.Model, dump_dir: Path | None, index: int, name: str) -> None:
    if dump_dir is None:
        return
    try:
        dump_dir.mkdir(parents=True, exist_ok=True)
        ir.save(model, dump_dir / f"{index:02d}-{name}.onnx")
    except OSError as error:
        raise UsageError(
            "SSMC-U04", f"cannot write: {error.strerror}", "choose another --dump-dir", str(dump_dir)
        ) from None


__all__ = ["Declined", "Effect", "ModelError", "Pass", "PassRecord", "PassResult", "PipelineResult", "run_pipeline"]

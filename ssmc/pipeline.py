"""What a pass is, and the driver that runs a tuple of them, believes none of them, and records what each did."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import ClassVar

import onnx_ir as ir

from ssmc.errors import ModelError, UsageError, VerificationError
from ssmc.ir.functions import attach_functions
from ssmc.ir.levels import Level, check_imported, check_level
from ssmc.ir.witness import Witnesses
from ssmc.verify import Oracle

TIES = float("inf")  # a flipped code may move a quantized recurrence by any amount


class Effect(Enum):
    """What a pass may do to the meaning of the model, the least first."""

    EXACT = "exact"
    BOUNDED = "bounded"
    LOSSY = "lossy"

    def exceeds(self, other: Effect) -> bool:
        """Whether this may do more than ``other``."""
        order = list(Effect)
        return order.index(self) > order.index(other)


@dataclass(frozen=True)
class Declined:
    """A place where a pass could have acted and did not."""

    node: str
    reason: str


@dataclass(frozen=True)
class PassResult:
    """The new graph with what was done and what was not.

    Attributes:
        model: the new graph.
        applied: where the pass acted.
        declined: where it did not, and why.
        effect: what was done, at most what the class declares; None: that.
        bound: of a BOUNDED result, at most the class's; None: that.
        witnesses: which tensors of the graph before show the codes of this one, from the pass that folds.
        decided: what `Target.emit_decided` needs of the pass's decisions, so that nothing is decided twice.
    """

    model: ir.Model
    applied: tuple[str, ...] = ()
    declined: tuple[Declined, ...] = ()
    effect: Effect | None = None
    bound: float | None = None
    witnesses: Witnesses = field(default_factory=dict)
    decided: object = None


@dataclass(frozen=True)
class Pass(ABC):
    """A frozen dataclass: its fields are its options, its docstring its contract.

    Attributes:
        name: verb-noun, as listed by ``ssmc passes``.
        effect: the most the pass may do, whatever its options; a result may say that less was done.
        bound: the most that a BOUNDED result may move the output: root mean square of the difference, relative to the
            output's spread (`ssmc.verify.moved`). An output that forgets its input is moved by 1.
        requires: level that the graph must have; None: any.
        level: level at which the pass leaves the graph; None: the one it had.
        remedy: what to do where a result goes beyond its bound.
    """

    name: ClassVar[str]
    effect: ClassVar[Effect] = Effect.EXACT
    bound: ClassVar[float] = 1.0
    requires: ClassVar[Level | None] = None
    level: ClassVar[Level | None] = None
    remedy: ClassVar[str] = "leave the pass out, or report this; --dump-dir keeps the graph before and after"

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
        moved: root mean square of that difference relative to the output's spread (`ssmc.verify.moved`); None
            where the pass is EXACT or the oracle did not run.
        bound: what ``moved`` must stay below; None where the pass is not BOUNDED.
        ms: wall-clock milliseconds of the pass itself.
    """

    name: str
    effect: Effect
    applied: tuple[str, ...]
    declined: tuple[Declined, ...]
    deviation: float | None
    moved: float | None
    bound: float | None
    ms: float


@dataclass(frozen=True)
class Stage:
    """The graph between two passes, as an observer sees it.

    Attributes:
        model: the graph, which the next pass edits in place.
        level: how far it is lowered.
        witnesses: of the pass before (`PassResult`).
        decided: of the last pass that handed something on (`PassResult`).
    """

    model: ir.Model
    level: Level
    witnesses: Witnesses = field(default_factory=dict)
    decided: object = None


@dataclass(frozen=True)
class PipelineResult:
    """The final model and the record of every pass.

    Attributes:
        level: how far the model is lowered.
        compared, ties: codes compared with onnxruntime teacher-forced, and those that differ at ties of the real
            value; None where that was not done.
        decided: of the last pass that handed something on (`PassResult.decided`).
    """

    model: ir.Model
    level: Level
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
    after: Callable[[Stage], None] = lambda stage: None,
    judged: Level | None = None,
) -> PipelineResult:
    """Run the passes in order on an imported model, which they edit; ``after`` is shown the graph after every pass.

    Before a pass the level that it requires is checked, after it the legality table of its level. With ``oracle``
    onnxruntime runs the model before and after: an EXACT pass that moved the output is an error, and so is a BOUNDED
    one that moved it beyond its bound. Passes that change the order of float32 arithmetic may flip codes at ties,
    which a feedback loop amplifies: the caller names the level whose passes it judges teacher-forced instead
    (``judged``); their free-running deviation is recorded, not gated (semantics.md §2).

    Any tuple may be run, as far as it goes: who needs a level of the result says so (`missing_level`).

    Raises:
        UsageError: SSMC-U03 for an unknown ``stop_after``, SSMC-P01 where a pass is given a graph of another level than
            it requires.
        ModelError: from a pass, or SSMC-L02 where the model was not imported; SSMC-M15 where a pass moved the output of
            a model whose values are NaN or infinite.
        VerificationError: SSMC-L01 where an operation is not legal at the level after a pass, SSMC-V01 and V05 where a
            pass moved the output more than its effect allows, SSMC-V06 where a result claims more than its class.
    """
    names = [step.name for step in passes]
    if stop_after is not None and stop_after not in names:
        raise UsageError("SSMC-U03", f"no pass is named '{stop_after}'", f"choose one of {', '.join(names)}")
    check_imported(model)
    judge = Oracle(model) if oracle else None
    stage = Stage(model, Level.IMPORTED)
    records: list[PassRecord] = []
    for index, step in enumerate(passes):
        progress(step.name)
        tolerance = TIES if stage.level is judged else Oracle.tolerance
        stage, record = _run(step, stage, judge)
        records.append(record)
        _dump(stage.model, dump_dir, index, step.name)
        after(stage)
        try:
            _require_effect(record, tolerance, step.remedy)
        except VerificationError:
            if judge is not None:
                judge.require_finite(stage.model)
            raise
        if step.name == stop_after:
            break
    return PipelineResult(stage.model, stage.level, tuple(records), decided=stage.decided)


def missing_level(level: Level, need: str) -> UsageError:
    """The error SSMC-P02 of a pipeline without a level that something needs."""
    fact = f"no pass reaches level {level.value}, which {need} needs"
    return UsageError("SSMC-P02", fact, f"add a pass that leaves the graph at level {level.value}")


def _run(step: Pass, stage: Stage, judge: Oracle | None) -> tuple[Stage, PassRecord]:
    """One pass, its graph checked and compared with the one before."""
    if step.requires is not None and step.requires is not stage.level:
        fact = f"the pass requires level {step.requires.value}, the graph is at level {stage.level.value}"
        raise UsageError("SSMC-P01", fact, "move the pass to where the graph has that level", step.name)
    start = time.perf_counter()
    result = step.run(stage.model)
    elapsed = (time.perf_counter() - start) * 1e3
    model, level = result.model, step.level or stage.level
    attach_functions(model)
    check_level(model, level, step.name)
    effect, bound = _claims(step, result)
    deviation, moved = judge.compare(model, effect is not Effect.EXACT) if judge else (None, None)
    record = PassRecord(step.name, effect, result.applied, result.declined, deviation, moved, bound, elapsed)
    decided = stage.decided if result.decided is None else result.decided
    return Stage(model, level, result.witnesses, decided), record


def _claims(step: Pass, result: PassResult) -> tuple[Effect, float | None]:
    """Effect and bound of a result."""
    effect = result.effect or step.effect
    bound = step.bound if result.bound is None else result.bound
    if effect.exceeds(step.effect) or bound > step.bound:
        fact = f"the result is {_claim(effect, bound)}, the pass declares {_claim(step.effect, step.bound)}"
        raise VerificationError("SSMC-V06", fact, "declare the most that the pass may do", step.name)
    return effect, bound if effect is Effect.BOUNDED else None


def _claim(effect: Effect, bound: float) -> str:
    return f"{effect.value} by {bound:g}" if effect is Effect.BOUNDED else effect.value


def _require_effect(record: PassRecord, tolerance: float, remedy: str) -> None:
    """Refuse a pass that moved the output by more than it may."""
    if record.effect is Effect.EXACT and record.deviation is not None and not record.deviation <= tolerance:
        fact = f"an exact pass moved the output by {record.deviation:.3g} of its range"
        raise VerificationError(
            "SSMC-V01",
            f"{fact} (float error explains {tolerance:.3g})",
            "report this; --dump-dir keeps the graph before and after",
            record.name,
        )
    if record.bound is None or record.moved is None or record.moved == 0 or record.moved < record.bound:
        return
    fact = f"the pass moved the output by {record.moved:.3g} of its spread (rms), its bound is {record.bound:.3g}"
    raise VerificationError("SSMC-V05", fact, remedy, record.name)


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


__all__ = [
    "Declined",
    "Effect",
    "Level",
    "ModelError",
    "Pass",
    "PassRecord",
    "PassResult",
    "PipelineResult",
    "Stage",
    "missing_level",
    "run_pipeline",
]

"""An ONNX model to a bundle: import, run the target's passes, emit, and gather the report."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from ssmc.analysis.qs4d_metrics import metrics
from ssmc.budgets import DEFAULT, Budgets
from ssmc.bundle.folder import Bundle
from ssmc.bundle.registry import make_target, options_of, package_providing
from ssmc.bundle.stages import checks, require_codes, split_at_folded, with_checks
from ssmc.checking.teacher_forced import ForcedCheck
from ssmc.errors import ModelError
from ssmc.importers import load_model
from ssmc.importers.inputs import parts_of
from ssmc.importers.onnx_file import NONE
from ssmc.ir.operations import StateSpace
from ssmc.ir.read_program import read_program
from ssmc.ir.serialize import Json
from ssmc.passes.can_compile import can_compile
from ssmc.passes.prune_budget import PruneBudget
from ssmc.passes.stabilize_poles import Poles
from ssmc.pipeline import Level, Pass, PipelineResult, run_pipeline
from ssmc.report.facts import make_report
from ssmc.targets.base import Target
from ssmc.verify import random_feeds
from ssmc.version import __version__

if TYPE_CHECKING:  # who prunes nothing needs no emitter of C, with which pruning runs its candidates
    from ssmc.bundle.pruning import Budget, Pruning

STEPS = 100
UNQUANTIZED = ("SSMC-Q05", "SSMC-Q06")
Progress = Callable[[str], None]


def compile(
    model: str | Path | ir.Model,
    target: str | Target = "int",
    *,
    hardware: str | None = None,
    place: str | None = None,
    steps: int = STEPS,
    oracle: bool = True,
    dump_dir: str | Path | None = None,
    poles: Poles = "refuse",
    target_sqnr: float | None = None,
    prune: Budget | None = None,
    states: Mapping[str, str] = NONE,
    progress: Progress = lambda name: None,
    budgets: Budgets = DEFAULT,
) -> Bundle:
    """Compile an ONNX model.

    Args:
        model: path of an ONNX file, or an imported model, which stays as it is.
        target: name of a target, ssmc's own (``int``, ``c``, ``aimc``) or of an installed package, or a target with
            its options.
        hardware: preset name or TOML file (aimc).
        place: ``analog``, ``analog-split``, ``digital-poles``, ``digital-states``, ``digital`` or ``auto`` (aimc).
        steps: time steps of the inference that the report counts.
        oracle: run onnxruntime after every pass and compare.
        dump_dir: where to keep the graph after every pass.
        poles: what becomes of unstable ones (`StabilizePoles`).
        target_sqnr: dB that delta kernels are to keep with the fewest ADC bits (`AllocateAdcBits`); None: bits stay.
        prune: accuracy that structural pruning may cost, and the data to measure it on.
        states: of a model that takes one step, input name to output name; told by name or shape where left out.
        progress: told the name of every pass as it begins.
        budgets: limits on the model, checked before the work (`ssmc.budgets`).

    Raises:
        ModelError: the model cannot be accepted.
        UsageError: an argument or a file it names is wrong, or the target's pipeline lacks a level (SSMC-P01 to P03).
        VerificationError: a pass changed the meaning of the model, or pruning cost more than its budget.
    """
    began = time.perf_counter()
    chosen = target if not isinstance(target, str) else make_target(target, hardware=hardware, place=place)
    name = model.graph.name if isinstance(model, ir.Model) else Path(model).stem
    graph = _own(model, budgets, states)
    ahead, rest = split_at_folded(chosen.pipeline(), "the check of the poles")
    ahead += checks(poles, target_sqnr)
    found = None if prune is None else _cuts(graph, ahead, prune, progress)
    cut = () if found is None else (PruneBudget(found.cuts),)
    with _way_out(model, budgets, states):
        result = _lowered(graph, (*ahead, *cut, *rest), oracle=oracle, dump_dir=dump_dir, progress=progress)
    progress("emit")
    program = replace(read_program(require_codes(result).model), inputs=parts_of(graph))
    compiled = chosen.emit_decided(program, result.decided)
    if found is not None and prune is not None:
        progress("verify pruning")
        found.require_kept(read_program(result.model), prune)
    report = make_report(
        version=__version__,
        program=compiled.program,
        target={"name": chosen.name, **options_of(chosen)},
        records=result.records,
        model_name=name or "",
        cost=compiled.cost(steps),
        metrics=metrics(program) if any(isinstance(op, StateSpace) for op in program.ops) else {},
        pruning=found.to_json() if found is not None else {},
    )
    trace = _trace(result, (time.perf_counter() - began) * 1e3, oracle, found)
    return Bundle(chosen.name, compiled, report, trace, onnx_bytes(result.model), package_providing(chosen.name))


def _cuts(graph: ir.Model, ahead: tuple[Pass, ...], prune: Budget, progress: Progress) -> Pruning:
    from ssmc.bundle.pruning import find_cuts

    return find_cuts(graph, ahead, prune, progress)


def lower(
    model: str | Path | ir.Model,
    target: Target,
    *,
    passes: tuple[Pass, ...] | None = None,
    poles: Poles = "refuse",
    oracle: bool = True,
    dump_dir: str | Path | None = None,
    stop_after: str | None = None,
    states: Mapping[str, str] = NONE,
    progress: Progress = lambda name: None,
    budgets: Budgets = DEFAULT,
) -> PipelineResult:
    """Run the target's passes (or those given instead), or those up to ``stop_after``, without emitting.

    With ``oracle``, what lies between the canonical and the folded graph is compared teacher-forced as well; not where
    ``stop_after`` ends the pipeline before that on purpose. An imported model stays as it is.

    Raises:
        UsageError: SSMC-P01 to P03 where the passes lack a level that a pass, the check of the poles or the comparison
            needs.
    """
    steps = with_checks(target.pipeline(), poles) if passes is None else passes
    graph = _own(model, budgets, states)
    with _way_out(model, budgets, states):
        return _lowered(graph, steps, oracle=oracle, dump_dir=dump_dir, stop_after=stop_after, progress=progress)


@contextmanager
def _way_out(model: str | Path | ir.Model, budgets: Budgets, states: Mapping[str, str]) -> Iterator[None]:
    """Where the passes stop for want of a quantizer, say which are missing and which command adds them."""
    try:
        yield
    except ModelError as error:
        if error.code not in UNQUANTIZED:
            raise
        try:
            way_out = can_compile(_own(model, budgets, states)).way_out
        except ModelError:  # quantizers are not all that it lacks
            raise error from None
        if not way_out:
            raise
        raise ModelError(error.code, error.fact, f"{error.remedy}; {way_out}", error.node) from error


def _own(model: str | Path | ir.Model, budgets: Budgets, states: Mapping[str, str] = NONE) -> ir.Model:
    """The graph that the passes may edit: a file's, or a clone of the caller's, which shares its tensors."""
    return model.clone() if isinstance(model, ir.Model) else load_model(model, budgets, states)


def _lowered(
    graph: ir.Model,
    passes: tuple[Pass, ...],
    *,
    oracle: bool,
    dump_dir: str | Path | None,
    stop_after: str | None = None,
    progress: Progress,
) -> PipelineResult:
    dump = None if dump_dir is None else Path(dump_dir)
    if not oracle:
        return run_pipeline(graph, passes, oracle=False, dump_dir=dump, stop_after=stop_after, progress=progress)
    check, feeds = ForcedCheck(), random_feeds(graph)
    result = run_pipeline(
        graph, passes, dump_dir=dump, stop_after=stop_after, progress=progress, after=check.see, judged=check.judged
    )
    if stop_after is not None and not result.level.reaches(Level.FOLDED):
        return result
    found = check.compare(feeds)
    found.require_legal()
    return replace(result, compared=found.compared, ties=found.ties)


def onnx_bytes(model: ir.Model) -> bytes:
    """The serialized model, the same bytes for the same graph."""
    return bytes(ir.to_proto(model).SerializeToString(deterministic=True))


def _trace(result: PipelineResult, ms: float, oracle: bool, found: Pruning | None) -> Json:
    import onnxruntime

    return {
        "schema": "ssmc.trace/1",
        "ms": ms,
        "oracle": oracle,
        "passes": [
            {"name": r.name, "ms": r.ms, "deviation": r.deviation, "moved": r.moved, "bound": r.bound}
            for r in result.records
        ],
        "teacher_forced": {"compared": result.compared, "ties": result.ties},
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        **({} if found is None else {"pruned": found.trace()}),
    }

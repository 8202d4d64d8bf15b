"""A bundle: a model compiled for one target, in memory or as a folder of files.

    program.json   the target's program             weights.npz   its arrays
    model.onnx     the same graph for onnxruntime   report.json   what is known about it
    report.html    the report to look at            report.md     its tables as text
    trace.json     timings and measured deviations

and what the target adds (c: the sources and their README).


``program.json``, ``weights.npz``, ``model.onnx`` and ``report.json`` are the same bytes for the same input.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike

import ssmc
from ssmc.bundle.files import MARKER, npz_bytes, write_folder
from ssmc.bundle.pruning import Budget, Pruning, find_cuts, with_cuts, with_poles
from ssmc.bundle.registry import make_target, options_of, target_class
from ssmc.data import read_npz
from ssmc.errors import SsmcError, UsageError
from ssmc.importers import load_model
from ssmc.checking.teacher_forced import ForcedCheck
from ssmc.analysis.qs4d_metrics import metrics
from ssmc.ir.read_program import read_program
from ssmc.ir.program import StateSpace
from ssmc.ir.rounding import FloatArray
from ssmc.ir.serialize import Arrays, Json
from ssmc.passes.stabilize_poles import Poles
from ssmc.pipeline import Pass, PipelineResult, run_pipeline
from ssmc.report.facts import Report, dump_json, make_report, report_from_json
from ssmc.report.html import render_html
from ssmc.report.markdown import render_markdown
from ssmc.targets.base import Compiled, Target
from ssmc.verify import random_feeds

SCHEMA = "ssmc.bundle/1"
STEPS = 100
RECOMPILE = "compile the model again"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Bundle:
    """A compiled model.

    Attributes:
        target: name of the target.
        compiled: the target's compiled model.
        report: what is known about it.
        trace: timings and measured deviations of the compilation, machine-dependent.
        model: the final graph, a serialized ONNX model that onnxruntime runs.
    """

    target: str
    compiled: Compiled
    report: Report
    trace: Json
    model: bytes

    def run(self, x: ArrayLike, lengths: ArrayLike | None = None, **options: Any) -> FloatArray:
        """Outputs for a padded batch x (N, T, features) with true ``lengths`` (N,).

        ``options`` are the target's (aimc: ``noise``, ``seed``). Returns (N, size), or (N, T, size) where the
        output is per step.
        """
        batch = np.asarray(x)
        return self.compiled.fast_executor(int(np.prod(batch.shape[:2])), **options).run(batch, lengths)

    def cost(self, steps: int = 1) -> Json:
        """Costs of one inference of ``steps`` time steps; units are in the keys."""
        return self.compiled.cost(steps)

    def files(self) -> dict[str, bytes]:
        """Every file of the folder."""
        program, arrays = self.compiled.files()
        whole = {"schema": SCHEMA, "ssmc": ssmc.__version__, "target": self.target, "program": program}
        report = self.report.to_json()
        return {
            MARKER: dump_json(whole).encode(),
            "weights.npz": npz_bytes(arrays),
            "model.onnx": self.model,
            "report.json": dump_json(report).encode(),
            "report.html": render_html(report_from_json(report)).encode(),
            "report.md": render_markdown(report_from_json(report)).encode(),
            "trace.json": dump_json(self.trace).encode(),
            **self.compiled.extra_files(),
        }

    def save(self, folder: str | Path) -> Path:
        """Write the folder, whole or not at all.

        Raises:
            UsageError: SSMC-B01 where it cannot be written or holds something else.
        """
        write_folder(Path(folder), self.files())
        return Path(folder)

    @staticmethod
    def load(folder: str | Path) -> Bundle:
        """Read a bundle back; see `load`."""
        return load(folder)


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
    progress: Progress = lambda name: None,
) -> Bundle:
    """Compile an ONNX model.

    Args:
        model: path of an ONNX file, or an imported model.
        target: ``int``, ``c`` or ``aimc``, or a target with its options.
        hardware: preset name or TOML file (aimc).
        place: ``auto``, ``analog`` or ``digital`` (aimc).
        steps: time steps of the inference that the report counts.
        oracle: run onnxruntime after every pass and compare.
        dump_dir: where to keep the graph after every pass.
        poles: what becomes of unstable ones (`StabilizePoles`).
        target_sqnr: dB that delta kernels are to keep with the fewest ADC bits (`AllocateAdcBits`); None: bits stay.
        prune: accuracy that structural pruning may cost, and the data to measure it on.
        progress: told the name of every pass as it begins.

    Raises:
        ModelError: the model cannot be accepted.
        UsageError: an argument or a file it names is wrong.
        VerificationError: a pass changed the meaning of the model, or pruning cost more than its budget.
    """
    began = time.perf_counter()
    chosen = target if not isinstance(target, str) else make_target(target, hardware=hardware, place=place)
    name = model.graph.name if isinstance(model, ir.Model) else Path(model).stem
    graph = model if isinstance(model, ir.Model) else load_model(model)
    passes = with_poles(chosen.pipeline(), poles, target_sqnr)
    found = None if prune is None else find_cuts(graph, passes, prune, progress)
    passes = passes if found is None else with_cuts(passes, found.cuts)
    result = lower(graph, chosen, passes=passes, oracle=oracle, dump_dir=dump_dir, progress=progress)
    progress("emit")
    program = read_program(result.model)
    compiled = chosen.emit(program)
    if found is not None and prune is not None:
        progress("verify pruning")
        found.require_kept(read_program(result.model), prune)
    report = make_report(
        version=ssmc.__version__,
        program=compiled.program,
        target={"name": chosen.name, **options_of(chosen)},
        records=result.records,
        model_name=name or "",
        cost=compiled.cost(steps),
        metrics=metrics(program) if any(isinstance(op, StateSpace) for op in program.ops) else {},
        pruning=found.to_json() if found is not None else {},
    )
    trace = _trace(result, (time.perf_counter() - began) * 1e3, found)
    return Bundle(chosen.name, compiled, report, trace, onnx_bytes(result.model))


def lower(
    model: str | Path | ir.Model,
    target: Target,
    *,
    passes: tuple[Pass, ...] | None = None,
    poles: Poles = "refuse",
    oracle: bool = True,
    dump_dir: str | Path | None = None,
    stop_after: str | None = None,
    progress: Progress = lambda name: None,
) -> PipelineResult:
    """Run the target's passes (or those given instead), or those up to ``stop_after``, without emitting.

    With ``oracle``, what lies between the canonical and the folded graph is compared teacher-forced as well.
    """
    graph = model if isinstance(model, ir.Model) else load_model(model)
    dump = None if dump_dir is None else Path(dump_dir)
    steps = with_poles(target.pipeline(), poles) if passes is None else passes
    if not oracle:
        return run_pipeline(graph, steps, oracle=False, dump_dir=dump, stop_after=stop_after, progress=progress)
    check, feeds = ForcedCheck(), random_feeds(graph)
    result = run_pipeline(
        graph,
        steps,
        dump_dir=dump,
        stop_after=stop_after,
        progress=progress,
        after=check.observers(),
        judged=check.judged,
    )
    if check.program is None:
        return result
    found = check.compare(feeds)
    found.require_legal()
    return replace(result, compared=found.compared, ties=found.ties)


def onnx_bytes(model: ir.Model) -> bytes:
    """The serialized model, the same bytes for the same graph."""
    return bytes(ir.to_proto(model).SerializeToString(deterministic=True))


def load(folder: str | Path) -> Bundle:
    """Read a bundle back.

    Raises:
        UsageError: SSMC-B02 not a bundle, SSMC-B03 of another version, SSMC-B04 damaged.
    """
    folder = Path(folder)
    if not (folder / MARKER).is_file():
        raise UsageError(
            "SSMC-B02", f"not a bundle (no {MARKER})", "give the folder that 'ssmc compile -o' wrote", str(folder)
        )
    whole = _read_json(folder / MARKER)
    if whole.get("schema") != SCHEMA:
        fact = f"schema is {whole.get('schema')!r}, this ssmc reads {SCHEMA!r}"
        raise UsageError("SSMC-B03", fact, RECOMPILE, str(folder))
    try:
        compiled = target_class(whole["target"]).load(whole["program"], _read_arrays(folder / "weights.npz"))
        report = report_from_json(_read_json(folder / "report.json"))
        model = (folder / "model.onnx").read_bytes()
    except SsmcError:
        raise
    except (OSError, KeyError, IndexError, TypeError, ValueError, AttributeError) as cause:
        raise _damaged(folder, cause) from cause
    return Bundle(whole["target"], compiled, report, _read_json(folder / "trace.json"), model)


def _read_json(path: Path) -> Json:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as cause:
        raise _damaged(path, cause) from cause
    return data


def _read_arrays(path: Path) -> Arrays:
    try:
        return read_npz(path)
    except (OSError, ValueError) as cause:
        raise _damaged(path, cause) from cause


def _damaged(path: Path, cause: Exception) -> UsageError:
    return UsageError("SSMC-B04", f"the bundle is damaged ({type(cause).__name__}: {cause})", RECOMPILE, str(path))


def _trace(result: PipelineResult, ms: float, found: Pruning | None) -> Json:
    import onnxruntime

    return {
        "schema": "ssmc.trace/1",
        "ms": ms,
        "passes": [{"name": r.name, "ms": r.ms, "deviation": r.deviation} for r in result.records],
        "teacher_forced": {"compared": result.compared, "ties": result.ties},
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        **({} if found is None else {"pruned": found.trace()}),
    }

"""Short ways through the integer pipeline, for tests."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from ssmc.importers.onnx_file import import_model
from ssmc.ir.program import Program
from ssmc.ir.read_program import read_program
from ssmc.pipeline import PipelineResult, run_pipeline
from ssmc.targets.integer.target import IntegerTarget
from tests.graphs import Spec, model

DIGITS = Path(__file__).parents[1] / "examples" / "spoken_digits"


def lower(source: Spec | onnx.ModelProto, until: str | None = None, *, oracle: bool = False) -> PipelineResult:
    """The integer pipeline, or its beginning."""
    proto = model(source) if isinstance(source, Spec) else source
    return run_pipeline(import_model(proto), IntegerTarget().pipeline(), oracle=oracle, stop_after=until)


def program_of(source: Spec | onnx.ModelProto, until: str | None = None) -> Program:
    """The integer program; ``until`` a pass at level *folded* or later."""
    return read_program(lower(source, until).model)


@cache
def demo_program() -> Program:
    """The integer program of the demo, compiled once a process: a test must not change it."""
    return program_of(onnx.load(DIGITS / "model.onnx"))


def same(a: object, b: object) -> bool:
    """Equality of programs, arrays compared with ``==``."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)  # type: ignore[arg-type]
    if is_dataclass(a) and not isinstance(a, type):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(a == b)


def ops_of(graph_model: ir.Model) -> list[str]:
    """Operation types in order."""
    return [node.op_type for node in graph_model.graph]

"""Does a compiled model compute what onnxruntime computes from the file? Apart from the compiler's own oracle.

Three comparisons, on inputs from far below a step to far beyond every range: the file with the canonical graph, the
integer program with the canonical graph operation by operation (teacher-forced), and, where no real value lay at a tie,
the program's output with the file's.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np
import onnx
import onnx_ir as ir

from ssmc.checking.teacher_forced import Comparison, ForcedCheck
from ssmc.errors import ModelError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.executor import Executor
from ssmc.ir.functions import attach_functions
from ssmc.ir.operations.dequantize import apply_head
from ssmc.ir.read_program import read_program
from ssmc.passes.canonicalize_quantizers import CanonicalizeQuantizers
from ssmc.pipeline import Effect, run_pipeline
from ssmc.targets.integer.target import IntegerTarget
from ssmc.verify import Arrays, random_feeds, run_onnx
from tests.fuzzing.commands import Fault

SIZES = (1.0, 40.0, 1 / 40)
FLOAT32 = 2.0**-20


def judge(data: bytes) -> None:
    """Compare.

    Raises:
        Fault: the values differ where float rounding cannot explain it.
    """
    proto = onnx.load_model_from_string(data)
    imported = import_model(proto)
    runnable = proto if _runs(proto, random_feeds(imported)) else ir.to_proto(imported)
    canonical = CanonicalizeQuantizers().run(imported.clone()).model
    attach_functions(canonical)
    check = ForcedCheck()
    result = run_pipeline(imported.clone(), IntegerTarget().pipeline(), oracle=False, after=check.see)
    exact = all(record.effect is Effect.EXACT for record in result.records)
    program = read_program(result.model)
    for seed, size in enumerate(SIZES):
        feeds = _feeds(imported, seed, size)
        theirs = np.asarray(run_onnx(runnable, feeds)[0], np.float64)
        if not np.isfinite(theirs).all():
            continue
        _require_same("the canonical graph", np.asarray(run_onnx(canonical, feeds)[0], np.float64), theirs)
        found = check.compare(feeds, Comparison())
        if found.wrong:
            raise Fault("wrong value: teacher-forced", f"{found.wrong} of {found.compared} codes, {found.first}")
        if exact and not found.ties and not found.unseen:
            outputs = Executor(program).run(next(iter(feeds.values())))
            _require_same("the program", apply_head(program.head, outputs), theirs)


def _runs(proto: onnx.ModelProto, feeds: Arrays) -> bool:
    """Whether onnxruntime runs the file as it is: QONNX it does not, nor a file with a shape or type that we infer."""
    try:
        run_onnx(proto, feeds)
    except ModelError:
        return False
    return True


def _feeds(model: ir.Model, seed: int, size: float) -> Arrays:
    feeds = random_feeds(model, seed, batch=2, steps=7)
    return {name: (x * np.float32(size)).astype(x.dtype) if x.dtype.kind == "f" else x for name, x in feeds.items()}


def _laid_out(ours: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Ours, batch and time in front, in every layout that the file may have."""
    yield ours.reshape(shape)
    for order in permutations(range(ours.ndim)):
        if ours.transpose(order).shape == shape:
            yield ours.transpose(order)


def _require_same(what: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    if ours.size != theirs.size:
        raise Fault(f"wrong value: {what}", f"shape {ours.shape} and not {theirs.shape}")
    far = min(float(np.abs(each - theirs).max(initial=0)) for each in _laid_out(ours, theirs.shape))
    if far > FLOAT32 * float(np.abs(theirs).max(initial=0)):
        raise Fault(f"wrong value: {what}", f"off by {far:g} of {np.abs(theirs).max():g}")

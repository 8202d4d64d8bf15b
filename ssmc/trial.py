"""The first runs of a model that others wrote: within limits on time and memory, before anything else runs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from ssmc.budgets import Budgets
from ssmc.errors import ModelError
from ssmc.verify import exposed, random_feeds, refusals, serialized, session_options

MOST_BYTES = 4 << 30
POLL_S = 0.1


class LimitedSession:
    """A model in onnxruntime, as `ssmc.verify.Session`, that may hold a loop without end: every run is limited."""

    def __init__(self, model: ir.Model | onnx.ModelProto, budgets: Budgets, source: str) -> None:
        """Load the model; ``source`` names it in errors.

        Raises:
            ModelError: SSMC-M05 where onnxruntime does not accept it.
        """
        import onnxruntime as ort

        self.budgets, self.source = budgets, source
        options = session_options()
        _register_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
        with refusals():
            self.session = ort.InferenceSession(serialized(model), options, providers=["CPUExecutionProvider"])

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: list[str] | None = None) -> list[Any]:
        """The outputs, or those named: arrays, and lists of them where the model has sequences.

        Raises:
            ModelError: SSMC-M05 where onnxruntime cannot run it, or it asks for more than `MOST_BYTES`.
            UsageError: SSMC-U07 where it takes more seconds of CPU than the budget.
        """
        import onnxruntime as ort

        limits, done = ort.RunOptions(), threading.Event()
        limits.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        watch = threading.Thread(target=_end_after, args=(limits, self.budgets.seconds, done), daemon=True)
        watch.start()
        try:
            with refusals():
                return list(self.session.run(outputs, dict(feeds), limits))
        except ModelError:
            if limits.terminate:
                what = "seconds and more to run a few steps"
                self.budgets.require("seconds", self.budgets.seconds + 1, what, self.source)
            raise
        finally:
            done.set()
            watch.join()


def shape_of(result: Any) -> tuple[int, ...]:
    """Shape of an output; a sequence of tensors has its length, an optional value that is missing nothing."""
    if isinstance(result, np.ndarray):
        return tuple(result.shape)
    return () if result is None else (len(result),)


def try_model(model: ir.Model, budgets: Budgets, source: str) -> None:
    """Run an imported model once on two steps of one sequence.

    Raises:
        ModelError: SSMC-M05 where onnxruntime cannot run it, or it asks for more than `MOST_BYTES`; SSMC-M15 where a
            value, or a channel of one, holds no number at all, which a quantizer behind it would hide.
        UsageError: SSMC-U07 where it takes more seconds of CPU than the budget.
    """
    proto, names = exposed(model)
    results = LimitedSession(proto, budgets, source).run(random_feeds(model, batch=1, steps=2), names)
    for name, value in zip(names, results, strict=True):
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size and _holds_nothing(value):
            fact = f"{'it' if np.isnan(value).all() else 'a channel of it'} is NaN, whatever the input"
            raise ModelError("SSMC-M15", fact, "look for 0 / 0, inf - inf or the root of a negative number", name)


def _holds_nothing(value: NDArray[np.floating]) -> bool:
    """Whether all of it is NaN, or all at one place of an axis."""
    lost = np.isnan(value)
    axes = range(lost.ndim)
    return bool(lost.all()) or any(lost.all(tuple(other for other in axes if other != axis)).any() for axis in axes)


def _end_after(run: object, seconds: int, done: threading.Event) -> None:
    """Have the run ended once this process has worked for so long."""
    last = time.process_time() + seconds
    while not done.wait(POLL_S):
        if time.process_time() > last:
            run.terminate = True  # type: ignore[attr-defined]
            return


@cache
def _register_arena() -> None:
    """One arena of limited size for all first runs of this process."""
    import onnxruntime as ort

    place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(place, ort.OrtArenaCfg(MOST_BYTES, 1, -1, -1))

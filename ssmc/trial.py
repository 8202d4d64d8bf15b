"""The first run of a model that others wrote: within limits on time and memory, before anything else runs it."""

from __future__ import annotations

import threading
import time
from functools import cache

import numpy as np
import onnx_ir as ir

from ssmc.budgets import Budgets
from ssmc.errors import ModelError
from ssmc.verify import exposed, random_feeds, refusals, serialized, session_options

MOST_BYTES = 4 << 30
POLL_S = 0.1


def try_model(model: ir.Model, budgets: Budgets, source: str) -> None:
    """Run an imported model once on two steps of one sequence.

    Raises:
        ModelError: SSMC-M05 where onnxruntime cannot run it, or it asks for more than `MOST_BYTES`; SSMC-M15 where a
            value holds no number at all, which a quantizer behind it would hide.
        UsageError: SSMC-U07 where it takes more seconds of CPU than the budget.
    """
    import onnxruntime as ort

    feeds = random_feeds(model, batch=1, steps=2)
    options, run = session_options(), ort.RunOptions()
    _register_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")
    run.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    done = threading.Event()
    watch = threading.Thread(target=_end_after, args=(run, budgets.seconds, done), daemon=True)
    watch.start()
    try:
        with refusals():
            proto, names = exposed(model)
            session = ort.InferenceSession(serialized(proto), options, providers=["CPUExecutionProvider"])
            results = session.run(names, feeds, run)
    except ModelError:
        if run.terminate:
            what = "seconds and more to run two steps"
            budgets.require("seconds", budgets.seconds + 1, what, source)
        raise
    finally:
        done.set()
        watch.join()
    for name, value in zip(names, results, strict=True):
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size and np.isnan(value).all():
            fact = "it is NaN, whatever the input"
            raise ModelError("SSMC-M15", fact, "look for a division 0 / 0 or inf - inf before it", name)


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

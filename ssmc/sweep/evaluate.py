"""One point of a sweep: quantize where asked, compile, count, run. A pure function, so that any process can do it."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

from ssmc.bundle.check import accuracy, evaluate_steps, last_steps
from ssmc.bundle.compile import compile as compile_model
from ssmc.bundle.folder import Bundle
from ssmc.bundle.options import target_with
from ssmc.data import Samples, load_samples
from ssmc.errors import SsmcError, our_bug
from ssmc.quantize import QuantizeConfig, quantize
from ssmc.report.units import flatten
from ssmc.sweep.spec import QUANTIZE, Point, hardware_settings, target_options

Figures = dict[str, float]
#: figures of a cost that are no totals
LEFT_OUT = ("comparison", "components", "critical_path", "decisions", "limit", "mapping", "matrices", "one_more_adc")


def evaluate_point(point: Point) -> dict[str, Any]:
    """Figures of a point, or the error that refused it: ``{"figures": {..}, "error": ""}``; no point stops a sweep.

    Figures are ``accuracy`` (where the data have labels), ``noise.accuracy.mean`` and its interval (where chips are
    asked for), ``size_bits``, and every total of the target's cost by dotted key.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return {"figures": _figures(point), "error": ""}
        except SsmcError as refused:
            return {"figures": {}, "error": str(refused)}
        except Exception as fault:  # ours, or of a package that provides the target
            return {"figures": {}, "error": our_bug(fault)}


def _figures(point: Point) -> Figures:
    bundle = compiled_point(point)
    totals = {key: value for key, value in bundle.cost(int(point["steps"])).items() if key not in LEFT_OUT}
    found: Figures = {f"cost.{key}": float(value) for key, value in flatten(totals)}
    found["size_bits"] = float(sum((op.weights - op.zero_weights) * op.weight_bits for op in bundle.report.ops))
    found |= {f"metrics.{key}": float(value) for key, value in flatten(bundle.report.metrics)}
    if point["data"]:
        samples = load_samples(Path(point["data"]), inputs=bundle.compiled.program.inputs)
        found |= _accuracy(bundle, samples)
        if point["chips"]:
            found |= _noise(bundle, samples, point)
    return dict(sorted(found.items()))


def compiled_point(point: Point) -> Bundle:
    """The point's model, quantized where asked, compiled; raises as `compile` and `quantize` do."""
    settings = hardware_settings(point)
    ranges = load_samples(Path(point["ranges"])) if point.get("ranges") else None
    flags = {"set": settings or None, "ranges": ranges}
    target = target_with(str(point["target"]), flags, target_options(point))
    given = {key.removeprefix(QUANTIZE): value for key, value in point.items() if key.startswith(QUANTIZE)}
    if not given:
        return compile_model(point["model"], target, steps=int(point["steps"]), oracle=False)
    done = quantize(Path(point["model"]), load_samples(Path(point["calibration"])).spread(64), QuantizeConfig(**given))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(done.model.SerializeToString())
        return compile_model(path, target, steps=int(point["steps"]), oracle=False)


def _accuracy(bundle: Bundle, samples: Samples) -> Figures:
    if samples.label is None:
        return {}
    outputs = evaluate_steps(bundle, samples)
    return {"accuracy": accuracy(last_steps(outputs, samples.lengths), samples.label)}


def _noise(bundle: Bundle, samples: Samples, point: Point) -> Figures:
    from ssmc.targets.aimc.simulation.monte_carlo import monte_carlo
    from ssmc.targets.aimc.target import on_chip

    on_chip(bundle.compiled, bundle.target)
    times = (float(point["time_s"]),)
    found = monte_carlo(bundle, samples, chips=int(point["chips"]), times_s=times, seed=int(point["seed"])).to_json()
    mean = found["at"][0]["accuracy"]
    return {
        f"noise.accuracy.{end}": float(mean[key]) for end, key in (("mean", "value"), ("low", "low"), ("high", "high"))
    }

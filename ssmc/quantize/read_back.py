"""What was quantized is read back, compiled as far as codes, and compared with the float model on the data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from ssmc.budgets import DEFAULT, Budgets
from ssmc.data import Samples
from ssmc.importers.onnx_file import import_model
from ssmc.ir.program import Program
from ssmc.ir.read_program import read_program
from ssmc.ir.rounding import FloatArray
from ssmc.passes.to_integers import to_integers
from ssmc.pipeline import run_pipeline
from ssmc.verify import Session


@dataclass(frozen=True)
class Fidelity:
    """How near the quantized model comes to the float one on the calibration data.

    Attributes:
        sqnr_db: output power over the power of the difference, in decibels; inf where nothing differs,
            -inf where the float model gives 0 only.
        float_accuracy, accuracy: shares of sequences whose largest output, at the last step, is the label; None
            without labels.
    """

    sqnr_db: float
    float_accuracy: float | None
    accuracy: float | None


def read_back(
    before: onnx.ModelProto, after: onnx.ModelProto, samples: Samples, budgets: Budgets = DEFAULT
) -> tuple[Fidelity, Program]:
    """Check a quantized model as ``ssmc compile`` would, measure it, and give it in integer codes.

    Raises:
        ModelError: from the importer or a pass: the model cannot be compiled.
        UsageError: SSMC-U07 where it is over a budget.
    """
    done = run_pipeline(import_model(after, "the quantized model", budgets), to_integers(), oracle=False)
    return measured(before, after, samples), read_program(done.model)


def measured(before: onnx.ModelProto, after: onnx.ModelProto, samples: Samples) -> Fidelity:
    """How near ``after`` comes to ``before`` on some sequences."""
    old, new = Session(before), Session(after)
    name, kind = before.graph.input[0].name, input_dtype(before)
    power, error, right = 0.0, 0.0, np.zeros(2)
    for index in range(len(samples)):
        x = samples.sequence(index).astype(kind)[None]
        if not x.shape[1]:
            continue
        y, close = (np.asarray(session.run({name: x})[0], np.float64) for session in (old, new))
        power, error = power + float((y**2).sum()), error + float(((close - y) ** 2).sum())
        if samples.label is not None:
            right += [_class(out) == samples.label[index] for out in (y, close)]
    known = samples.label is not None
    real, codes = (float(count) / len(samples) if known else None for count in right)
    return Fidelity(_decibels(power, error), real, codes)


def input_dtype(proto: onnx.ModelProto) -> np.dtype[np.generic]:
    """What a model takes: float32, or int64 token ids."""
    return onnx.helper.tensor_dtype_to_np_dtype(proto.graph.input[0].type.tensor_type.elem_type)


def _class(y: FloatArray) -> int:
    """The largest output, of the last step where there are several."""
    return int(y.reshape(-1, y.shape[-1])[-1].argmax())


def _decibels(power: float, error: float) -> float:
    if error == 0:
        return float("inf")
    return 10 * float(np.log10(power / error)) if power else -float("inf")

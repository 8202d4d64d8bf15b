"""The short way: arrays in, a trained quantized model out."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from ssmc.qat.calibration import Calibration, calibrate
from ssmc.qat.data import Arrays, require_whole
from ssmc.qat.model import ModelConfig, S4DClassifier
from ssmc.qat.objective import Loss, Metric, accuracy, r2, squared_error, steps_of
from ssmc.qat.observer import Observer
from ssmc.qat.training import Phase, Trainer, evaluate

FLOAT_LR, QAT_LR, POLES = 4e-3, 1e-3, 0.25  # rates; of poles, as a share of the others
TEACHER = 0.5  # its share of the loss of quantized training
CALIBRATED = 64  # sequences
MOST_UNSEEN = 10  # class numbers for each class that occurs


@dataclass(frozen=True)
class Fitted:
    """A trained model, quantized, and its float twin; both in evaluation mode.

    Attributes:
        model: quantized; `ssmc.export_onnx` takes it.
        float_model: the float model that it was trained from.
        score: of the quantized model on the held-out sequences: accuracy, or R² of a regression.
        float_score: the same of the float model.
    """

    model: S4DClassifier
    float_model: S4DClassifier
    score: float
    float_score: float


def fit(
    x: ArrayLike,
    y: ArrayLike,
    config: ModelConfig | None = None,
    *,
    lengths: ArrayLike | None = None,
    epochs: tuple[int, int] = (30, 10),
    held_out: float = 0.2,
    batch: int = 32,
    seed: int = 0,
    observers: Sequence[Observer] = (),
) -> Fitted:
    """Train a float model, calibrate it, and train it quantized with the float model as teacher.

    Args:
        x: sequences (n, T, d).
        y: classes (n) as whole numbers from 0, or numbers to predict (n) or (n, p); for an output a step classes (n, T)
            or numbers (n, T, p).
        config: shape and bits; by default two layers of 32 channels at 8 bits, every feature scaled to deviation 1.
        lengths: steps of every sequence that are data (n); None: all T.
        epochs: of float and of quantized training.
        held_out: share of the sequences by which the epoch is chosen and the scores are measured.
        batch: sequences a batch.
        seed: of everything that is random.
        observers: are told about every epoch (`ssmc.qat.observer`).

    Raises:
        ValueError: arrays that do not fit each other or the configuration.
        DivergedError: the loss is not finite.
    """
    if np.shape(epochs) != (2,):
        raise ValueError(f"epochs are {epochs}: give two numbers from 0, of float and of quantized training")
    for each in epochs:
        require_whole("a number of epochs", each, 0)
    data = Arrays(x, y, lengths, batch=batch, held_out=held_out, seed=seed)
    classes = not np.issubdtype(data.target.dtype, np.floating)
    if not classes and data.target.ndim == 1:
        data.target = data.target[:, None]
    config = config or _shape(data, classes)
    _require_fit(data, config, classes)
    if not classes:
        _require_spread(data, config)
    torch.manual_seed(seed)
    model = S4DClassifier(config)
    metric, loss = (accuracy, None) if classes else (r2, squared_error)
    with tempfile.TemporaryDirectory() as folder:

        def train(phase: Phase, teacher: S4DClassifier | None = None) -> None:
            kept, told = Path(folder) / f"{phase.name}.pt", tuple(observers)
            Trainer(model, data, kept, seed, teacher=teacher, observers=told, loss=loss, metric=metric).train(phase)

        train(Phase("float", epochs[0], FLOAT_LR, POLES * FLOAT_LR))
        twin = copy.deepcopy(model).eval()
        calibrate(model, _sequences(data, seed))
        train(Phase("quantized", epochs[1], QAT_LR, POLES * QAT_LR, distil=TEACHER if classes else 0.0), twin)
    score, float_score = (_score(each, data, metric, loss) for each in (model.eval(), twin))
    return Fitted(model, twin, score, float_score)


def _shape(data: Arrays, classes: bool) -> ModelConfig:
    """Two small layers; every feature scaled to deviation 1, a constant one left as it is."""
    x, target = data.x[data.taught], data.target
    inside = np.ones(x.shape[:2], bool)
    if data.lengths is not None:
        inside = np.arange(x.shape[1]) < data.lengths[data.taught, None]
    deviation = x[inside].std(0, dtype=np.float64)
    gain = 1 / np.where(deviation > 0, deviation, 1.0)
    outputs = max(int(target.max()) + 1, 2) if classes else target.shape[-1]
    if classes and outputs > MOST_UNSEEN * len(np.unique(target)):
        raise ValueError(
            f"y has {len(np.unique(target))} classes with numbers to {outputs - 1}: number them from 0, "
            "np.unique(y, return_inverse=True)[1], or give a config"
        )
    pooling: Literal["mean", "none"] = "none" if _per_step(data, classes) else "mean"
    return ModelConfig(x.shape[2], outputs, d_model=32, layers=2, pooling=pooling, input_gain=tuple(gain.tolist()))


def _per_step(data: Arrays, classes: bool) -> bool:
    return data.target.ndim == (2 if classes else 3)


def _require_fit(data: Arrays, config: ModelConfig, classes: bool) -> None:
    """Refuse targets that are no output of such a model.

    Raises:
        ValueError: the arrays do not fit the configuration.
    """
    target, per_step = data.target, _per_step(data, classes)
    most = (2 if classes else 3) if per_step else (1 if classes else 2)
    if target.ndim != most or (per_step and not config.rates and target.shape[1] != data.x.shape[1]):
        shapes = "classes (n) or (n, T)" if classes else "numbers (n), (n, p) or (n, T, p)"
        raise ValueError(f"y is {target.shape} for x {data.x.shape}: give {shapes}")
    if classes and target.min() < 0:
        raise ValueError(f"y has the class {target.min()}: give whole numbers from 0, or floats to predict")
    if data.x.shape[2] != config.d_input:
        raise ValueError(f"x has {data.x.shape[2]} features, and the config d_input = {config.d_input}")
    if classes and target.max() >= config.d_output:
        raise ValueError(f"y has the class {target.max()}, the config classes 0 to {config.d_output - 1} (d_output)")
    if not classes and target.shape[-1] != config.d_output:
        raise ValueError(f"y has {target.shape[-1]} numbers, and the config d_output = {config.d_output}")
    if per_step != (config.pooling == "none"):
        raise ValueError(f'y is {target.shape}: an output a step needs pooling = "none", one a sequence another')


def _require_spread(data: Arrays, config: ModelConfig) -> None:
    """Refuse numbers that do not vary among the held-out sequences: their R² would divide by 0.

    Raises:
        ValueError: they are all the same.
    """
    held = torch.from_numpy(data.target[data.held])
    lengths = None if data.lengths is None else torch.from_numpy(data.lengths[data.held])
    numbers = steps_of(held, held, lengths, config.period)[1]
    if bool((numbers == numbers[0]).all()):
        fact = f"the targets of the {len(held)} held-out sequences are all {numbers[0].tolist()}"
        raise ValueError(f"{fact}: give targets that vary, or hold out more (held_out), to score by R²")


def _sequences(data: Arrays, seed: int) -> list[Calibration]:
    """About `CALIBRATED` training sequences."""
    batches = data.training(np.random.default_rng(seed))[: -(-CALIBRATED // data.batch)]
    return [x if lengths is None else (x, lengths) for x, lengths, _ in batches]


def _score(model: S4DClassifier, data: Arrays, metric: Metric, loss: Loss | None) -> float:
    return evaluate(model, data.validation(), metric, loss or nn.functional.cross_entropy)[0]

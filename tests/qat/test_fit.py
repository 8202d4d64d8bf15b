"""From arrays to a compiled program: classes and numbers, one a sequence and one a step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

torch = pytest.importorskip("torch")

import ssmc  # noqa: E402
from ssmc.bundle.check import accuracy  # noqa: E402
from ssmc.qat import Mode, ModelConfig, fit, r2  # noqa: E402

T = 24


def tones(count: int = 120, features: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Slow and fast sinusoids, the features of very different size."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, count)
    rate = np.where(label, 0.9, 0.25)[:, None]
    x = np.sin(rate * np.arange(T) + rng.uniform(0, 6, (count, 1)))
    return np.stack([x * 100.0**k for k in range(features)], -1).astype(np.float32), label


def test_a_classifier_is_trained_exported_and_compiled(tmp_path: Path) -> None:
    x, y = tones()
    made = fit(x, y, epochs=(6, 1))
    assert made.model.blocks[0].ssm.mode is Mode.QUANTIZED
    assert made.float_model.blocks[0].ssm.mode is not Mode.QUANTIZED
    assert made.score > 0.9
    ssmc.export_onnx(made.model, torch.from_numpy(x[:2]), tmp_path / "m.onnx")
    bundle = ssmc.compile(tmp_path / "m.onnx", target="int")
    with torch.no_grad():
        wanted = made.model(torch.from_numpy(x)).numpy()
    assert accuracy(bundle.run(x), wanted.argmax(1)) > 0.97


def test_numbers_a_step_of_ragged_sequences(tmp_path: Path) -> None:
    """The mean of the input so far, which a leaky integrator can follow."""
    x, _ = tones(96, 1)
    y = (np.cumsum(x, 1) / np.arange(1, T + 1)[:, None]).astype(np.float32)
    lengths = np.random.default_rng(1).integers(T // 2, T + 1, len(x))
    config = ModelConfig(1, 1, d_model=8, d_state=4, layers=1, pooling="none")
    made = fit(x, y, config, lengths=lengths, epochs=(25, 5), batch=8)
    assert made.float_score > 0.8
    assert made.score > 0.7
    ssmc.export_onnx(made.model, torch.from_numpy(x[:2]), tmp_path / "m.onnx")
    found = ssmc.compile(tmp_path / "m.onnx", target="int").run(x)
    with torch.no_grad():
        wanted = made.model(torch.from_numpy(x))
    assert r2(torch.from_numpy(found).flatten(0, 1), wanted.flatten(0, 1)) > 0.99


def test_one_number_a_sequence_and_features_of_one_value() -> None:
    x, label = tones(40, 1)
    x = np.concatenate([x, np.ones_like(x)], -1)
    made = fit(x, label.astype(np.float32), epochs=(2, 1))
    assert made.model.config.d_output == 1
    assert np.isfinite(made.score)


def test_the_same_seed_gives_the_same_model() -> None:
    x, y = tones(32, 1)
    config = ModelConfig(1, 2, d_model=4, d_state=4, layers=1)
    one, two = (fit(x, y, config, epochs=(1, 1)).model for _ in range(2))
    assert all((a == b).all() for a, b in zip(one.parameters(), two.parameters(), strict=True))


ZEROS = np.zeros((9, 3, 1))
CLASSES = np.arange(9) % 2


@pytest.mark.parametrize(
    ("x", "y", "lengths", "says"),
    [
        (np.zeros((5, 3)), np.zeros(5, int), None, "give x"),
        (np.zeros((5, 3, 1)), np.zeros(4, int), None, "give x"),
        (np.zeros((0, 3, 1)), np.zeros(0, int), None, "at least one sequence"),
        (np.zeros((9, 3, 0)), CLASSES, None, "at least one sequence, step and feature"),
        (np.full((9, 3, 1), np.nan), np.zeros(9, int), None, "not finite"),
        (ZEROS, np.full(9, np.inf), None, "target has numbers that are not finite"),
        (np.full((9, 3, 1), 1e39), CLASSES, None, "x has numbers beyond 3.4e38"),
        (ZEROS, np.full(9, 1e300), None, "target has numbers beyond 3.4e38"),
        (ZEROS, np.zeros((9, 0)), None, "at least one class or number"),
        (ZEROS, np.full(9, 1 << 63, np.uint64), None, "target has the class 9223372036854775808: number them from 0"),
        (ZEROS, np.full(9, 0.5), None, r"the 2 held-out sequences are all \[0.5\]: give targets that vary"),
        (ZEROS, np.full((9, 3, 1), 0.5), np.full(9, 2), "give targets that vary"),
        (ZEROS, np.full(9, -1), None, "from 0"),
        (ZEROS, np.full(9, "a"), None, "from 0"),
        (ZEROS, None, None, "target holds no numbers"),
        (ZEROS, 1990 + CLASSES, None, "number them from 0"),
        (ZEROS, np.zeros((9, 2), int), None, r"classes \(n\) or \(n, T\)"),
        (ZEROS, np.zeros((9, 2, 1)), None, "give numbers"),
        (np.zeros((2, 3, 1)), np.zeros(2, int), None, "hold out"),
        (ZEROS, np.zeros(9, int), np.full(9, 4), "1 to 3"),
        (ZEROS, np.zeros(9, int), np.zeros(9, int), "1 to 3"),
        (ZEROS, np.zeros(9, int), np.full(9, 1.5), "fractions"),
        ([[[0.0]], [[0.0], [1.0]]], [0, 1], None, "x has rows of unequal length: pad them"),
    ],
)
def test_what_does_not_fit_is_refused(x: ArrayLike, y: ArrayLike, lengths: ArrayLike | None, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fit(x, y, lengths=lengths, epochs=(1, 1))


@pytest.mark.parametrize(
    ("shape", "y", "says"),
    [
        ({"d_input": 2}, CLASSES, "1 features, and the config d_input = 2"),
        ({"d_output": 1}, CLASSES, r"class 1, the config classes 0 to 0 \(d_output\)"),
        ({}, CLASSES / 2, "1 numbers, and the config d_output = 2"),
        ({"pooling": "none"}, CLASSES, 'an output a step needs pooling = "none"'),
        ({}, np.zeros((9, 3), int), 'an output a step needs pooling = "none"'),
    ],
)
def test_a_config_of_another_shape_is_refused(shape: dict[str, Any], y: np.ndarray, says: str) -> None:
    config = ModelConfig(**{"d_input": 1, "d_output": 2, "d_model": 4, "layers": 1, **shape})
    with pytest.raises(ValueError, match=says):
        fit(ZEROS, y, config, epochs=(1, 1))


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"epochs": 3}, "give two numbers"),
        ({"epochs": (1,)}, "give two numbers"),
        ({"epochs": (1, -1)}, "a number of epochs is -1: give a whole number from 0"),
        ({"epochs": (1.5, 1)}, "a number of epochs is 1.5"),
        ({"held_out": float("nan")}, "held_out is nan: give a share between 0 and 1"),
        ({"held_out": 1.0}, "held_out is 1.0"),
        ({"seed": -1}, "seed is -1: give a whole number from 0"),
        ({"batch": 0}, "batch is 0: give a whole number from 1"),
        ({"batch": 2.5}, "batch is 2.5"),
    ],
)
def test_options_that_are_no_numbers_of_that_kind_are_refused(option: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fit(ZEROS, CLASSES, **option)


def test_lists_and_truth_values_are_taken() -> None:
    x, y = tones(32, 1)
    made = fit(x.tolist(), (y > 0).tolist(), ModelConfig(1, 2, d_model=4, d_state=4, layers=1), epochs=(1, 1))
    assert 0 <= made.score <= 1

"""Predicted against simulated quantization noise: where the model says it is valid it is right within 1 dB."""

from __future__ import annotations

import numpy as np

from ssmc.analysis.compare import compare
from ssmc.analysis.linear import linear_kernel
from ssmc.analysis.noise import output_noise
from ssmc.analysis.observe import judge, observe
from tests.analysis.kernels import Recipe, random_codes, random_kernel, random_recipe


def test_valid_predictions_hold_on_random_kernels() -> None:
    rng = np.random.default_rng(11)
    off, valid = [], []
    while len(off) < 120:
        recipe = random_recipe(rng)
        sequences = random_codes(rng, str(rng.choice(["white", "lowpass", "sines"])), recipe.groups, 1000, 8)
        op = random_kernel(rng, recipe, sequences)
        if op is None:
            continue
        compared = compare(op, sequences)
        off += compared.off_db[:, 0].tolist()
        valid += compared.verdict.valid[:, 0].tolist()
    right = np.abs(np.array(off)[valid]) <= 1
    assert sum(valid) >= 30
    assert right.mean() >= 0.95
    assert (np.abs(np.array(off)[~np.array(valid)]) > 1).mean() > 0.3  # the test keeps something out


def test_rest_and_saturation_are_not_valid() -> None:
    rng = np.random.default_rng(5)
    recipe = Recipe("delta", modes=2, bits=8, weight_bits=8, free=False, deviations=5.0, slowest=2.0)
    loud = random_codes(rng, "white", recipe.groups, 500, 4)
    op = None
    while op is None:
        op = random_kernel(rng, recipe, loud)
    kernel = linear_kernel(op)

    def valid(sequences: list[np.ndarray]) -> float:  # type: ignore[type-arg]
        seen = observe(kernel, sequences, op.register0)
        return float(judge(kernel, output_noise(kernel, seen.steps), seen).valid.mean())

    assert valid(loud) >= 0.5
    assert valid([8 * u for u in loud]) == 0
    assert valid([u // 200 * 0 + 1 for u in loud]) == 0

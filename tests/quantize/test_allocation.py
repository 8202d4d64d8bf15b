"""Bits tensor by tensor: each has the width that it was given, and the order in which they are taken is the best."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest

from ssmc.data import Samples
from ssmc.errors import GateError, ModelError, UsageError
from ssmc.ir.operations import Linear, StateSpace
from ssmc.quantize import QuantizeConfig, allocation
from ssmc.quantize.allocation import Probed, allocate, in_order, parted
from ssmc.quantize.model import Ready
from ssmc.verify import run_onnx
from tests.quantize.floats import FEATURES, float_model

COUNT, STEPS = 80, 20


def labelled(proto: onnx.ModelProto) -> Samples:
    """Sequences, and the classes that the float model gives them."""
    x = np.random.default_rng(5).standard_normal((COUNT, STEPS, FEATURES)).astype(np.float32)
    answers = run_onnx(proto, {proto.graph.input[0].name: x})[0]
    return Samples(x.reshape(-1, FEATURES), np.arange(COUNT + 1) * STEPS, answers.argmax(-1).astype(np.int64))


def ready(tmp_path: Path) -> tuple[Ready, Samples]:
    proto = float_model(seed=3, channels=2, states=3)
    calibration, judges = parted(labelled(proto), 16)
    onnx.save(proto, tmp_path / "float.onnx")
    return Ready.read(tmp_path / "float.onnx", calibration), judges


def test_one_tensor_alone_has_another_width(tmp_path: Path) -> None:
    model, _ = ready(tmp_path)
    _, plan = model.planned()
    kernel, (matrix, _) = str(plan.kernels[0].name), plan.matrices[-1]
    widths = ((kernel, "kernel_bits", 5), (kernel, "state_bits", 7), (str(matrix.name), "weight_bits", 3))
    program = model.quantize(QuantizeConfig(widths=widths)).program
    (found,) = (op for op in program.ops if isinstance(op, StateSpace))
    assert (found.matrix.weight_bits, found.state_dac_bits) == (5, 7)
    assert [op.matrix.weight_bits for op in program.ops if isinstance(op, Linear)] == [8, 8, 8, 3]
    point = str(plan.points[1].name)
    narrow = model.quantize(QuantizeConfig(widths=((point, "activation_bits", 4),))).program
    assert sorted(value.quant.bits for value in narrow.values.values())[0] == 4


def test_every_prefix_of_the_order_costs_least_for_its_noise() -> None:
    rng = np.random.default_rng(0)
    tensors = [Probed((str(k), "weight_bits"), *rng.uniform(0.1, 1, 2), most=3) for k in range(4)]
    every = [
        (sum(t.noise * 4.0**n for t, n in zip(tensors, taken, strict=True)),
         sum(t.saved * n for t, n in zip(tensors, taken, strict=True)))
        for taken in product(range(4), repeat=4)
    ]  # fmt: skip
    order = in_order(tensors)
    assert sorted(order) == sorted([0, 1, 2, 3] * 3)
    for count in range(len(order) + 1):
        taken = np.bincount(order[:count], minlength=4)
        noise = sum(t.noise * 4.0**n for t, n in zip(tensors, taken.tolist(), strict=True))
        saved = sum(t.saved * n for t, n in zip(tensors, taken.tolist(), strict=True))
        assert saved >= max(other for error, other in every if error <= noise * (1 + 1e-12)) - 1e-12


def test_fewer_points_keep_more_bits(tmp_path: Path) -> None:
    model, judges = ready(tmp_path)
    some, many = (allocate(model, judges, points, QuantizeConfig()) for points in (4, 40))
    assert some.lost <= 4
    assert many.lost <= 40
    assert sum(many.bits.values()) < sum(some.bits.values()) < 8 * len(some.bits)
    assert many.figures.ace < some.figures.ace < some.fp32.ace
    assert min(many.bits.values()) >= allocation.FEWEST


def test_what_loses_too_much_at_full_width_is_refused(tmp_path: Path) -> None:
    model, judges = ready(tmp_path)
    widths = dict.fromkeys(("kernel_bits", "state_bits", "activation_bits", "input_bits", "weight_bits"), 3)
    with pytest.raises(GateError, match="SSMC-C04"):
        allocate(model, judges, 0.5, QuantizeConfig(**widths))


def test_labels_of_another_model_are_refused(tmp_path: Path) -> None:
    model, judges = ready(tmp_path)
    assert judges.label is not None
    with pytest.raises(UsageError, match="none of the 64 labels"):
        allocate(model, replace(judges, label=judges.label + 100), 1, QuantizeConfig())


def test_data_that_judge_nothing_are_refused() -> None:
    every = labelled(float_model(seed=3, channels=2, states=3))
    with pytest.raises(UsageError, match="no labels"):
        parted(Samples(every.flat, every.offsets), 16)
    with pytest.raises(UsageError, match="16 of 80 sequences"):
        parted(every, 64)
    calibrated, judges = parted(every, 16)
    assert (len(calibrated), len(judges)) == (16, 64)
    seen = {x.tobytes() for x in map(calibrated.sequence, range(16))}
    assert not seen & {x.tobytes() for x in map(judges.sequence, range(64))}


def test_a_width_at_which_a_kernel_is_unstable_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, judges = ready(tmp_path)
    whole = Ready.quantize

    def unstable(self: Ready, config: QuantizeConfig, *args: object, **options: object) -> object:
        if any(width == "kernel_bits" and bits < 7 for _, width, bits in config.widths):
            raise ModelError("SSMC-S11", "a pole", "more bits")
        return whole(self, config, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Ready, "quantize", unstable)
    made = allocate(model, judges, 40, QuantizeConfig())
    assert {bits for (_, width), bits in made.bits.items() if width == "kernel_bits"} == {8}
    assert sum(made.bits.values()) < 8 * len(made.bits)

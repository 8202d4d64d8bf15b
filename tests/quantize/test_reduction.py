"""`ssmc reduce`: float files with fewer states, read back, quantized and compiled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

import ssmc
from ssmc.analysis.qs4d_metrics import driven_states
from ssmc.cli import cli
from ssmc.data import Samples
from ssmc.errors import ModelError, UsageError
from ssmc.ir.operations import StateSpace
from ssmc.quantize import quantize
from ssmc.quantize.reduction import Goal, reduce
from ssmc.verify import run_onnx
from tests.quantize.floats import FEATURES, float_model


def samples(count: int = 12, steps: int = 60) -> Samples:
    rng = np.random.default_rng(0)
    flat = np.cumsum(rng.standard_normal((count, steps, FEATURES)), 1).reshape(-1, FEATURES) * 0.3
    return Samples(flat.astype(np.float32), np.arange(count + 1) * steps)


def save(proto: onnx.ModelProto, folder: Path, name: str = "float.onnx") -> Path:
    onnx.save(proto, folder / name)
    return folder / name


@pytest.mark.parametrize("after", [False, True])
def test_fewer_states_are_further_and_all_are_the_model(tmp_path: Path, after: bool) -> None:
    path = save(float_model(seed=2, states=6, after=after), tmp_path)
    made = [reduce(path, samples(), Goal(states, None)) for states in (6, 3, 1)]
    assert [k.orders.tolist() for m in made for k in m.kernels] == [[6] * 4, [3] * 4, [1] * 4]
    assert [m.kernels[0].before for m in made] == [6, 6, 6]
    errors = [m.error for m in made]
    assert errors[0] < 0.02
    assert errors[0] < errors[1] < errors[2]


def test_the_reported_error_is_that_of_the_file(tmp_path: Path) -> None:
    proto, data = float_model(seed=2, states=6), samples()
    made = reduce(save(proto, tmp_path), data, Goal(2, None))
    x = data.flat.reshape(12, 60, FEATURES)
    y, z = (run_onnx(m, {"x": x})[0] for m in (proto, made.model))
    assert np.sqrt(((y - z) ** 2).sum() / (y**2).sum()) == pytest.approx(made.error, rel=1e-3)
    assert made.error > 1e-3


def test_orders_by_a_common_error_go_through_quantization(tmp_path: Path) -> None:
    data = samples()
    made = reduce(save(float_model(seed=2, states=6), tmp_path), data, Goal(None, 0.08))
    (kernel,) = made.kernels
    assert (kernel.error <= 0.08).all()
    assert len(set(kernel.orders.tolist())) > 1
    small = save(made.model, tmp_path, "small.onnx")
    coded = quantize(small, data)
    assert coded.fidelity.sqnr_db > 15
    path = save(coded.model, tmp_path, "codes.onnx")
    integer = ssmc.compile(path)
    (op,) = [op for op in integer.compiled.program.ops if isinstance(op, StateSpace)]
    assert (driven_states(op).sum(1) <= kernel.orders).all()
    assert driven_states(op).sum() > 0.7 * kernel.orders.sum()
    x = data.flat.reshape(12, 60, FEATURES)[:3]
    crossbar = ssmc.compile(path, target="aimc", hardware="taox64")
    assert np.array_equal(crossbar.run(x), integer.run(x))


def test_what_cannot_be_reduced(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="SSMC-T10"):
        reduce(save(float_model(dense=True), tmp_path), samples(), Goal(2, None))
    path = save(float_model(), tmp_path)
    with pytest.raises(UsageError, match="SSMC-D01"):
        reduce(path, Samples(np.zeros((20, FEATURES + 1), np.float32), np.array([0, 20])), Goal(2, None))
    huge = np.full((20, FEATURES), np.finfo(np.float32).max)
    with pytest.raises(ModelError, match=r"SSMC-M15.*NaN or infinity on the calibration data"):
        reduce(path, Samples(huge, np.array([0, 20])), Goal(2, None))
    with pytest.raises(ModelError, match="SSMC-Q10"):
        reduce(save(quantize(path, samples()).model, tmp_path, "q.onnx"), samples(), Goal(2, None))
    still = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])],
        "still",
        [onnx.helper.make_tensor_value_info("x", 1, ["batch", "time", FEATURES])],
        [onnx.helper.make_tensor_value_info("y", 1, ["batch", "time", FEATURES])],
    )
    proto = onnx.helper.make_model(still, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    with pytest.raises(ModelError, match="SSMC-T11"):
        reduce(save(proto, tmp_path, "still.onnx"), samples(), Goal(2, None))


def test_the_command_writes_a_file_and_says_what_it_did(tmp_path: Path) -> None:
    path, data = save(float_model(states=6), tmp_path), samples()
    np.savez(tmp_path / "calib.npz", flat=data.flat, offsets=data.offsets, label=np.zeros(12, np.int64))
    out = tmp_path / "small.onnx"
    words = ["reduce", str(path), "--data", str(tmp_path / "calib.npz"), "-o", str(out)]
    done = CliRunner().invoke(cli, [*words, "--states", "2"])
    assert done.exit_code == 0, done.output
    assert "24 states to 8 (2 each)" in done.output
    assert "accuracy on the calibration data" in done.output
    x = data.flat.reshape(12, 60, FEATURES)
    assert run_onnx(onnx.load(out), {"x": x})[0].shape == (12, 4)
    for wrong in ([], ["--states", "2", "--error", "0.1"]):
        refused = CliRunner().invoke(cli, [*words, *wrong])
        assert refused.exit_code == 2
        assert "SSMC-U33" in refused.output

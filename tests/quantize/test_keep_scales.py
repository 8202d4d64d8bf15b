"""Models that onnxruntime's tool quantized around a float recurrence: its quantizers stay, the rest gets some."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import ssmc
from ssmc.errors import ModelError
from ssmc.quantize import quantize
from ssmc.verify import run_onnx
from tests.cli.conftest import ssmc as command
from tests.quantize.floats import FEATURES, float_model
from tests.quantize.test_quantize import samples, save

TYPES = {"uint8, zero points": "QUInt8", "int8": "QInt8"}


def by_onnxruntime(folder: Path, kind: str, per_channel: bool = False) -> Path:
    """``float_model`` after ``quantize_static``: quantizers at its matrices and sums, none in its Scan."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds = iter([{"x": samples().sequence(i)[None]} for i in range(8)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.feeds, None)

    source, made = save(float_model(), folder), folder / "ort.onnx"
    chosen = {"activation_type": getattr(QuantType, kind), "weight_type": QuantType.QInt8, "per_channel": per_channel}
    quantize_static(str(source), str(made), Reader(), quant_format=QuantFormat.QDQ, **chosen)
    return made


def scales(path: Path) -> set[float]:
    """Of the activations' quantizers."""
    proto = onnx.load(path)
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    first = [stored[node.input[1]] for node in proto.graph.node if node.op_type in ("QuantizeLinear", "Div")]
    return {float(scale) for scale in first if scale.size == 1}


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES)
def test_given_quantizers_stay_and_the_recurrence_gets_its_own(kind: str, per_channel: bool, tmp_path: Path) -> None:
    source = by_onnxruntime(tmp_path, kind, per_channel)
    made = quantize(source, samples(), keep_scales=True)
    onnx.save(made.model, tmp_path / "made.onnx")
    assert len(made.kernels) == 1
    assert scales(source) <= scales(tmp_path / "made.onnx")
    assert made.fidelity.sqnr_db > 25
    x = np.random.default_rng(5).standard_normal((4, 50, FEATURES)).astype(np.float32)
    wanted = run_onnx(onnx.load(source), {"x": x})[0]
    found = ssmc.compile(tmp_path / "made.onnx").run(x)  # with the oracle
    assert np.linalg.norm(found - wanted) < 0.08 * np.linalg.norm(wanted)


def test_compile_says_what_is_float_and_the_command_that_it_names_works(tmp_path: Path) -> None:
    source = by_onnxruntime(tmp_path, "QInt8")
    refused = command("compile", source, "-o", tmp_path / "out")
    assert refused.exit_code == 1
    assert "without a quantizer are scan" in refused.stderr
    assert "'ssmc quantize MODEL --data FILE.npz --keep-scales' adds them" in refused.stderr
    np.savez(tmp_path / "x.npz", flat=samples().flat, offsets=samples().offsets)
    made = tmp_path / "made.onnx"
    assert command("quantize", source, "--keep-scales", "--data", tmp_path / "x.npz", "-o", made).exit_code == 0
    assert command("compile", made, "-o", tmp_path / "out").exit_code == 0


def test_without_the_option_nothing_given_is_touched_and_a_model_that_lacks_nothing_is_refused(tmp_path: Path) -> None:
    source = by_onnxruntime(tmp_path, "QInt8")
    with pytest.raises(ModelError, match="--keep-scales") as caught:
        quantize(source, samples())
    assert caught.value.code == "SSMC-Q10"
    whole = save(quantize(save(float_model(), tmp_path), samples()).model, tmp_path, "whole.onnx")
    with pytest.raises(ModelError, match="nothing in the model is float"):
        quantize(whole, samples(), keep_scales=True)

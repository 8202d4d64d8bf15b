"""Float models become quantized ones that compile, run in onnxruntime, and compute nearly the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import ssmc
from ssmc.data import Samples, load_samples
from ssmc.errors import ModelError, UsageError
from ssmc.ir.operations import Downsample, Linear, StateSpace
from ssmc.quantize import QuantizeConfig, quantize
from ssmc.verify import run_onnx
from tests.graph_writer import Graph
from tests.graphs import Spec
from tests.graphs import model as quantized_model
from tests.quantize.floats import FEATURES, float_model

DEMO = Path(__file__).resolve().parents[2] / "examples" / "spoken_digits"


def samples(count: int = 12, steps: int = 60, features: int = FEATURES) -> Samples:
    rng = np.random.default_rng(0)
    flat = rng.standard_normal((count * steps, features)).astype(np.float32)
    return Samples(flat, np.arange(count + 1) * steps)


def save(proto: onnx.ModelProto, folder: Path, name: str = "float.onnx") -> Path:
    onnx.save(proto, folder / name)
    return folder / name


def distance(folder: Path, proto: onnx.ModelProto, made: onnx.ModelProto) -> float:
    """Relative RMS error of the compiled program on fresh data; compiling compares it with onnxruntime."""
    x = np.random.default_rng(5).standard_normal((8, 80, FEATURES)).astype(np.float32)
    compiled = ssmc.compile(save(made, folder, "made.onnx"))  # with the oracle
    expected = run_onnx(proto, {"x": x})[0]
    return float(np.sqrt(((compiled.run(x) - expected) ** 2).mean() / (expected**2).mean()))


@pytest.mark.parametrize("form", ["auto", "delta", "direct"])
@pytest.mark.parametrize(
    "shape", [{}, {"dense": True}, {"after": True}, {"dense": True, "after": True, "pool": "last"}]
)
def test_eight_bits_compute_nearly_the_same(tmp_path: Path, form: str, shape: dict[str, object]) -> None:
    proto = float_model(**shape)  # type: ignore[arg-type]
    made = quantize(save(proto, tmp_path), samples(), QuantizeConfig(form=form))  # type: ignore[arg-type]
    assert made.deviation < 1e-5
    assert distance(tmp_path, proto, made.model) < 0.1


def test_a_model_at_a_third_of_the_rate(tmp_path: Path) -> None:
    proto = float_model(every=3)
    made = quantize(save(proto, tmp_path), samples())
    assert distance(tmp_path, proto, made.model) < 0.1
    program = ssmc.compile(save(made.model, tmp_path)).compiled.program
    assert [op.k for op in program.ops if isinstance(op, Downsample)] == [3]


def test_more_bits_are_nearer(tmp_path: Path) -> None:
    proto = float_model(seed=3)
    path = save(proto, tmp_path)
    errors = []
    for bits in (4, 6, 8, 12):
        widths = dict.fromkeys(("kernel_bits", "state_bits", "adc_bits", "weight_bits", "activation_bits"), bits)
        config = QuantizeConfig(**widths, input_bits=bits, output_bits=12)  # type: ignore[arg-type]
        errors.append(distance(tmp_path, proto, quantize(path, samples(), config).model))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02 < errors[0]


@pytest.mark.parametrize(
    "options",
    [
        {"power_of_two": False},
        {"granularity": "channel"},
        {"granularity": "tensor"},
        {"refit": False},
        {"kernel_bits": 4},
        {"state_bits": 10, "adc_bits": 6},
        {"state_bits": 6, "adc_bits": 10, "form": "auto"},
    ],
)
def test_options_compile(tmp_path: Path, options: dict[str, object]) -> None:
    proto = float_model(seed=1)
    made = quantize(save(proto, tmp_path), samples(), QuantizeConfig(**options))  # type: ignore[arg-type]
    assert distance(tmp_path, proto, made.model) < 0.35


def test_widths_are_those_asked_for(tmp_path: Path) -> None:
    config = QuantizeConfig(kernel_bits=5, state_bits=7, adc_bits=6, weight_bits=2, activation_bits=4, form="delta")
    made = quantize(save(float_model(), tmp_path), samples(), config)
    program = ssmc.compile(save(made.model, tmp_path, "made.onnx"), oracle=False).compiled.program
    (kernel,) = (op for op in program.ops if isinstance(op, StateSpace))
    assert (kernel.matrix.weight_bits, kernel.state_dac_bits) == (5, 7)
    assert (kernel.requant.hi.max(), kernel.requant.lo.min()) == (31, -32)
    assert all(set(np.unique(op.matrix.codes)) <= {-1, 0, 1} for op in program.ops if isinstance(op, Linear))
    assert max(v.quant.bits for n, v in program.values.items() if n == kernel.inputs[0]) == 4


def test_the_result_is_standard_onnx_and_always_the_same(tmp_path: Path) -> None:
    path = save(float_model(), tmp_path)
    first, second = (quantize(path, samples()).model for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
    assert {o.domain for o in first.opset_import} <= {"", "ai.onnx"}
    assert not first.functions
    onnx.checker.check_model(first, full_check=True)


def test_what_cannot_be_quantized_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="SSMC-Q10"):
        quantize(save(quantized_model(Spec(seed=0)), tmp_path), samples(features=Spec(seed=0).features))
    path = save(float_model(), tmp_path)
    with pytest.raises(UsageError, match="SSMC-D01"):
        quantize(path, samples(features=FEATURES + 1))
    broken = samples()
    broken.flat[3] = np.nan
    with pytest.raises(UsageError, match="SSMC-D03"):
        quantize(path, broken)


def test_the_demo_at_eight_bits_answers_like_the_float_model(tmp_path: Path) -> None:
    data = load_samples(DEMO / "test.npz")
    made = quantize(DEMO / "model_float.onnx", data.head(8))
    compiled = ssmc.compile(save(made.model, tmp_path), oracle=False)
    assert {kernel.modes for kernel in made.kernels} == {512}
    few = np.arange(12, 300, 12)
    x, lengths = data.batch(few)
    answers = compiled.run(x, lengths).argmax(1)
    proto = onnx.load(DEMO / "model_float.onnx")
    floats = [run_onnx(proto, {"x": data.sequence(i).astype(np.float32)[None]})[0].argmax() for i in few.tolist()]
    assert (answers == floats).mean() >= 0.95


def test_a_float_embedding_is_quantized_by_rows_of_codes(tmp_path: Path) -> None:
    g = Graph("qdq")
    table = g.const(np.random.default_rng(0).standard_normal((50, 4)), name="table")
    rows = g.op("Gather", table, "x", out="rows")
    mean = g.op("ReduceMean", g.op("Squeeze", rows, g.const([2], np.int64)), g.const([1], np.int64), keepdims=0)
    proto = g.finish(1, mean, ["batch", 4])
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    ids = np.random.default_rng(1).integers(0, 50, (8, 30, 1))
    made = quantize(save(proto, tmp_path), Samples(ids.reshape(-1, 1), np.arange(9) * 30))
    assert made.fidelity.sqnr_db > 30
    found = ssmc.compile(save(made.model, tmp_path, "made.onnx")).run(ids)
    assert np.abs(found - run_onnx(proto, {"x": ids})[0]).max() < 0.02

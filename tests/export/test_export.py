"""An exported file is standard ONNX that equals the torch forward, code for code."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

torch = pytest.importorskip("torch")

from ssmc.errors import ModelError, UsageError  # noqa: E402 - after the torch skip
from ssmc.export import export_onnx  # noqa: E402
from ssmc.qat import Mode, ModelConfig, QuantConfig, Quantizer, S4DClassifier, calibrate, set_mode  # noqa: E402


def signal(items: int, length: int, seed: int = 0):
    return torch.randn(items, length, 3, generator=torch.Generator().manual_seed(seed))


def trained(quant: QuantConfig | None = None, **options):
    torch.manual_seed(0)
    model = S4DClassifier(ModelConfig(3, 5, d_model=4, d_state=6, quant=quant or QuantConfig(), **options)).eval()
    calibrate(model, [signal(4, 40, 1)])
    return model


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    model, path = trained(), tmp_path_factory.mktemp("onnx") / "m.onnx"
    export_onnx(model, signal(1, 1), path)
    return model, path


def session(path: str):
    """Graph optimizations off: higher levels replace dequantized MatMuls by approximate ones."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(path, options)


def run(path, x):
    return session(str(path)).run(None, {"x": x.numpy()})[0]


@pytest.mark.parametrize(("items", "length"), [(1, 1), (1, 33), (5, 2), (3, 100)])
def test_logits_are_bit_equal_for_any_batch_and_length(small, items, length):
    model, path = small
    x = signal(items, length, seed=length)
    assert np.array_equal(run(path, x), model(x).detach().numpy())


@pytest.mark.parametrize(
    "options",
    [
        {"quant": QuantConfig(form="direct")},
        {"quant": QuantConfig(form="mixed"), "dt_max": 1.0},
        {"quant": QuantConfig(kernel_bits=4, readout_bits=6, weight_bits=1, coder_bits=2)},
        {"quant": QuantConfig(kernel_bits=4, weight_bits=2, gating_bits=1, weight_levels="2^b + 1")},
        {"quant": QuantConfig(granularity="tensor", clipping="max", stable=False, learned=True)},
        {"quant": QuantConfig(kernel_bits=4, weight_bits=4, state_dac_bits=6, adc_bits=6, activation_bits=5)},
        {"quant": QuantConfig(activation_bits=12, output_bits=16)},
        {"pooling": "last", "encoder_norm": False},
    ],
    ids=["direct", "mixed", "ternary and binary", "ternary gate", "like QS4D", "few bits", "many bits", "last step"],
)
def test_every_configuration_exports_bit_equal(tmp_path, options):
    model = trained(layers=1, **options)
    export_onnx(model, signal(2, 5), tmp_path / "m.onnx")
    x = signal(3, 50, seed=7)
    assert np.array_equal(run(tmp_path / "m.onnx", x), model(x).detach().numpy())


def test_every_quantizer_is_equal(small, tmp_path):
    """Quantizer by quantizer: the graph calls each after its torch module."""
    model, path = small
    seen: dict[str, np.ndarray] = {}
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out.detach().numpy()}))
        for name, module in model.named_modules()
        if isinstance(module, Quantizer) and name != "output_quantizer"
    ]
    x = signal(3, 60, seed=3)
    model(x)
    for hook in hooks:
        hook.remove()
    graph = onnx.load(path)
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in seen)
    onnx.save(graph, tmp_path / "open.onnx")
    opened = session(str(tmp_path / "open.onnx"))
    outputs = dict(zip(seen, opened.run(list(seen), {"x": x.numpy()}), strict=True))
    assert len(outputs) == 3 + 2 * 6
    for name, expected in seen.items():
        assert np.array_equal(outputs[name], expected), name


def test_float_twin_runs_as_a_recurrence(tmp_path):
    model = trained(layers=1)
    set_mode(model, Mode.FLOAT)
    export_onnx(model, signal(2, 5), tmp_path / "float.onnx")
    x = signal(3, 50)
    np.testing.assert_allclose(run(tmp_path / "float.onnx", x), model(x).detach().numpy(), atol=2e-6, rtol=1e-5)
    kinds = [node.op_type for node in onnx.load(tmp_path / "float.onnx").graph.node]
    assert kinds.count("Scan") == 1
    assert "QuantizeLinear" not in kinds
    assert "DFT" not in kinds


def test_the_file_is_standard_and_clean(small):
    _, path = small
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 21)]
    assert (model.producer_name, model.ir_version) == ("ssmc", 10)
    assert [i.name for i in model.graph.input] == ["x"]
    assert [o.name for o in model.graph.output] == ["y"]
    assert [d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim] == ["batch", "time", ""]
    assert not model.functions
    text = path.read_bytes()
    assert b"/" + b"work" not in text
    assert b".py" not in text
    assert b"stack_trace" not in text


def test_weights_are_stored_as_integers(small):
    model = onnx.load(small[1])
    kinds = {i.name: i.data_type for i in model.graph.initializer}
    for name in ("encoder", "blocks.0.mixing", "decoder"):
        assert kinds[f"{name}.weight_int"] == onnx.TensorProto.INT8
    assert kinds["blocks.1.ssm.matrix_int"] == onnx.TensorProto.INT8


def test_same_model_same_bytes(small, tmp_path):
    model, path = small
    export_onnx(model, signal(2, 9), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()


def test_export_leaves_the_model_as_it_was(small):
    model, _ = small
    assert not any(getattr(module, "frozen", False) for module in model.modules())
    assert model(signal(2, 5)).requires_grad


def test_a_foreign_module_exports(tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    export_onnx(model, signal(2, 4), tmp_path / "m.onnx")
    x = signal(3, 9)
    np.testing.assert_allclose(run(tmp_path / "m.onnx", x), model(x).detach().numpy(), atol=1e-6)


class Unpredictable(torch.nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_what_torch_cannot_export_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ModelError, match=r"SSMC-X01.*Unpredictable decides by the values of a tensor \(test_export.py"):
        export_onnx(Unpredictable(), signal(2, 4), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_example_without_time_is_refused(tmp_path):
    with pytest.raises(UsageError, match="SSMC-X02"):
        export_onnx(torch.nn.Linear(3, 2), torch.zeros(3), tmp_path / "m.onnx")


def test_an_unwritable_path_is_refused(tmp_path):
    with pytest.raises(UsageError, match="SSMC-X03"):
        export_onnx(torch.nn.Linear(3, 2), signal(2, 4), tmp_path / "no" / "m.onnx")


def test_every_step_in_the_file_is_the_step_of_torch_to_the_last_bit(tmp_path):
    """numpy's 2^w for the w of this step is an ulp off torch's: that decides ties of steps in a ratio of two."""
    torch.manual_seed(0)
    model = S4DClassifier(ModelConfig(1, 3, d_model=4, d_state=4, layers=1, quant=QuantConfig(power_of_two=False)))
    calibrate(model, [torch.randn(8, 20, 1)])
    quantizers = {name: m for name, m in model.named_modules() if isinstance(m, Quantizer)}
    for quantizer in quantizers.values():
        quantizer.step.set(torch.exp2(torch.tensor(-0.75)))
    export_onnx(model, torch.randn(1, 20, 1), tmp_path / "model.onnx")
    held = {x.name: onnx.numpy_helper.to_array(x) for x in onnx.load(tmp_path / "model.onnx").graph.initializer}
    scales = {name: held[f"{name}_scale"].item() for name in quantizers if f"{name}_scale" in held}
    assert len(scales) > 5
    assert scales == {name: quantizers[name].scale.item() for name in scales}

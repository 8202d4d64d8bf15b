"""Real poles in the layer, and models with fewer states of different number."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ssmc.qat import Mode, ModelConfig, QuantConfig, S4DClassifier, calibrate, reduce, set_mode  # noqa: E402
from ssmc.qat.compiled import run_compiled  # noqa: E402
from ssmc.qat.poles import Blocks  # noqa: E402
from ssmc.qat.recurrence import float_step, quantized_step, run_loop  # noqa: E402
from ssmc.qat.reduction import channels_of  # noqa: E402
from ssmc.qat.s4d import S4D  # noqa: E402

TURNING = torch.tensor([[True, False], [False, False], [True, True], [False, False]])
G = torch.tensor([[[1, 1], [1, -1]], [[1, 1], [1, 0]], [[1, 1], [1, 1]], [[1, 0], [0, 0]]]).float()  # orders 4 3 4 1


def mixed(config: QuantConfig | None = None, seed: int = 0) -> S4D:
    """A layer of four channels with every kind of block."""
    torch.manual_seed(seed)
    layer = S4D(4, 4, config or QuantConfig(), dt_min=0.02, dt_max=0.3)
    w = torch.where(TURNING, 3 * torch.rand(4, 2), torch.randn(4, 2))
    layer.set_blocks(Blocks(layer.log_dt, 0.5 * torch.randn(4, 2), w, layer.C, layer.D, TURNING, G))
    return layer


def classifier(quant: QuantConfig | None = None, seed: int = 0, **shape) -> S4DClassifier:
    torch.manual_seed(seed)
    shape = {"d_model": 6, "d_state": 8, "dt_min": 0.01, "dt_max": 0.2, **shape}
    return S4DClassifier(ModelConfig(d_input=3, d_output=4, quant=quant or QuantConfig(), **shape)).eval()


def data(sequences: int = 8, steps: int = 50, seed: int = 1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(sequences, steps, 3, generator=generator).cumsum(1) * 0.3


def test_convolution_equals_the_recurrence_with_real_poles():
    layer = mixed()
    u = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(1))
    _, y = run_loop(float_step(layer.kernel(0.0).dense()), torch.zeros(2, 4, 4), u)
    torch.testing.assert_close(layer(u), y, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(layer.real(u), y, atol=1e-5, rtol=1e-4)


def test_poles_are_stable_whatever_the_parameters():
    layer = mixed()
    with torch.no_grad():
        for parameter in (layer.log_dt, layer.log_A_real, layer.A_imag):
            parameter.copy_(4 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    radius = np.abs(np.linalg.eigvals(channels_of(layer).A)).max()
    assert radius < 1


def test_a_place_without_a_state_has_no_gradient_and_widens_no_grid():
    layer = mixed()
    u = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(1))
    layer(u).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters() if p.grad is not None)
    assert (layer.C.grad[G == 0] == 0).all()
    assert (layer.C.grad[G != 0] != 0).all()
    decay = layer.kernel(1.0).decay[1, 1]
    assert decay[0, 0] == decay[1, 1]


@pytest.mark.parametrize("form", ["delta", "direct", "mixed"])
def test_codes_of_real_poles_are_diagonal_stable_and_near(form):
    layer = mixed(QuantConfig(form=form))
    u = torch.randn(4, 60, 4, generator=torch.Generator().manual_seed(2))
    calibrated(layer, u)
    w, ratio = layer.codes()
    assert torch.equal(w.decay, w.decay.round())
    real = w.decay[~TURNING]
    assert (real[:, 0, 1] == 0).all()
    assert (real[:, 1, 0] == 0).all()
    assert (w.b[G == 0] == 0).all()
    assert (w.c[G == 0] == 0).all()
    dac = layer.scales()
    grid = ratio[:, :-1:2] / torch.exp2(dac.shift)
    found = grid[..., None, None] * w.decay + dac.keep[..., None, None] * torch.eye(2)
    wanted = layer.kernel(0.0).decay
    assert (torch.linalg.eigvals(found.double()).abs() < 1).all()
    assert ((found - wanted).abs() <= 3 * grid[..., None, None]).all()


def calibrated(layer: S4D, u) -> None:
    layer.input_quantizer.observe(u)
    layer.observe(u, layer.real(u))
    layer.choose_grids()
    layer.mode = Mode.QUANTIZED
    layer.input_quantizer.mode = Mode.QUANTIZED


def test_the_compiled_kernel_runs_real_poles_as_the_loop_does():
    layer = mixed(QuantConfig(form="mixed"))
    u = torch.randn(4, 60, 4, generator=torch.Generator().manual_seed(2))
    calibrated(layer, u)
    w, ratio = layer.codes()
    codes = layer.input_quantizer.codes(u)
    scales, ranges = layer.scales(), layer.ranges()
    _, wanted = run_loop(
        quantized_step(w.dense(), ratio, scales.dac_step, layer.keep, ranges), torch.zeros(4, 4, 4), codes
    )
    assert torch.equal(run_compiled(w, ratio, scales.dac_step, layer.keep, ranges, codes), wanted)
    assert wanted.abs().max() > 20


def test_noise_stays_off_cells_that_are_not_there():
    layer = mixed(QuantConfig(weight_noise=0.1))
    w, _ = layer.codes()
    noisy = w.noisy(layer.noise.train(), *layer.limits)
    assert (noisy.decay[~TURNING][:, 0, 1] == 0).all()
    assert (noisy.b[G == 0] == 0).all()
    assert (noisy.b[G != 0] != w.b[G != 0]).all()


def test_weights_from_before_real_poles_are_complex_pairs():
    model = classifier()
    old = {k: v for k, v in model.state_dict().items() if not k.endswith((".turning", ".sign"))}
    other = classifier(seed=1)
    other.load_state_dict(old)
    x = data()
    assert torch.equal(other(x), model(x))


def test_all_states_change_nothing_and_few_change_little():
    model, x = classifier(), data()
    wanted = model(x)
    errors = []
    for states in (8, 4, 1):
        small = copy.deepcopy(model)
        found = reduce(small, [x], states=states)
        assert [r.orders.tolist() for r in found] == [[states] * 6] * 2
        assert [r.before for r in found] == [8, 8]
        assert small.config.d_state == 2 * -(-states // 2)
        errors.append(((small(x) - wanted).norm() / wanted.norm()).item())
    assert errors[0] < 0.02
    assert errors[1] < 0.1
    assert errors[0] < errors[1] < errors[2]


def test_the_reported_error_is_the_one_on_the_inputs():
    model, x = classifier(layers=1), torch.nn.functional.pad(data(), (0, 0, 0, 200))
    small = copy.deepcopy(model)
    inputs = []
    model.blocks[0].ssm.register_forward_pre_hook(lambda _, u: inputs.append(u[0]))
    model(x)
    (found,) = reduce(small, [x], states=3)
    y, z = (m.blocks[0].ssm(inputs[0]) for m in (model, small))
    measured = ((y - z).square().sum((0, 1)) / y.square().sum((0, 1))).sqrt()
    np.testing.assert_allclose(found.error, measured.detach().numpy(), rtol=0.05, atol=1e-3)  # inputs do not end at 0


def test_a_common_error_gives_each_channel_its_order():
    model, x = classifier(), data()
    found = reduce(model, [x], error=0.1)
    orders = np.concatenate([r.orders for r in found])
    assert len(set(orders.tolist())) > 1
    assert all((r.error <= 0.1).all() for r in found)
    rebuilt = classifier(seed=1, d_state=model.config.d_state)
    rebuilt.load_state_dict(model.state_dict())
    assert torch.equal(rebuilt(x), model(x))


def test_reduced_models_are_calibrated_and_train():
    model, x = classifier(), data()
    reference = copy.deepcopy(model)
    reduce(model, [x], error=0.1)
    calibrate(model, [x], reference)
    wanted = reference(x)
    assert (model(x) - wanted).norm() < 0.3 * wanted.norm()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    before = copy.deepcopy(model.state_dict())
    set_mode(model, Mode.QUANTIZED)
    loss = (model.train()(x) - wanted.detach()).square().mean()
    loss.backward()
    optimizer.step()
    for block in model.blocks:
        assert torch.isfinite(block.ssm.log_A_real).all()
    after = model.state_dict()
    assert not torch.equal(after["blocks.0.ssm.A_imag"], before["blocks.0.ssm.A_imag"])
    assert torch.equal(after["blocks.0.ssm.sign"], before["blocks.0.ssm.sign"])


@pytest.mark.parametrize("wrong", [{}, {"states": 2, "error": 0.1}, {"states": 0}, {"states": 9}, {"error": 1.5}])
def test_what_cannot_be_asked_for(wrong):
    with pytest.raises(ValueError, match=r"states|error"):
        reduce(classifier(), [data()], **wrong)


def test_the_example_of_the_page_runs(capsys):
    page = (Path(__file__).resolve().parents[2] / "docs" / "reduce.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    torch.manual_seed(0)
    names: dict = {}
    exec(code, names)
    assert "blocks.0.ssm: 16 states to" in capsys.readouterr().out
    assert names["model"].config.d_state < 16

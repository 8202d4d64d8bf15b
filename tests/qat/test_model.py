"""The classifier: modes, padding, folding, freezing, calibration."""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ssmc.qat import (  # noqa: E402
    Mode,
    ModelConfig,
    QuantConfig,
    Quantizer,
    QuantLinear,
    S4DClassifier,
    calibrate,
    set_mode,
    set_noise,
)
from ssmc.qat.fake_quant import StepSearch  # noqa: E402
from ssmc.qat.weights import WeightNoise  # noqa: E402


def small(seed: int = 0, **options):
    torch.manual_seed(seed)
    quant = options.pop("quant", QuantConfig())
    model = S4DClassifier(ModelConfig(3, 5, d_model=4, d_state=4, quant=quant, **options)).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model


def signal(seed: int = 0, items: int = 4, length: int = 15):
    return torch.randn(items, length, 3, generator=torch.Generator().manual_seed(seed))


def quantized(**options):
    model = small(**options)
    calibrate(model, [signal(1)])
    return model


@pytest.mark.parametrize("mode", [Mode.FLOAT, Mode.RECURRENT, Mode.QUANTIZED])
@pytest.mark.parametrize("pooling", ["mean", "last", "exponential"])
def test_padding_never_changes_a_result(mode, pooling):
    model = quantized(pooling=pooling)
    set_mode(model, mode)
    x = signal()
    lengths = torch.tensor([15, 7, 1, 12])
    padded = model(x, lengths)
    for item, length, logits in zip(x, lengths, padded, strict=True):
        alone = model(item[None, :length])[0]
        if mode is Mode.QUANTIZED:
            assert torch.equal(alone, logits)
        torch.testing.assert_close(alone, logits, rtol=1e-4, atol=1e-5)


def test_padding_does_not_move_the_batch_statistics():
    x, lengths = signal(), torch.tensor([15, 7, 1, 12])
    spoiled = x.clone()
    for row, length in zip(spoiled, lengths, strict=True):
        row[length:] = 100
    models = [small().train(), small().train()]
    outputs = [model(batch, lengths) for model, batch in zip(models, (x, spoiled), strict=True)]
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(models[0].encoder.norm.running_var, models[1].encoder.norm.running_var)


def test_batch_norm_folds_into_the_quantized_linear():
    torch.manual_seed(0)
    layer = QuantLinear(6, 4, 12, QuantConfig(weight_bits=12), norm=True).eval()
    layer.norm.running_mean.normal_()
    layer.norm.running_var.uniform_(0.5, 2)
    x = torch.round(torch.randn(9, 6) * 64) / 64
    expected = layer(x, torch.tensor(1 / 64))
    layer.mode = Mode.QUANTIZED
    torch.testing.assert_close(layer(x, torch.tensor(1 / 64)), expected, rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    ("levels", "value", "gate"),
    [("2^b - 1", {-1, 0, 1}, {-1, 1}), ("2^b + 1", {-2, -1, 0, 1, 2}, {-1, 0, 1})],
)
def test_each_share_of_the_outputs_has_its_own_grid(levels, value, gate):
    torch.manual_seed(0)
    config = QuantConfig(weight_levels=levels, power_of_two=False)
    layer = QuantLinear(64, 8, (2, 1), config)
    codes, scale, _ = layer.codes(torch.tensor(1.0))
    assert set(codes[:, :4].flatten().tolist()) == value
    assert set(codes[:, 4:].flatten().tolist()) == gate
    for grid, used in zip(layer.grids, (value, gate), strict=True):
        assert 2**grid.bits >= len(used) > 2**grid.bits / 2
    values, _ = layer.quantized(torch.tensor(1.0))
    assert torch.equal(values, codes * scale)
    alone = QuantLinear(64, 4, 2, config)
    alone.linear.weight.data.copy_(layer.linear.weight[:4])
    assert torch.equal(alone.codes(torch.tensor(1.0))[0], codes[:, :4])


@pytest.mark.parametrize("form", ["delta", "direct"])
@pytest.mark.parametrize("power_of_two", [True, False])
def test_freezing_changes_no_code(form, power_of_two):
    model = quantized(quant=QuantConfig(form=form, power_of_two=power_of_two), activation="gelu")
    frozen = copy.deepcopy(model)
    frozen.freeze()
    assert torch.equal(frozen(signal(2)), model(signal(2)))


def test_more_bits_come_closer_to_float():
    errors = []
    for bits in (4, 8):
        model = quantized(
            quant=QuantConfig(
                kernel_bits=bits, weight_bits=bits, state_dac_bits=bits, adc_bits=bits, activation_bits=bits
            )
        )
        coded = model(signal(1))
        set_mode(model, Mode.FLOAT)
        errors.append(float((coded - model(signal(1))).detach().abs().max()))
    assert errors[1] < errors[0] / 4


@pytest.mark.parametrize("learned", [False, True])
def test_training_reaches_every_parameter_and_keeps_every_pole_stable(learned):
    model = quantized(quant=QuantConfig(weight_noise=0.01, learned=learned)).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(3):
        optimizer.zero_grad()
        model(signal(step), torch.tensor([15, 9, 3, 1])).square().sum().backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)
        optimizer.step()
    for block in model.blocks:
        w, _ = block.ssm.codes()
        scales = block.ssm.scales()
        _, ratio = block.ssm.codes()
        step = ratio[:, :-1:2] / 2**scales.shift
        poles = torch.linalg.eigvals(torch.eye(2) + step[..., None, None] * w.decay)
        assert (poles.abs() < 1).all()


def test_set_noise_reaches_every_weight_in_evaluation():
    model = quantized()
    clean = model(signal())
    set_noise(model, 0.05)
    assert not torch.equal(model(signal()), model(signal()))
    set_noise(model, 0.0)
    assert torch.equal(model(signal()), clean)


def test_weight_noise_is_off_in_evaluation():
    noisy = quantized(quant=QuantConfig(weight_noise=0.1))
    assert torch.equal(noisy(signal()), noisy(signal()))
    noisy.train()
    assert not torch.equal(noisy(signal()), noisy(signal()))


def test_the_law_of_a_device_gives_a_weight_the_programming_spread_of_its_cell():
    """PCM (arXiv 1911.05094 as in aihwkit): 0.26348 + 1.9650 g - 1.1731 g^2 microsiemens of 25."""
    from ssmc.hardware.devices import DEVICES

    law = tuple(c / 25 for c in (0.26348, 1.9650, -1.1731))
    noise = WeightNoise(QuantConfig(weight_noise_poly=law)).train()
    torch.manual_seed(0)
    codes = torch.tensor([0.0, 1, -32, 64, -127]).repeat(40_000, 1)
    deviation = noise(codes, 127) - codes
    expected = 127 * torch.from_numpy(DEVICES["pcm"].programming_sigma(codes[0].abs().double().numpy() / 127))
    torch.testing.assert_close(deviation.std(0).double(), expected, rtol=0.02, atol=0)
    assert (deviation.mean(0).abs() < 4 * expected / 200).all()
    assert torch.equal(noise.eval()(codes, 127), codes)


def test_a_constant_law_is_the_uniform_noise():
    codes = torch.arange(-7.0, 8)
    found = []
    for config in (QuantConfig(weight_noise=0.03), QuantConfig(weight_noise_poly=(0.03, 0.0))):
        torch.manual_seed(1)
        found.append(WeightNoise(config)(codes, 7))
    torch.testing.assert_close(*found)


def test_a_spread_that_the_law_puts_below_zero_is_none():
    noise = WeightNoise(QuantConfig(weight_noise_poly=(0.1, -0.2)))
    codes = torch.tensor([0.0, 6, -7])
    assert (noise(codes, 7) == codes).tolist() == [False, True, True]


def test_converter_noise_is_there_in_training_alone():
    noisy = quantized(quant=QuantConfig(adc_noise=0.7))
    assert torch.equal(noisy(signal()), quantized()(signal()))
    noisy.train()
    ssm, codes = noisy.blocks[0].ssm, torch.randint(-100, 100, (4, 15, 4)).float()
    assert not torch.equal(ssm._quantized(codes), ssm._quantized(codes))
    noisy.eval()
    assert torch.equal(ssm._quantized(codes), ssm._quantized(codes))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"adc_noise": -1.0}, "adc_noise is -1.0; allowed are 0..16"),
        ({"weight_noise": 0.1, "weight_noise_poly": (0.1,)}, "give one of them"),
        ({"drift_s": "30d"}, r"drift_s is '30d'; allowed are 0..1e\+09"),
        ({"device_noise": "no"}, "device_noise is 'no'; allowed are true and false"),
    ],
)
def test_noise_that_makes_no_sense_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        QuantConfig(**options)


@pytest.mark.parametrize("bits", ["5", 5.5, True, None, 1, 17])
def test_activations_have_a_whole_number_of_bits(bits):
    with pytest.raises(ValueError, match=f"activation_bits is {bits!r}; allowed are 2..16"):
        QuantConfig(activation_bits=bits)
    assert QuantConfig(activation_bits=np.int64(5)).converter == 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input_gain": -1.0}, "input_gain is -1.0: give finite numbers above 0"),
        ({"input_gain": (1.0, 0.0)}, "give finite numbers above 0"),
        ({"input_gain": float("nan")}, "give finite numbers above 0"),
        ({"pooling": "exponential", "quant": QuantConfig(activation_bits=16)}, "give 15 activation_bits at most"),
        ({"pooling": "exponential", "pooling_shift": 17}, "pooling_shift is 17: give 1 to 16"),
    ],
)
def test_what_no_file_could_hold_is_refused_before_training(options, words):
    with pytest.raises(ValueError, match=words):
        ModelConfig(2, 3, **options)


def test_a_toml_file_may_give_the_law_of_a_device(tmp_path):
    path = tmp_path / "pcm.toml"
    path.write_text("weight_noise_poly = [0.0105, 0.0786, -0.0469]\nadc_noise = 0.5\n")
    assert QuantConfig.from_toml(path) == QuantConfig(weight_noise_poly=(0.0105, 0.0786, -0.0469), adc_noise=0.5)


def test_some_of_many_values_choose_a_step_as_good_as_all_of_them(monkeypatch):
    """Rows alternate between loud and quiet: a stride that saw one kind alone would clip or coarsen the other."""
    x = torch.randn(1 << 14, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 8.0])
    x[::2] /= 64
    found = []
    for enough in (1 << 10, 1 << 14):
        monkeypatch.setattr("ssmc.qat.fake_quant.ENOUGH", enough)
        search = StepSearch(-8, 7, (2,), QuantConfig(power_of_two=False))
        search.observe(x)
        found.append(search.best())
    some, every = ((x - (x / step).round().clamp(-8, 7) * step).square().sum(0) for step in found)
    assert (some <= 1.05 * every).all()
    assert torch.equal(search.largest, x.abs().amax(0))


def test_the_step_search_trades_clipping_against_resolution():
    x = torch.cat([torch.randn(10000, generator=torch.Generator().manual_seed(0)), torch.tensor([60.0])])
    search = StepSearch(-8, 7, (), QuantConfig())
    search.observe(x)
    best = search.best()
    errors = {
        step: float((x - torch.clamp(torch.round(x / step), -8, 7) * step).square().sum()) for step in (0.25, 0.5, 1, 8)
    }
    assert float(best) == min(errors, key=errors.get)


def test_gradient_stops_where_a_quantizer_clips():
    quantizer = Quantizer(4, QuantConfig())
    quantizer.mode = Mode.QUANTIZED
    x = torch.tensor([-9.0, -8.4, 0.3, 7.4, 7.6], requires_grad=True)
    quantizer(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_bits": 1}, "kernel_bits is 1"),
        ({"activation_bits": 17}, "activation_bits is 17"),
        ({"form": "sideways"}, "form is 'sideways'"),
        ({"form": "direct", "adc_bits": 6}, "state_dac_bits must equal adc_bits"),
    ],
)
def test_impossible_configurations_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        QuantConfig(**options)

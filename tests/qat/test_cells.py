"""The cells of a chip while training: the law of the hardware file, and poles that noise pushes outside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ssmc.hardware.conductances import moments, noise_of  # noqa: E402
from ssmc.hardware.file import load_hardware  # noqa: E402
from ssmc.hardware.settings import with_settings  # noqa: E402
from ssmc.qat import ModelConfig, QuantConfig, S4DClassifier, calibrate, set_device_noise  # noqa: E402
from ssmc.qat.cells import Behind, CellNoise, Held, inside  # noqa: E402
from ssmc.qat.columns import Columns  # noqa: E402
from ssmc.qat.training import DivergedError, Phase, Trainer  # noqa: E402
from ssmc.targets.aimc.lowering.mapping import Bank, Tile  # noqa: E402
from ssmc.targets.aimc.simulation.noise import program_cells, read_variance  # noqa: E402

CODES = np.array([[[0, 1, -32], [64, -127, 96]], [[5, 0, 1], [-7, 0, 127]]])


def behind(codes):
    """Quantizers of one ratio."""
    one = torch.ones(codes.shape[:2])
    return Behind.of(one, 0 * one, (-128, 127))


def writer(name, **changes):
    return CellNoise(QuantConfig.for_hardware(name, device_noise=True, **changes)).train()


def calm(name):
    """A preset without wires, which training leaves out, and without stuck cells, whose rare draws need many chips."""
    keys = ("noise.wire_ohm", "noise.stuck_low_fraction", "noise.stuck_high_fraction")
    return with_settings(load_hardware(name), tuple(f"{key}=0" for key in keys))


def simulated(hw, seed):
    rng = np.random.default_rng(seed)
    tiles = tuple(Tile(0, group, (0, 2)) for group in range(2))
    held = Held.of(CODES, behind(CODES), hw)
    cells = program_cells(Bank("b", "b", (0, 3), (1,), tiles, held.cells[:, None]), hw, noise_of(hw), rng)
    return cells.weight[:, 0] * held.worth, read_variance(cells, noise_of(hw))[0][:, 0] * held.worth**2


def often_stuck(name, mapping):
    """Half of the cells: enough for 600 chips to show what a programmer does about them."""
    stuck = ("noise.stuck_low_fraction=0.25", "noise.stuck_high_fraction=0.25", f"noise.stuck_mapping={mapping}")
    return with_settings(load_hardware(name), ("noise.wire_ohm=0", *stuck))


@pytest.mark.parametrize(
    "hw",
    [
        *(calm(name) for name in ("hermes64", "analogai", "neurram", "taox64")),
        *(often_stuck("taox64", mapping) for mapping in ("none", "closest_value")),
    ],
    ids=lambda hw: f"{hw.name}, {hw.noise.stuck_mapping}",
)
def test_cells_in_training_spread_as_those_of_the_simulator(hw):
    noise, codes = writer(hw), torch.from_numpy(CODES).float()
    torch.manual_seed(0)
    drawn = [noise.write(codes, behind(codes)) for _ in range(600)]
    expected = [simulated(hw, seed) for seed in range(600)]
    for found, wanted in zip(
        (np.stack([w.weight.numpy() for w in drawn]), np.stack([w.variance.numpy() for w in drawn])),
        (np.stack([w for w, _ in expected]), np.stack([v for _, v in expected])),
        strict=True,
    ):
        used = (CODES != 0).any(-1)[..., None] & (CODES != 0).any(1)[:, None]
        mean, error = (wanted * used).mean(0), (wanted * used).std(0)
        assert (np.abs(found.mean(0) - mean) <= 6 * error / np.sqrt(300) + 1e-6).all()
        np.testing.assert_allclose(found.std(0), error, rtol=0.18, atol=1e-6)
    assert all((w.weight[1, :, 1] == 0).all() for w in drawn), "a row without a code is not driven"


def test_the_mean_of_drifted_cells_is_made_good_by_one_factor():
    """PCM after 30 days has lost a third of its conductance; the sum of magnitudes stays that of the first read."""
    noise, codes = writer("analogai", drift_s=30 * 86_400.0), torch.randint(-127, 128, (1, 40, 60)).float()
    found = []
    for seed in range(40):
        torch.manual_seed(seed)
        found.append(float(noise.write(codes, behind(codes)).weight.abs().sum() / codes.abs().sum()))
    np.testing.assert_allclose(found, 1, atol=0.05)


def test_a_common_factor_of_a_column_is_no_part_of_its_cells():
    """The compiler reads codes 3, 0, 120 as 1, 0, 40 in steps of 3, and their cells hold 3, 0, 120 either way."""
    noise, spreads = writer("taox64"), []
    for factor in (1, 3):
        torch.manual_seed(0)
        codes = factor * torch.tensor([[[1.0, 0, 40]]])
        spreads.append(noise.write(codes, behind(codes)).weight)
    torch.testing.assert_close(spreads[1], 3 * spreads[0])


def test_a_state_that_the_compiler_prunes_has_no_cells():
    """State 1 is fed by nothing, so y reads noise of its cells on no chip."""
    codes = torch.tensor([[[-9.0, 0, 100], [0, -1, 0], [5, 127, 11]]])
    torch.manual_seed(0)
    weight = writer("hermes64").write(codes, behind(codes), 2).weight
    assert torch.equal(weight[0, :, 1], torch.zeros(3))
    assert torch.equal(weight[0, 1], torch.zeros(3))
    assert weight[0, 0, 0] != 0


def test_poles_in_the_digital_unit_are_exact_and_leave_the_cells_to_b():
    """Alone in its column B is written as large as cells go, so it is as little off as they are; C, D are as ever."""
    noise = writer(calm("hermes64"), digital_poles=True)
    codes = torch.tensor([[[-9.0, 20, 3], [-20, -9, 1], [5, 127, 11]]])
    torch.manual_seed(0)
    drawn = [noise.write(codes, behind(codes), 2) for _ in range(300)]
    weight, variance = (torch.stack([getattr(w, name)[0] for w in drawn]) for name in ("weight", "variance"))
    assert torch.equal(weight[:, :2, :2], codes[0, :2, :2].expand(300, 2, 2))
    assert not variance[:, :2, :2].any()
    assert variance[:, :2, 2].all()
    off = (weight / codes[0] - 1).std(0)
    levels, hw = np.array([0.0, 127]), noise.config.hardware
    sigma = float(moments(levels, hw.cell, noise_of(hw))[1].sum() ** 0.5) / 127
    np.testing.assert_allclose(off[:2, 2], sigma, rtol=0.2)
    assert float(off[2, 0]) > 5 * sigma, "a 5 beside a 127"
    assert (noise.write(codes, behind(codes)).weight[0, :2, :2] != codes[0, :2, :2]).any(), "no states, no poles"


def test_converters_of_a_chip_are_not_alike():
    hw = load_hardware("taox64")
    figures = {"adc_offset_lsb": 0.5, "adc_gain_relative": 0.02, "adc_inl_lsb": 0.3}
    hw = replace(
        hw, noise=replace(hw.noise, **{k: replace(hw.noise.read_sigma_relative, value=v) for k, v in figures.items()})
    )
    noise = writer(hw)
    torch.manual_seed(0)
    codes = torch.ones(1, 5000, 2)
    drawn = noise.write(codes, behind(codes))
    for part, size in ((drawn.gain - 1, 0.02), (drawn.offset, 0.5), (drawn.bow, 0.3)):
        assert abs(float(part.std()) - size) < 0.05 * size


def test_conversions_are_noisy_while_a_model_is_trained():
    """sqrt(read^2 + noise^2) in front of a kernel's converters, and of a dense matrix's."""
    settings = ("noise.adc_enob=7", "noise.read_sigma_relative=0", "noise.adc_gain_relative=0")
    taox = with_settings(load_hardware("taox64"), settings)
    codes = torch.ones(1, 4, 2)
    written = writer(taox).write(codes, behind(codes))
    assert (written.fresh, written.variance) == (0.5, None)
    columns = Columns.quantizer(torch.ones(1, 4), torch.zeros(1, 4), (-128, 127)).deviating(written)
    v = torch.tensor([[3.0, 4.0]])
    assert torch.equal(columns.spread(v, None, 0.5), torch.full((4,), 0.5))
    variance = torch.full((1, 4, 2), 0.01)
    torch.testing.assert_close(columns.spread(v, variance, 0.5), torch.full((1, 4), (0.25 + 0.25) ** 0.5))
    assert columns.spread(v, None) is None


def test_a_pole_that_noise_pushes_outside_comes_back_and_others_stay():
    """r' = r + W r / 128. From -1 to 3 nothing above 0 will do; from -2 to 1 half of the way, -0.5, is inside."""
    two = lambda a: torch.tensor([[[a, 0.0, 9], [0, a, 9], [5, 5, 5]]])  # noqa: E731
    ones = torch.ones(1, 2)
    result = inside(two(-1.0), two(3.0), torch.full((1, 3), 1 / 128), ones, torch.ones(1, 1))
    assert torch.equal(result, two(-1.0))
    assert torch.equal(inside(two(-8.0), two(-4.0), torch.full((1, 3), 1 / 128), ones, torch.ones(1, 1)), two(-4.0))
    assert torch.equal(inside(two(-2.0), two(1.0), torch.full((1, 3), 1 / 128), ones, torch.ones(1, 1)), two(-0.5))


def signal(items, length, seed=0):
    return torch.randn(items, length, 3, generator=torch.Generator().manual_seed(seed))


def noisy(name="hermes64", **options):
    torch.manual_seed(0)
    quant = QuantConfig.for_hardware(name, device_noise=True, drift_s=1e6)
    model = S4DClassifier(ModelConfig(3, 5, d_model=4, d_state=4, quant=quant, **options))
    calibrate(model, [signal(4, 40, 1)])
    return model


def test_device_noise_is_there_in_training_alone_unless_asked_for():
    model = noisy().eval()
    clean = model(signal(2, 20))
    assert torch.equal(model(signal(2, 20)), clean)
    set_device_noise(model, True)
    assert not torch.equal(model(signal(2, 20)), model(signal(2, 20)))
    set_device_noise(model, None)
    assert torch.equal(model(signal(2, 20)), clean)
    model.train()
    assert not torch.equal(model(signal(2, 20)), model(signal(2, 20)))


def test_gradients_stay_finite_over_a_long_sequence_on_chips_with_unstable_poles():
    """Slow poles: half of the chips have some outside. A gradient through them would grow as 1.02^3000 = 1e26."""
    model = noisy(dt_min=1e-4, dt_max=1e-3).train()
    unstable = False
    for seed in range(4):
        model.zero_grad()
        torch.manual_seed(seed)
        model(signal(2, 3000, seed)).square().sum().backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        assert float(norm) < 1e12
        ssm = model.blocks[0].ssm
        bar = ssm.crossbar(*ssm.codes())
        unstable = unstable or not torch.equal(bar.weight.detach(), bar.gradient_through)
    assert unstable


class One:
    def training(self, rng):
        return [(signal(2, 10), None, torch.tensor([0, 1]))]

    def validation(self):
        return self.training(None)


def test_training_stops_where_a_gradient_is_not_finite_and_keeps_the_weights(tmp_path):
    model = S4DClassifier(ModelConfig(3, 5, d_model=4, d_state=4))
    model.decoder.linear.bias.register_hook(lambda grad: grad * float("inf"))
    before = {name: value.clone() for name, value in model.named_parameters()}
    with pytest.raises(DivergedError, match=r"the gradient is .* in epoch 1, batch 1, of phase 'bad'"):
        Trainer(model, One(), tmp_path / "c.pt").train(Phase("bad", 1, 1e-3, 1e-4))
    assert all(torch.equal(before[name], value) for name, value in model.named_parameters())

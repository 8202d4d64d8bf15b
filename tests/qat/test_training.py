"""Training in phases: stopped and resumed, coarse in time, with a teacher; configurations from a file."""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ssmc.qat import Mode, ModelConfig, QuantConfig, S4DClassifier, calibrate, set_mode  # noqa: E402
from ssmc.qat.kernel import discretise  # noqa: E402
from ssmc.qat.observer import EpochFigures, Observer  # noqa: E402
from ssmc.qat.training import Phase, Trainer, evaluate, mixture  # noqa: E402


class Tones:
    """Two classes: slow and fast sinusoids."""

    def training(self, rng):
        return [self._batch(rng) for _ in range(4)]

    def validation(self):
        return [self._batch(np.random.default_rng(99))]

    def _batch(self, rng):
        label = rng.integers(0, 2, 16)
        rate = np.where(label, 0.8, 0.2)[:, None] * rng.uniform(0.8, 1.2, (16, 1))
        x = np.sin(rate * np.arange(32) + rng.uniform(0, 6, (16, 1)))[..., None]
        return torch.from_numpy(x.astype(np.float32)), None, torch.from_numpy(label)


def model(quant: QuantConfig | None = None) -> S4DClassifier:
    torch.manual_seed(0)
    config = ModelConfig(1, 2, d_model=4, d_state=4, layers=1, dropout=0.1, dt_max=0.5, quant=quant or QuantConfig())
    made = S4DClassifier(config)
    set_mode(made, Mode.RECURRENT)
    return made


def weights(made: S4DClassifier) -> list[np.ndarray]:
    return [p.detach().numpy() for p in made.parameters()]


def test_training_learns_and_a_resumed_one_ends_with_the_same_weights(tmp_path):
    phase = Phase("float", 6, 2e-2, 5e-3)
    whole = model()
    Trainer(whole, Tones(), tmp_path / "a.pt").train(phase)
    assert evaluate(whole, Tones().validation())[0] > 0.9

    class Interrupted(Tones):
        epochs = 0

        def training(self, rng):
            self.epochs += 1
            if self.epochs == 5:  # one call counts the batches
                raise KeyboardInterrupt
            return super().training(rng)

    with pytest.raises(KeyboardInterrupt):
        Trainer(model(), Interrupted(), tmp_path / "b.pt").train(phase)
    resumed = model()
    trainer = Trainer(resumed, Tones(), tmp_path / "b.pt", resume=True)
    assert trainer.state["float"]["epoch"] == 3
    trainer.train(phase)
    assert all(np.array_equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))


class Recorder(Observer):
    """Keeps all that it is told."""

    def __init__(self):
        self.batches, self.epochs = [], []

    def on_batch(self, done, total):
        self.batches.append((done, total))

    def on_epoch(self, figures):
        self.epochs.append(figures)


def test_observers_are_told_every_batch_and_what_every_epoch_measured(tmp_path, monkeypatch):
    seen = iter([(0.5, 0.7), (0.75, 0.6)])
    monkeypatch.setattr("ssmc.qat.training.evaluate", lambda *_: next(seen))
    one, other = Recorder(), Recorder()
    trainer = Trainer(model(), Tones(), tmp_path / "o.pt", observers=(one, other))
    trainer.train(Phase("float", 2, 1e-3, 1e-3))
    assert one.batches == other.batches == 2 * [(done, 4) for done in (1, 2, 3, 4)]
    times = [figures.seconds for figures in one.epochs]
    assert one.epochs == other.epochs == [
        EpochFigures("float", 1, 2, 0.5, 0.7, times[0]),
        EpochFigures("float", 2, 2, 0.75, 0.6, times[1]),
    ]  # fmt: skip
    assert 0 < times[0] < times[1] == trainer.state["float"]["seconds"]


def test_a_training_without_observers_is_silent(tmp_path, capfd):
    Trainer(model(), Tones(), tmp_path / "o.pt").train(Phase("float", 1, 1e-3, 1e-3))
    assert capfd.readouterr() == ("", "")


def test_an_observer_that_raises_loses_no_epoch(tmp_path):
    """The checkpoint is written first: a training resumed from there ends as one that was not stopped."""

    class Stop(Observer):
        def on_epoch(self, figures):
            if figures.epoch == 2:
                raise KeyboardInterrupt

    phase, whole, resumed = Phase("float", 3, 2e-2, 5e-3), model(), model()
    Trainer(whole, Tones(), tmp_path / "a.pt").train(phase)
    with pytest.raises(KeyboardInterrupt):
        Trainer(model(), Tones(), tmp_path / "b.pt", observers=(Stop(),)).train(phase)
    rest = Recorder()
    Trainer(resumed, Tones(), tmp_path / "b.pt", resume=True, observers=(rest,)).train(phase)
    assert [figures.epoch for figures in rest.epochs] == [3]
    assert all(np.array_equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))


def test_a_coarse_phase_leaves_the_continuous_system_at_the_fine_step(tmp_path):
    """With a learning rate of zero the model comes back as it was; meanwhile its time step is four times as long."""
    made, steps = model(), []
    before = [w.copy() for w in weights(made)]
    made.register_forward_pre_hook(lambda m, _: steps.append(m.blocks[0].ssm.log_dt.detach().clone()))
    phase = Phase("coarse", 2, 1e-12, 1e-12, weight_decay=0.0, coarse=4)
    Trainer(made, Tones(), tmp_path / "c.pt").train(phase)
    for a, b in zip(before, weights(made), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    start = torch.from_numpy(before[[n for n, _ in made.named_parameters()].index("blocks.0.ssm.log_dt")])
    torch.testing.assert_close(steps[0], start + np.log(4), atol=1e-5, rtol=0)
    fine, _ = discretise(start, torch.zeros(4, 2), torch.zeros(4, 2))
    coarse, _ = discretise(steps[0], torch.zeros(4, 2), torch.zeros(4, 2))
    torch.testing.assert_close(1 + coarse.real, (1 + fine.real) ** 4)


def test_the_teacher_is_what_a_distilled_model_follows(tmp_path):
    """All of the loss on a teacher that calls everything class 1: so does the pupil."""
    teacher = model()
    torch.nn.init.zeros_(teacher.decoder.linear.weight)
    with torch.no_grad():
        teacher.decoder.linear.bias.copy_(torch.tensor([-4.0, 4.0]))
    pupil = model()
    Trainer(pupil, Tones(), tmp_path / "d.pt", teacher=teacher).train(Phase("qat", 4, 5e-2, 1e-3, distil=1.0))
    x, _, _ = Tones().validation()[0]
    assert (pupil.eval()(x).argmax(1) == 1).all()


def test_a_phase_of_another_length_is_begun_anew(tmp_path):
    """Three epochs, then one of the same name from their checkpoint: as if there were no checkpoint."""
    one, three = (Phase("float", epochs, 2e-2, 5e-3) for epochs in (1, 3))
    Trainer(model(), Tones(), tmp_path / "a.pt").train(three)
    again, fresh = model(), model()
    Trainer(again, Tones(), tmp_path / "a.pt", resume=True).train(one)
    Trainer(fresh, Tones(), tmp_path / "b.pt").train(one)
    assert all(np.array_equal(a, b) for a, b in zip(weights(again), weights(fresh), strict=True))


@pytest.mark.parametrize(("distil", "loss"), [(0.0, 0.5), (0.5, 0.3)])
def test_without_a_teacher_the_best_epoch_is_the_most_accurate_with_one_that_of_least_loss(
    tmp_path, monkeypatch, distil, loss
):
    seen = iter([(0.9, 0.5), (0.8, 0.3), (0.85, 0.4)])
    monkeypatch.setattr("ssmc.qat.training.evaluate", lambda *_: next(seen))
    trainer = Trainer(model(), Tones(), tmp_path / "g.pt", teacher=model())
    trainer.train(Phase("qat", 3, 1e-3, 1e-3, distil=distil))
    assert trainer.state["qat"]["key"][1] == -loss


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_kept_epoch_stays_in_the_model(tmp_path, monkeypatch, keep):
    """Of three epochs the first has the least held-out loss."""
    seen, made = iter([(0.9, 0.3), (0.8, 0.5), (0.85, 0.4)]), model()
    epochs = []

    def evaluated(trained, *_):
        epochs.append([w.copy() for w in weights(trained)])
        return next(seen)

    monkeypatch.setattr("ssmc.qat.training.evaluate", evaluated)
    Trainer(made, Tones(), tmp_path / "k.pt", teacher=model()).train(Phase("qat", 3, 1e-2, 1e-3, distil=0.5, keep=keep))
    assert not all(np.array_equal(a, b) for a, b in zip(epochs[0], epochs[2], strict=True))
    kept = epochs[0] if keep == "best" else epochs[2]
    assert all(np.array_equal(a, b) for a, b in zip(weights(made), kept, strict=True))


def test_a_mixture_lies_between_two_sequences_and_sees_no_padding():
    torch.manual_seed(0)
    x, lengths = torch.tensor([[1.0, 1.0, 50.0], [2.0, 2.0, 2.0]])[..., None], torch.tensor([2, 3])
    found = {(round(y[0].item(), 4), n.item()): y for _ in range(20) for y, n in zip(*mixture(x, lengths), strict=True)}
    assert all(1 <= first <= 2 for first, _ in found)
    assert {n for _, n in found} == {2, 3}
    for (first, n), y in found.items():
        share_of_longer = first - 1 if n == 3 else 0
        assert y[2].item() == pytest.approx(2 * share_of_longer, abs=1e-3)
    with pytest.raises(ValueError, match="a mixture has no label"):
        Phase("qat", 1, 1e-3, 1e-3, distil=0.5, mixed=True)


def test_the_refitted_readout_is_nearer_to_the_float_output():
    """Per channel, on the data it was fitted to, before C is rounded: never a larger squared error than the start."""
    x = torch.cat([batch[0] for batch in Tones().training(np.random.default_rng(0))])
    errors = []
    for refitted in (False, True):
        made = model(QuantConfig(kernel_bits=4, readout_bits=12, adc_bits=12, refitted=refitted, power_of_two=False))
        wanted = copy.deepcopy(made).blocks[0].ssm.eval()
        calibrate(made.eval(), [x])
        layer = made.blocks[0].ssm
        set_mode(made, Mode.RECURRENT)
        inputs = []
        hook = layer.register_forward_pre_hook(lambda _, fed, inputs=inputs: inputs.append(fed[0]))
        made(x)
        hook.remove()
        set_mode(made, Mode.QUANTIZED)
        errors.append((layer(inputs[0]) - wanted.real(inputs[0])).square().sum((0, 1)))
    assert (errors[1] <= 1.02 * errors[0]).all()
    assert errors[1].sum() < 0.5 * errors[0].sum()


def test_quantized_training_recovers_what_three_bits_lose(tmp_path):
    parent = model()
    Trainer(parent, Tones(), tmp_path / "e.pt").train(Phase("float", 6, 2e-2, 5e-3))
    child = model(QuantConfig.uniform(3, 4, form="mixed", power_of_two=False))
    child.load_state_dict({**child.state_dict(), **{k: v for k, v in parent.state_dict().items() if "step" not in k}})
    calibrate(child, [batch[0] for batch in Tones().training(np.random.default_rng(0))])
    many = [Tones()._batch(np.random.default_rng(seed)) for seed in range(100, 116)]
    before = evaluate(copy.deepcopy(child), many)[1]
    Trainer(child, Tones(), tmp_path / "f.pt").train(Phase("qat", 8, 5e-3, 1e-3, keep="last"))
    assert evaluate(child, many)[1] < 0.95 * before


def test_bits_from_a_file(tmp_path):
    path = tmp_path / "bits.toml"
    path.write_text('kernel_bits = 4\nreadout_bits = 6\nform = "mixed"\n')
    assert QuantConfig.from_toml(path) == QuantConfig(kernel_bits=4, readout_bits=6, form="mixed")
    path.write_text("kernel_bit = 4\n")
    with pytest.raises(ValueError, match=r"bits.toml: unknown key 'kernel_bit'; known are kernel_bits"):
        QuantConfig.from_toml(path)
    path.write_text("kernel_bits = 40\n")
    with pytest.raises(ValueError, match="kernel_bits is 40"):
        QuantConfig.from_toml(path)


@pytest.mark.parametrize("rates", [(), (2,)])
def test_padding_is_not_observed(rates):
    """Ranges and read-out of a padded batch are those of its sequences one by one, whatever stands in the padding."""
    x = torch.cat([batch[0] for batch in Tones().training(np.random.default_rng(0))])[:8]
    lengths = torch.tensor([32, 20, 31, 7, 32, 15, 2, 26])
    padded = x.clone()
    for row, length in zip(padded, lengths.tolist(), strict=True):
        row[length:] = 50.0
    found = []
    for batches in ([row[None, :length] for row, length in zip(x, lengths.tolist(), strict=True)], [(padded, lengths)]):
        torch.manual_seed(0)
        quant = QuantConfig(kernel_bits=5, readout_bits=8, power_of_two=False)
        made = S4DClassifier(ModelConfig(1, 2, d_model=4, d_state=4, layers=1, dt_max=0.5, quant=quant, rates=rates))
        calibrate(made.eval(), batches)
        found.append(made.state_dict())
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-5, msg=name)

"""Data of one's own: arrays, loaders, generators; and what a trainer refuses of them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from ssmc.qat import (  # noqa: E402
    Arrays,
    CsvLog,
    DivergedError,
    EarlyStop,
    Loaders,
    Mode,
    ModelConfig,
    Phase,
    TensorBoardLog,
    Trainer,
    evaluate,
    macro_f1,
    set_mode,
)
from tests.qat.test_training import Tones, model  # noqa: E402

PHASE = Phase("float", 2, 2e-2, 5e-3)


def tensors() -> tuple[torch.Tensor, torch.Tensor]:
    x, _, label = Tones().training(np.random.default_rng(0))[0]
    return x, label


def test_held_out_sequences_are_never_trained_on_and_all_are_used() -> None:
    x = np.arange(20, dtype=np.float32)[:, None, None]
    data = Arrays(x, np.zeros(20, int), batch=7, held_out=0.25, augment=lambda x, rng: x + 100)
    held = torch.cat([b[0] for b in data.validation()]).flatten().tolist()
    taught = torch.cat([b[0] for b in data.training(np.random.default_rng(0))]).flatten().tolist()
    assert len(held) == 5
    assert sorted(held + [v - 100 for v in taught]) == list(range(20))
    assert [len(b[0]) for b in data.training(np.random.default_rng(0))] == [7, 7, 1]
    again = torch.cat([b[0] for b in data.training(np.random.default_rng(0))]).flatten().tolist()
    assert again == taught
    assert taught != torch.cat([b[0] for b in data.training(np.random.default_rng(1))]).flatten().tolist()


def test_a_torch_loader_trains_and_resumes_with_the_same_numbers(tmp_path: Path) -> None:
    dataset = TensorDataset(*tensors())
    data = Loaders(DataLoader(dataset, batch_size=4, shuffle=True), DataLoader(dataset, batch_size=8))
    whole, part, rest = model(), model(), model()
    Trainer(whole, data, tmp_path / "a.pt").train(PHASE)

    class Stop(EarlyStop):
        def on_epoch(self, figures):  # type: ignore[no-untyped-def]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(part, data, tmp_path / "b.pt", observers=(Stop(1),)).train(PHASE)
    Trainer(rest, data, tmp_path / "b.pt", resume=True).train(PHASE)
    assert all((a == b).all() for a, b in zip(whole.parameters(), rest.parameters(), strict=True))


def test_generators_say_how_many_batches_an_epoch_has(tmp_path: Path) -> None:
    x, label = tensors()

    def endless():  # type: ignore[no-untyped-def]
        while True:
            yield x, torch.full((len(x),), 30), label

    with pytest.raises(ValueError, match="give steps"):
        Loaders(endless, [(x, label)])
    data = Loaders(endless, [(x, label)], steps=3)
    assert len(list(data.training(np.random.default_rng(0)))) == 3
    Trainer(model(), data, tmp_path / "a.pt").train(PHASE)
    with pytest.raises(ValueError, match="ended after 1 of 3"):
        Trainer(model(), Loaders(lambda: [(x, label)], [(x, label)], steps=3), tmp_path / "c.pt").train(PHASE)
    with pytest.raises(ValueError, match="after 1 of 2 batches; a generator ends once"):
        list(Loaders((batch for batch in [(x, label)]), [(x, label)], steps=2).training(np.random.default_rng(0)))
    with pytest.raises(ValueError, match="0 batches: give a loader that is not empty"):
        Loaders([], [(x, label)])


def test_a_log_has_a_row_an_epoch_and_early_stop_ends_the_phase(tmp_path: Path) -> None:
    """A rate of almost nothing never improves the first epoch's loss by itself: two epochs later the phase ends."""
    stop, phase = EarlyStop(2), Phase("still", 9, 1e-30, 1e-30, weight_decay=0.0)
    trainer = Trainer(model(), Tones(), tmp_path / "a.pt", observers=(stop, CsvLog(tmp_path / "log.csv")))
    trainer.train(phase)
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == [str(1 + k) for k in range(len(rows))]
    assert 3 <= len(rows) < 9
    assert float(rows[-1]["loss"]) == pytest.approx(trainer_loss(trainer), rel=1e-2)
    Trainer(model(), Tones(), tmp_path / "a.pt", resume=True, observers=(CsvLog(tmp_path / "log.csv"),)).train(phase)
    assert len(list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))) == len(rows)


def trainer_loss(trainer: Trainer) -> float:
    return evaluate(trainer.model, trainer.data.validation())[1]


def test_tensorboard_is_told_score_and_loss(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    Trainer(model(), Tones(), tmp_path / "a.pt", observers=(TensorBoardLog(tmp_path / "log"),)).train(PHASE)
    assert list((tmp_path / "log").glob("events.*"))


def test_loss_metric_and_schedule_of_ones_own(tmp_path: Path) -> None:
    rates = []

    def constant(optimizer, phase, steps):  # type: ignore[no-untyped-def]
        rates.append((phase.name, steps))
        return torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)

    weights = torch.tensor([0.0, 1.0])
    made = model()
    loss = torch.nn.CrossEntropyLoss(weight=weights)
    trainer = Trainer(made, Tones(), tmp_path / "a.pt", loss=loss, metric=macro_f1, schedule=constant)
    trainer.train(Phase("float", 3, 5e-2, 5e-3, keep="last"))
    assert rates == [("float", 12)]
    x, _, _ = Tones().validation()[0]
    assert (made.eval()(x).argmax(1) == 1).all()  # class 0 weighs nothing


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    x, label = tensors()
    made, path = model(), tmp_path / "a.pt"
    for batch, says in (
        ((x.double(), label), "float64"),
        ((x[0], label), "give sequences"),
        ((x, torch.full((len(x),), 33), label), "from 1 to 32"),
        ((x, torch.zeros(len(x), dtype=torch.int64), label), "from 1 to 32"),
        ((x,), r"tuple \(Tensor\): give tensors"),
        ((x.numpy(), label.numpy()), r"tuple \(ndarray, ndarray\): give tensors"),
        ({"x": x, "label": label}, "a batch is dict"),
        ((x[..., :0], label), "takes 1 features a step"),
        ((x, label[:-1]), "give one for each of 16"),
    ):
        with pytest.raises(ValueError, match=says):
            Trainer(made, Loaders([batch], [batch]), path).train(PHASE)
    with pytest.raises(ValueError, match="teacher"):
        Trainer(made, Tones(), path).train(Phase("qat", 1, 1e-3, 1e-3, distil=0.5))
    own = torch.nn.MSELoss()
    with pytest.raises(ValueError, match="loss of your own"):
        Trainer(made, Tones(), path, teacher=made, loss=own).train(Phase("qat", 1, 1e-3, 1e-3, distil=0.5))
    set_mode(made, Mode.QUANTIZED)
    with pytest.raises(ValueError, match="calibrate"):
        Trainer(made, Tones(), path).train(PHASE)
    for field in ({"pooling": "max"}, {"activation": "tanh"}, {"d_state": 5}, {"input_gain": (1.0, 2.0)}):
        with pytest.raises(ValueError, match=next(iter(field))):
            ModelConfig(1, 2, **field)


def test_a_loss_that_is_no_number_stops_the_training_and_the_checkpoint_is_from_before(tmp_path: Path) -> None:
    class Broken(Tones):
        epochs = 0

        def training(self, rng):  # type: ignore[no-untyped-def]
            self.epochs += 1
            found = super().training(rng)
            if self.epochs == 3:  # one call counts the batches
                found[1] = (found[1][0] * float("nan"), *found[1][1:])
            return found

    trainer = Trainer(model(), Broken(), tmp_path / "a.pt")
    with pytest.raises(DivergedError, match=r"epoch 2, batch 2, of phase 'float'"):
        trainer.train(PHASE)
    kept = torch.load(tmp_path / "a.pt", weights_only=False)["float"]
    assert kept["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in kept["model"].values())

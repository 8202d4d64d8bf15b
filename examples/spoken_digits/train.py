"""Train the spoken-digits model: float by convolution, then quantized by recurrence; export both to ONNX."""

from __future__ import annotations

import copy
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from recordings import FRAME, Split, evaluation_batches, frames, load_splits, training_batches, write_npz
from torch import nn
from tqdm import tqdm

from ssmc.qat import Mode, ModelConfig, QuantConfig, S4DClassifier, calibrate, set_mode

CHECKPOINT = Path("runs/spoken_digits/checkpoint.pt")
UNRECORDED = ("data", "out", "checkpoint", "resume")  # where things lie, not what they are
SSM_PARAMETERS = ("log_dt", "log_A_real", "A_imag")


@dataclass(frozen=True)
class Phase:
    """One leg of the training."""

    name: str
    epochs: int
    lr: float
    ssm_lr: float


def optimiser(model: nn.Module, phase: Phase, steps: int) -> tuple[torch.optim.Optimizer, Any]:
    """AdamW with a one-cycle schedule; the poles get their own rate and no weight decay."""
    poles = [p for name, p in model.named_parameters() if name.rsplit(".", 1)[-1] in SSM_PARAMETERS]
    others = [p for name, p in model.named_parameters() if name.rsplit(".", 1)[-1] not in SSM_PARAMETERS]
    groups = [{"params": others, "weight_decay": 0.02}, {"params": poles, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=phase.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [phase.lr, phase.ssm_lr], steps, pct_start=0.15)
    return optimizer, schedule


@torch.no_grad()
def evaluate(model: nn.Module, split: Split) -> tuple[float, float]:
    """(accuracy, cross entropy) on the split as recorded."""
    model.eval()
    right, loss = 0, 0.0
    for x, lengths, label in evaluation_batches(split):
        logits = model(x, lengths)
        right += int((logits.argmax(1) == label).sum())
        loss += float(nn.functional.cross_entropy(logits, label, reduction="sum"))
    return right / len(split), loss / len(split)


@dataclass
class Run:
    """A training in progress; everything a checkpoint holds."""

    model: S4DClassifier
    splits: dict[str, Split]
    seed: int
    batch: int
    checkpoint: Path
    state: dict[str, Any]

    def save(self) -> None:
        """Write the checkpoint to a temporary name, then rename."""
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(self.state, temporary)
        os.replace(temporary, self.checkpoint)

    def train(self, phase: Phase) -> None:
        """Train one phase from where the checkpoint left it; leaves the best model by validation in ``self.model``."""
        at = self.state.setdefault(phase.name, {"epoch": 0, "best": None, "key": (-1.0, 0.0), "seconds": 0.0})
        if phase.epochs == 0:
            return
        steps = len(training_batches(self.splits["train"], self.batch, np.random.default_rng(self.seed)))
        optimizer, schedule = optimiser(self.model, phase, phase.epochs * steps + phase.epochs)
        if at["epoch"]:
            self.model.load_state_dict(at["model"])
            optimizer.load_state_dict(at["optimizer"])
            schedule.load_state_dict(at["schedule"])
        for epoch in range(at["epoch"], phase.epochs):
            start = time.monotonic()
            self._epoch(phase, epoch, optimizer, schedule)
            accuracy, loss = evaluate(self.model, self.splits["val"])
            if (accuracy, -loss) >= tuple(at["key"]):
                at["key"], at["best"] = (accuracy, -loss), copy.deepcopy(self.model.state_dict())
            at.update(
                epoch=epoch + 1,
                model=self.model.state_dict(),
                optimizer=optimizer.state_dict(),
                schedule=schedule.state_dict(),
                seconds=at["seconds"] + time.monotonic() - start,
            )
            self.save()
            click.echo(
                f"{phase.name} epoch {epoch + 1}/{phase.epochs}: val {accuracy:.4f} loss {loss:.4f}"
                f" ({at['seconds']:.0f} s)"
            )
        self.model.load_state_dict(at["best"])

    def _epoch(self, phase: Phase, epoch: int, optimizer: torch.optim.Optimizer, schedule: Any) -> None:
        """One pass over the augmented recordings; random numbers depend on (seed, phase, epoch) alone."""
        key = [self.seed, len(phase.name), epoch]
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
        self.model.train()
        batches = training_batches(self.splits["train"], self.batch, np.random.default_rng(key))
        for x, lengths, label in tqdm(batches, leave=False, disable=not sys.stderr.isatty()):
            loss = nn.functional.cross_entropy(self.model(x, lengths), label, label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()
            schedule.step()


def calibration_items(split: Split, count: int = 200) -> list[torch.Tensor]:
    """Single training recordings, unpadded, evenly over the split."""
    chosen = np.linspace(0, len(split) - 1, count).astype(int)
    return [torch.from_numpy(frames(split.audio[i]).astype(np.float32))[None] for i in chosen]


@click.command(help=__doc__)
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True, help="fsdd.npz")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path(__file__).parent)
@click.option("--checkpoint", type=click.Path(dir_okay=False, path_type=Path), default=CHECKPOINT, show_default=True)
@click.option("--epochs", default=80, show_default=True, help="float pre-training")
@click.option("--qat-epochs", default=12, show_default=True, help="quantization-aware training")
@click.option("--qat-lr", default=1e-4, show_default=True, help="the poles learn at a tenth of it")
@click.option("--seed", default=0, show_default=True)
@click.option("--batch", default=32, show_default=True)
@click.option("--layers", default=3, show_default=True)
@click.option("--d-model", default=64, show_default=True)
@click.option("--d-state", default=16, show_default=True)
@click.option("--dropout", default=0.1, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--resume", is_flag=True, help="go on from the checkpoint")
def main(
    data: Path,
    out: Path,
    checkpoint: Path,
    epochs: int,
    qat_epochs: int,
    qat_lr: float,
    seed: int,
    batch: int,
    layers: int,
    d_model: int,
    d_state: int,
    dropout: float,
    threads: int,
    resume: bool,
) -> None:
    """Train, quantize, fine-tune, export."""
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    splits = load_splits(data)
    torch.manual_seed(seed)
    config = ModelConfig(
        d_input=FRAME,
        d_output=10,
        d_model=d_model,
        d_state=d_state,
        layers=layers,
        dropout=dropout,
        input_gain=2.0**-15,
        dt_min=4e-3,
        dt_max=0.3,
        quant=QuantConfig(),
    )
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    state = torch.load(checkpoint, weights_only=False) if resume else {}
    run = Run(S4DClassifier(config), splits, seed, batch, checkpoint, state)

    run.train(Phase("float", epochs, 4e-3, 1e-3))
    twin = copy.deepcopy(run.model)
    calibrate(run.model, calibration_items(splits["train"]))
    post_training = evaluate(run.model, splits["val"])[0]
    click.echo(f"post-training quantization: val {post_training:.4f}")
    run.train(Phase("qat", qat_epochs, qat_lr, qat_lr / 10))
    set_mode(run.model, Mode.QUANTIZED)
    write_outputs(run, twin, config, out, post_training)


def command_line() -> str:
    """The command that makes these results, every option that matters written out."""
    options = click.get_current_context().params
    words = [f"--{name.replace('_', '-')} {value}" for name, value in options.items() if name not in UNRECORDED]
    return " ".join(["python examples/spoken_digits/train.py --data fsdd.npz", *words])


def write_outputs(run: Run, twin: S4DClassifier, config: ModelConfig, out: Path, post_training: float) -> None:
    """model.onnx, model_float.onnx, test.npz and results.json."""
    from ssmc.export import export_onnx

    example = torch.from_numpy(frames(run.splits["test"].audio[0]).astype(np.float32))[None]
    export_onnx(run.model, example, out / "model.onnx")
    export_onnx(twin, example, out / "model_float.onnx")
    write_npz(run.splits["test"], out / "test.npz")
    results = {
        "task": "spoken digits (FSDD), official test part, 300 recordings",
        "accuracy": {
            part: {"float": evaluate(twin, run.splits[part])[0], "qat": evaluate(run.model, run.splits[part])[0]}
            for part in ("val", "test")
        },
        "accuracy_val_post_training": post_training,
        "model": asdict(config),
        "parameters": sum(p.numel() for p in twin.parameters()),
        "seed": run.seed,
        "epochs": {name: run.state[name]["epoch"] for name in ("float", "qat")},
        "train_seconds": {name: round(run.state[name]["seconds"]) for name in ("float", "qat")},
        "command": command_line(),
    }
    (out / "results.json").write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")
    click.echo(json.dumps(results["accuracy"], indent=2))


if __name__ == "__main__":
    main()

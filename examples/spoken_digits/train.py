"""Train the spoken-digits model: float by convolution, then quantized by recurrence; export both to ONNX.

\b
    python -m examples.spoken_digits.train --data fsdd.npz

Writes model.onnx, model_float.onnx, test.npz and results.json to the folder OUT.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import torch

from examples.lib import options
from examples.lib.folders import RUNS
from examples.lib.progress import ConsoleProgress
from examples.lib.speech import speech_model
from examples.lib.sweep import written
from examples.spoken_digits.recordings import Recordings, write_npz
from ssmc.export import export_onnx
from ssmc.qat import S4DClassifier, calibrate
from ssmc.qat.training import Phase, Trainer, evaluate

FOLDER = RUNS / "spoken_digits" / "demo"
NOT_RECORDED = ("data", "out", "checkpoint", "resume")  # say where files are, and change no result


@click.command(help=__doc__)
@options.data
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=FOLDER, show_default=True)
@click.option(
    "--checkpoint", type=click.Path(dir_okay=False, path_type=Path), default=FOLDER / "checkpoint.pt", show_default=True
)
@click.option("--resume", is_flag=True, help="Continue from the checkpoint.")
@click.option("--epochs", default=80, show_default=True, help="Epochs of float training.")
@click.option("--qat-epochs", default=12, show_default=True, help="Epochs of quantization-aware training.")
@click.option("--qat-lr", default=1e-4, show_default=True, help="Its learning rate; the poles learn at a tenth of it.")
@options.seed
@click.option("--batch", default=32, show_default=True, help="Recordings in a batch.")
@click.option("--layers", default=3, show_default=True, help="S4D blocks.")
@click.option("--d-model", default=64, show_default=True, help="Channels.")
@click.option("--d-state", default=16, show_default=True, help="Real states of a channel: twice its complex modes.")
@click.option("--dropout", default=0.1, show_default=True)
@options.threads
def main(
    data: Path,
    out: Path,
    checkpoint: Path,
    resume: bool,
    epochs: int,
    qat_epochs: int,
    qat_lr: float,
    seed: int,
    batch: int,
    **shape: Any,
) -> None:
    """Train, quantize, fine-tune, export."""
    recordings = Recordings(data, batch)
    torch.manual_seed(seed)
    model = S4DClassifier(replace(speech_model(10), **shape))
    trainer = Trainer(model, recordings, checkpoint, seed, resume, observers=(ConsoleProgress(),))
    trainer.train(Phase("float", epochs, 4e-3, 1e-3))
    twin = copy.deepcopy(model)
    calibrate(model, recordings.calibration())
    post_training = evaluate(model, recordings.validation())[0]
    click.echo(f"quantized without training: val {post_training:.4f}")
    trainer.train(Phase("qat", qat_epochs, qat_lr, qat_lr / 10))
    results = {
        "accuracy": accuracies(twin, model, recordings),
        "accuracy_val_post_training": post_training,
        "command": command_line(),
        "epochs": {name: phase["epoch"] for name, phase in trainer.state.items()},
        "seed": seed,
        "train_seconds": {name: round(phase["seconds"]) for name, phase in trainer.state.items()},
    }
    write_outputs(model, twin, recordings, results, out)
    click.echo(json.dumps(results["accuracy"], indent=2))


def accuracies(twin: S4DClassifier, model: S4DClassifier, recordings: Recordings) -> dict[str, dict[str, float]]:
    """Accuracy of the float model and of the fine-tuned one, on the held-out part and on the test part."""
    return {
        part: {name: evaluate(each, batches())[0] for name, each in (("float", twin), ("qat", model))}
        for part, batches in (("val", recordings.validation), ("test", recordings.testing))
    }


def command_line() -> str:
    """The command that makes these results, with every option that changes them."""
    chosen = click.get_current_context().params
    words = [f"--{name.replace('_', '-')} {value}" for name, value in chosen.items() if name not in NOT_RECORDED]
    threads = f"--threads {torch.get_num_threads()}"
    return " ".join(["python -m examples.spoken_digits.train --data fsdd.npz", *words, threads])


def write_outputs(
    model: S4DClassifier, twin: S4DClassifier, recordings: Recordings, results: dict[str, Any], out: Path
) -> None:
    """Both models, the test part, and ``results`` into results.json, whose other entries stay."""
    out.mkdir(parents=True, exist_ok=True)
    example = recordings.calibration()[0]
    export_onnx(model, example, out / "model.onnx")
    export_onnx(twin, example, out / "model_float.onnx")
    write_npz(recordings.splits["test"], out / "test.npz")
    path = out / "results.json"
    document = {
        **(json.loads(path.read_text()) if path.is_file() else {}),
        "task": "spoken digits (FSDD), official test part, 300 recordings",
        "model": asdict(twin.config),
        "parameters": sum(p.numel() for p in twin.parameters()),
        **results,
    }
    written(path, document)


if __name__ == "__main__":
    main()

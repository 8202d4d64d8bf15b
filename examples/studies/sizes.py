"""Bits against width and against state size: accuracy over model size, after a few epochs of fine-tuning.

\b
    python -m examples.studies.sizes --task spoken_digits --data fsdd.npz

Widths H have float models of their own, trained for the same number of epochs; state sizes are the widest trained model
with fewer modes a channel. Every point is the compiled integer program on the whole test part. Writes sizes.json and
sizes.svg into the folder of the task; points that the file already has are not made again.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from examples.lib import options
from examples.lib.experiment import calibrated
from examples.lib.parents import Task, float_model, tuned
from examples.lib.rows import compiled, costs, exported
from examples.lib.sweep import begun, drawing, written
from examples.studies.tasks import TASKS, study_options
from ssmc.qat import QuantConfig
from ssmc.qat.training import Phase, evaluate

BITS = (8, 6, 4)
WIDTHS = (16, 32, 64)
MODES = (2, 4, 8)
TICKS = (1, 2, 5, 10, 20)


@dataclass(frozen=True)
class Size:
    """Channels, complex modes a channel."""

    channels: int
    modes: int

    @property
    def name(self) -> str:
        """As in the file: H, and N real states."""
        return f"H{self.channels} N{2 * self.modes}"


def shaped(task: Task, channels: int, epochs: int) -> Task:
    """The task with another width and as long a float training; its float model has a folder of its own."""
    phases = (replace(task.float_phases[-1], epochs=epochs),)
    folder = f"{task.name}/sizes/h{channels}"
    return replace(task, name=folder, model=replace(task.model, d_model=channels), float_phases=phases)


def measured(task: Task, size: Size, bits: int, seed: int) -> dict[str, float]:
    """Accuracy on the test part and costs of the compiled program; activations keep 6 bits where there are fewer."""
    name = f"sizes-n{2 * size.modes}-{bits}"
    quant = QuantConfig.uniform(bits, max(bits, 6), form="mixed", power_of_two=False)
    model = tuned(task, calibrated(task, quant, seed, size.modes), name, seed)
    with tempfile.TemporaryDirectory() as folder:
        program, scores = compiled(task, exported(task, model, Path(folder) / f"{name}.onnx"))
    found = costs(program, task.model)
    return {"accuracy": scores["accuracy_compiled"], **{name: found[name] for name in ("ace", "size_bits", "adc")}}


def plot(document: dict[str, Any], path: Path) -> None:
    """Accuracy over model size in kB: widths left, state sizes right, a line for every number of bits."""
    with drawing(path, 1, 2, figsize=(10, 4), sharex=True, sharey=True) as ((*panels,),):
        widest = max(MODES)
        choices = (
            ("width H, N = 16", [Size(h, widest) for h in WIDTHS], [f"{h}" for h in WIDTHS]),
            ("state size N, H = 64", [Size(64, m) for m in MODES], [f"{2 * m}" for m in MODES]),
        )
        for panel, (title, sizes, labels) in zip(panels, choices, strict=True):
            for bits in BITS:
                points = [document["points"][size.name][str(bits)] for size in sizes]
                x, y = [p["size_bits"] / 8000 for p in points], [100 * p["accuracy"] for p in points]
                panel.plot(x, y, marker="o", label=f"{bits} bits" + (", activations 6" if bits < 6 else ""))
                for left, up, label in zip(x, y, labels, strict=True):
                    panel.annotate(label, (left, up), textcoords="offset points", xytext=(3, -11), fontsize=8)
            panel.set(title=title, xscale="log", xlabel="model size, kB")
            panel.set_xticks(TICKS, labels=[str(tick) for tick in TICKS])
            panel.minorticks_off()
            panel.grid(alpha=0.3)
        panels[0].set_ylabel("test accuracy, %")
        panels[0].legend()


@click.command(help=__doc__)
@study_options
@click.option("--float-epochs", default=30, show_default=True, help="Epochs of training of each float model.")
@click.option("--epochs", default=2, show_default=True, help="Epochs of fine-tuning, with the float model as teacher.")
@options.seed
def main(name: str, data: Path, float_epochs: int, epochs: int, seed: int) -> None:
    """Measure the points that are missing, then draw all."""
    task = replace(TASKS[name](data), qat_phases=(Phase("qat", epochs, 1e-3, 2e-4, distil=1.0),))
    path = task.folder / "sizes.json"
    setting = {"epochs": epochs, "float_epochs": float_epochs, "seed": seed, "samples": len(task.data.samples())}
    document = begun(path, setting, {"float": {}, "points": {}})
    sizes = dict.fromkeys([Size(h, max(MODES)) for h in WIDTHS] + [Size(64, m) for m in MODES])
    for size in sizes:
        this = shaped(task, size.channels, float_epochs)
        document["float"][f"H{size.channels}"] = evaluate(float_model(this, seed), this.data.testing())[0]
        points = document["points"].setdefault(size.name, {})
        for bits in BITS:
            if str(bits) not in points:
                points[str(bits)] = measured(this, size, bits, seed)
                written(path, document)
                click.echo(f"{size.name}, {bits} bits: {points[str(bits)]}")
    plot(document, path.with_suffix(".svg"))


if __name__ == "__main__":
    main()

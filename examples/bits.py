"""Accuracy against the bits of one tensor at a time, everything else at 8: post-training, and after fine-tuning.

\b
    python -m examples.bits --task commands --data asc12_8khz.npz --method ptq
    python -m examples.bits --task commands --data asc12_8khz.npz --method qat --epochs 5

Held-out accuracy by torch of seed 0. Every point is kept in bits.json beside the task's results as soon as it is
there; a second run goes on where the first one stopped. bits.svg shows all that there are.
"""

from __future__ import annotations

import importlib
import json
import os
from dataclasses import replace
from pathlib import Path

import click
import matplotlib as mpl
import torch
from tqdm import tqdm

from examples.experiment import HERE, Task, quantized
from ssmc.qat import QuantConfig
from ssmc.qat.training import evaluate

TASKS = {
    "smnist": "examples.smnist.train",
    "commands": "examples.commands.train",
    "spoken_digits": "examples.spoken_digits.experiment",
    "ecg": "examples.ecg.train",
}
TENSORS = {
    "A, B": ("kernel_bits",),
    "C, D": ("readout_bits",),
    "state, ADC": ("state_dac_bits", "adc_bits"),
    "mixing": ("weight_bits",),
    "coder": ("coder_bits",),
    "activations": ("activation_bits", "gate_bits"),
    "all": (
        "kernel_bits", "readout_bits", "state_dac_bits", "adc_bits", "weight_bits", "coder_bits", "activation_bits",
        "gate_bits",
    ),
}  # fmt: skip
REST = QuantConfig.uniform(8, form="mixed", power_of_two=False, readout_bits=8, coder_bits=8)


def point(task: Task, tensor: str, bits: int, method: str) -> float:
    """Held-out accuracy with ``tensor`` at ``bits``."""
    quant = replace(REST, **dict.fromkeys(TENSORS[tensor], bits))
    name = f"{method}-bits-{'-'.join(tensor.replace(',', '').split())}-{bits}"
    return evaluate(quantized(task, quant, name, 0, method), task.data.validation())[0]


def plot(points: dict[str, dict[str, dict[str, float]]], float_accuracy: float, path: Path) -> None:
    """One panel a method, one line a tensor."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "ssmc"
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(points), figsize=(4.4 * len(points), 3.6), sharey=True, squeeze=False)
    for axes, (method, lines) in zip(panels[0], sorted(points.items()), strict=True):
        for tensor in (name for name in TENSORS if name in lines):
            found = sorted((int(bits), accuracy) for bits, accuracy in lines[tensor].items())
            axes.plot([b for b, _ in found], [100 * a for _, a in found], marker="o", markersize=3, label=tensor)
        axes.axhline(100 * float_accuracy, color="0.5", linestyle="--", linewidth=1, label="float")
        axes.set(xlabel="bits of this tensor, 8 of the others", title=method)
        axes.grid(alpha=0.3)
    panels[0][0].set_ylabel("held-out accuracy, %")
    panels[0][-1].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


@click.command(help=__doc__)
@click.option("--task", "name", type=click.Choice(sorted(TASKS)), required=True)
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--method", type=click.Choice(["ptq", "qat"]), default="ptq", show_default=True)
@click.option("--bits", "widths", type=int, multiple=True, default=(2, 3, 4, 5, 6, 8), show_default=True)
@click.option("--epochs", default=5, show_default=True, help="of the last phase of quantization-aware training")
@click.option("--threads", default=1, show_default=True)
def main(name: str, data: Path, method: str, widths: tuple[int, ...], epochs: int, threads: int) -> None:
    """All points of one method."""
    torch.set_num_threads(threads)
    task: Task = importlib.import_module(TASKS[name]).task(data)
    *first, last = task.qat_phases
    task = replace(task, qat_phases=(*first, replace(last, epochs=epochs)))
    path = HERE / name / "bits.json"
    document = json.loads(path.read_text()) if path.exists() else {"accuracy_held_out": {}}
    document.setdefault("epochs", {})[method] = epochs if method == "qat" else 0
    lines = document["accuracy_held_out"].setdefault(method, {})
    for tensor, bits in tqdm([(tensor, bits) for tensor in TENSORS for bits in widths]):
        if str(bits) not in lines.setdefault(tensor, {}):
            lines[tensor][str(bits)] = point(task, tensor, bits, method)
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
            os.replace(temporary, path)
    rows = json.loads((HERE / name / "results.json").read_text())["rows"]
    baseline = next(row["accuracy_val"] for row in rows if row["method"] == "float" and row["seed"] == 0)
    plot(document["accuracy_held_out"], baseline, HERE / name / "bits.svg")


if __name__ == "__main__":
    main()

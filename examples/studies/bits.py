"""Accuracy against the bits of one tensor, everything else at 8 bits: after training, and fine-tuned.

\b
    python -m examples.studies.bits --task spoken_digits --data fsdd.npz

Every point is the compiled integer program on the whole test part. Writes bits.json and bits.svg into the folder of
the task; points that the file already has are not made again. The published curves beside ours are of another task,
grayscale sCIFAR-10 (arXiv 2507.06079, S4D with 4 layers, H = 128, N = 128, digitised from its figure): points below
its reference.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from examples.lib import options
from examples.lib.experiment import calibrated
from examples.lib.parents import Task, float_model, tuned
from examples.lib.rows import compiled, exported
from examples.lib.sweep import begun, drawing, written
from examples.studies.tasks import TASKS, study_options
from ssmc.qat import QuantConfig, S4DClassifier
from ssmc.qat.training import Phase, evaluate

BASE = 8
WIDTHS = (BASE, 4, 3, 2)
TENSORS: dict[str, tuple[str, ...]] = {
    "A, B": ("kernel_bits",),
    "C, D": ("readout_bits",),
    "state, ADC": ("state_dac_bits", "adc_bits"),
    "activations": ("activation_bits", "gate_bits"),
    "mixing": ("weight_bits",),
    "encoder, decoder": ("coder_bits",),
}
EVERYTHING = tuple(name for names in TENSORS.values() for name in names)
PUBLISHED_REFERENCE = 84.26
PUBLISHED: dict[str, dict[str, dict[int, float]]] = {  # accuracy by bits; their A has no B beside it, their C no D
    "ptq": {
        "A, B": {6: 51.6, 7: 76.3, 8: 82.6, 9: 83.7, 10: 84.0},
        "C, D": {3: 57.1, 4: 82.8, 5: 83.4, 6: 84.1},
        "state, ADC": {5: 19.0, 6: 49.0, 7: 72.5, 8: 83.9, 9: 85.1},
        "activations": {4: 68.6, 5: 80.1, 6: 82.7, 7: 83.8},
        "mixing": {3: 74.8, 4: 82.2, 5: 83.8},
        "encoder, decoder": {1: 68.8, 2: 80.5, 3: 83.3, 4: 83.8},
        "everything": {6: 20.4, 7: 53.9, 8: 80.5, 9: 83.7, 10: 84.0},
    },
    "qat": {
        "A, B": {1: 46.7, 2: 59.3, 3: 69.6, 4: 76.1, 5: 83.9, 6: 85.1, 8: 85.2},
        "C, D": {1: 77.9, 2: 83.7, 3: 84.8},
        "state, ADC": {3: 33.6, 4: 65.3, 5: 84.4, 6: 85.1},
        "activations": {3: 62.0, 4: 81.4, 5: 83.7, 6: 84.4},
        "mixing": {1: 61.5, 2: 81.3, 3: 83.5, 4: 84.4},
        "encoder, decoder": {1: 80.6, 2: 83.8, 3: 84.6},
        "everything": {3: 28.0, 4: 50.5, 5: 62.0, 6: 83.2, 7: 84.0, 8: 83.7, 9: 84.8, 10: 84.5},
    },
}


def config(tensor: str, bits: int) -> QuantConfig:
    """8 bits, but ``bits`` for one tensor of `TENSORS` or for "everything"."""
    base = dict.fromkeys((*EVERYTHING, "input_bits", "output_bits"), BASE)
    chosen = dict.fromkeys(TENSORS.get(tensor, EVERYTHING), bits)
    return QuantConfig(**{**base, **chosen}, form="mixed", power_of_two=False)  # type: ignore[arg-type]


def points(task: Task, tensor: str, bits: int, seed: int) -> dict[str, float | None]:
    """Accuracy of the compiled program on the test part, by method; None where training diverged."""
    name = f"bits-{''.join(c for c in tensor if c.isalnum())}-{bits}"
    model = calibrated(task, config(tensor, bits), seed)
    before = tested(task, model)
    return {"ptq": before, "qat": tested(task, tuned(task, model, name, seed))}


def tested(task: Task, model: S4DClassifier) -> float | None:
    """Accuracy of the compiled program on the test part; None where the weights are no numbers."""
    if not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
        return None
    with tempfile.TemporaryDirectory() as folder:
        accuracy: float = compiled(task, exported(task, model, Path(folder) / "model.onnx"))[1]["accuracy_compiled"]
    return accuracy


def plot(document: dict[str, Any], path: Path) -> None:
    """One panel a tensor: points lost against float, ours and published."""
    with drawing(path, 2, 4, figsize=(11, 5.4), sharex=True, sharey=True) as grid:
        for panel, tensor in zip(grid.flat, (*TENSORS, "everything"), strict=False):
            for method, colour in (("ptq", "tab:orange"), ("qat", "tab:blue")):
                found = document["accuracy"][tensor].items()
                known = {int(bits): accuracy[method] for bits, accuracy in found if accuracy[method] is not None}
                ours = {bits: 100 * (accuracy - document["float"]) for bits, accuracy in known.items()}
                theirs = {b: a - PUBLISHED_REFERENCE for b, a in PUBLISHED[method][tensor].items() if b <= BASE}
                label = {"ptq": "after training", "qat": "fine-tuned"}[method]
                panel.plot(*_line(ours), marker="o", color=colour, label=f"{label}, ssmc")
                panel.plot(*_line(theirs), marker="x", ls=":", color=colour, label=f"{label}, published (sCIFAR-10)")
            panel.set(title=tensor, ylim=(-40, 4))
            panel.grid(alpha=0.3)
        last = grid.flat[-1]
        last.axis("off")
        last.legend(*grid.flat[0].get_legend_handles_labels(), loc="center", fontsize=8)
        last.figure.supxlabel("bits")
        last.figure.supylabel("points above or below float")


def _line(points: dict[int, float]) -> tuple[list[int], list[float]]:
    return sorted(points), [points[bits] for bits in sorted(points)]


@click.command(help=__doc__)
@study_options
@click.option("--epochs", default=2, show_default=True, help="Epochs of fine-tuning, with the float model as teacher.")
@options.seed
def main(name: str, data: Path, epochs: int, seed: int) -> None:
    """Measure the points that are missing, then draw all."""
    task = TASKS[name](data)
    task = replace(task, qat_phases=(Phase("qat", epochs, 1e-3, 2e-4, distil=1.0),))
    path = task.folder / "bits.json"
    setting = {"epochs": epochs, "seed": seed, "samples": len(task.data.samples())}
    document = begun(path, setting, {"accuracy": {}})
    document["float"] = evaluate(float_model(task, seed), task.data.testing())[0]
    accuracy = document["accuracy"]
    base = accuracy.get("everything", {}).get(str(BASE)) or points(task, "everything", BASE, seed)
    for tensor in (*TENSORS, "everything"):
        known = accuracy.setdefault(tensor, {})
        for bits in WIDTHS:
            if str(bits) not in known:
                known[str(bits)] = base if bits == BASE else points(task, tensor, bits, seed)
                written(path, document)
                click.echo(f"{tensor} at {bits} bits: {known[str(bits)]}")
    plot(document, path.with_suffix(".svg"))


if __name__ == "__main__":
    main()

"""Train the spoken-digits model for a crossbar, and measure it there: its converters, its cells, with time.

\b
    python -m examples.studies.hardware --data fsdd.npz --hardware taox64 --set adc.bits=5 --epochs 8
    python -m examples.studies.hardware --data fsdd.npz --hardware hermes64 --noise --drift-days 30 --states 4

Widths are those that the hardware gives (`QuantConfig.for_hardware`). With --noise every batch meets another chip:
cells, read noise and converters by the law of the hardware file. Everything is chosen on the training part; the row
holds the accuracy of the integer program with the hardware's converters on the 300 official test recordings, and with
--noise that of many chips, freshly programmed and later, with kernels on the crossbar and with their poles in the
digital unit. Rows go to hardware.json of the task; models and checkpoints,
from which a training that was stopped goes on, to runs/.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

import ssmc
from examples.lib import options
from examples.lib.folders import EXAMPLES, RUNS
from examples.lib.parents import Task, float_model, parameters, trained
from examples.lib.recipe import Shape
from examples.lib.sweep import begun, written
from examples.spoken_digits.experiment import task as spoken_digits
from ssmc.bundle.check import accuracy
from ssmc.data import Samples
from ssmc.export import export_onnx
from ssmc.hardware.file import load_hardware
from ssmc.hardware.model import Hardware
from ssmc.hardware.settings import with_settings
from ssmc.hardware.widths import widths
from ssmc.qat import Mode, QuantConfig, S4DClassifier, calibrate, set_device_noise, set_mode
from ssmc.qat.training import Phase, evaluate
from ssmc.targets.aimc.lowering.kernel_places import Place
from ssmc.targets.aimc.simulation.monte_carlo import monte_carlo
from ssmc.targets.aimc.target import AimcCompiled, AimcTarget

DAY = 86_400.0
TIMES = (0.0, DAY, 30 * DAY)
PAGE = EXAMPLES.parent / "docs" / "hardware.md"
BEGIN, END = "<!-- made by examples/studies/hardware.py --write -->", "<!-- end of trained models -->"
PLAIN = ("trained for", "epochs", "held out", "test")
NOISY = (
    *("trained for", "epochs", "held out, on chips", "test, ideal", "drift factor of", "chips", "programmed"),
    *("1 day", "30 days"),
    *("poles digital, programmed", "poles digital, 30 days"),
)
FOLDER = RUNS / "spoken_digits" / "hardware"


@click.command(help=__doc__)
@options.data
@click.option("--hardware", required=True, help="Preset or hardware file.")
@click.option("--set", "settings", multiple=True, help="Another value of a key: adc.bits=5.")
@click.option("--noise", is_flag=True, help="Train for the noise of its devices, and measure many chips.")
@click.option("--drift-days", default=0.0, show_default=True, help="Train for cells up to so many days old.")
@click.option("--digital-poles", is_flag=True, help="Train for chips whose digital unit does A.")
@click.option("--states", type=click.IntRange(min=1), help="Fit every channel anew with this many real states.")
@click.option("--epochs", default=8, show_default=True, help="Epochs of training; 0: calibrated only.")
@click.option("--lr", default=1e-3, show_default=True, help="Largest rate; the poles learn at a tenth of it.")
@click.option(
    "--start",
    type=options.FILE,
    multiple=True,
    help="Weights to start from: a .npz that this command wrote; of several their mean.",
)
@click.option("--chips", default=20, show_default=True, help="Chips of every measurement with --noise.")
@click.option("--write", is_flag=True, help="Put the table of all rows into docs/hardware.md.")
@click.option("--tag", default="", help="Added to the name of the row.")
@options.seed
@options.threads
def main(data: Path, hardware: str, settings: tuple[str, ...], noise: bool, **chosen: Any) -> None:
    """Train, measure, and put the row into hardware.json."""
    task = spoken_digits(data)
    hw = with_settings(load_hardware(hardware), settings)
    hw = replace(hw, array=replace(hw.array, count=0))
    tags = [*settings, *(["noise"] if noise else []), *(["poles"] if chosen["digital_poles"] else []), chosen["tag"]]
    name = "-".join([load_hardware(hardware).name, *(tag for tag in tags if tag)])
    click.echo(widths(hw).line(hw.name))
    others = {"drift_s": chosen["drift_days"] * DAY, "digital_poles": chosen["digital_poles"]} if noise else {}
    quant = QuantConfig.for_hardware(hw, device_noise=noise, power_of_two=False, learned=noise, **others)
    model = prepared(task, quant, chosen["states"], chosen["start"], chosen["seed"])
    set_device_noise(model, True if noise else None)
    click.echo(f"{name}: calibrated, held out {evaluate(model, task.data.validation())[0]:.4f}")
    phase = Phase("hardware", chosen["epochs"], chosen["lr"], chosen["lr"] / 10, distil=0.5, keep="last")
    teacher = float_model(task, chosen["seed"])
    model = trained(task, model, f"hardware/{name}-s{chosen['seed']}", chosen["seed"], (phase,), teacher)
    held_out = evaluate(model, task.data.validation())[0]
    set_device_noise(model, None)
    path = FOLDER / f"{name}-s{chosen['seed']}.onnx"
    export_onnx(model, task.data.calibration()[0], path)
    np.savez(path.with_suffix(".npz"), **{k: v.numpy() for k, v in model.state_dict().items()})
    row = {
        "hardware": hw.name,
        "settings": list(settings),
        **{key: chosen[key] for key in ("states", "epochs", "lr", "drift_days", "digital_poles", "seed")},
        "noise": noise,
        "compensation": hw.noise.drift_compensation if noise else "none",
        "start": [path.name for path in chosen["start"]],
        "held_out": held_out,
        **measured(path, hw, task.data.samples(), chosen["chips"] if noise else 0),
    }
    if noise:
        row["poles_digital"] = measured(path, hw, task.data.samples(), chosen["chips"], "digital-poles")["on_chips"]
    document = begun(task.folder / "hardware.json", {"task": task.name}, {"rows": {}})
    document["rows"][name] = row
    written(task.folder / "hardware.json", document)
    click.echo(row)
    if chosen["write"]:
        before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{table(document)}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


def table(document: dict[str, Any]) -> str:
    """The rows as Markdown: without noise, then on chips."""
    plain, noisy = [PLAIN], [NOISY]
    for name, row in sorted(document["rows"].items()):
        shown = [name, str(row["epochs"]), f"{100 * row['held_out']:.1f}", f"{100 * row['test']:.1f}"]
        if row["noise"]:
            on, apart = (
                [interval(*found) for found in row.get(key, {}).values()] for key in ("on_chips", "poles_digital")
            )
            noisy.append((*shown, row["compensation"], str(row["chips"]), *on, *(apart[::2] or ("not measured",) * 2)))
        else:
            plain.append(tuple(shown))
    return "\n\n".join(
        "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], ("---",) * len(lines[0]), *lines[1:]))
        for lines in (plain, noisy)
        if lines[1:]
    )


def interval(mean: float, low: float, high: float) -> str:
    """In percent."""
    return f"{100 * mean:.1f} ({100 * low:.0f} to {100 * high:.0f})"


def prepared(task: Task, quant: QuantConfig, states: int | None, start: tuple[Path, ...], seed: int) -> S4DClassifier:
    """The float model of the seed with ``states`` a channel, calibrated for the hardware; or ``start``'s weights."""
    if start:
        return resumed(task, quant, start)
    parent, batches = float_model(task, seed), task.data.calibration()
    model = S4DClassifier(replace(task.model, quant=quant, dropout=0.0))
    model.load_state_dict({**model.state_dict(), **parameters(parent)})
    model = Shape(states=states).given_to(model, batches)
    calibrate(model, batches, parent)
    return model.eval()


def resumed(task: Task, quant: QuantConfig, paths: tuple[Path, ...]) -> S4DClassifier:
    """Weights and steps of a training for other hardware, as they are; of several their mean."""
    several = [dict(np.load(path, allow_pickle=False)) for path in paths]
    weights = {
        name: torch.from_numpy(np.asarray(np.mean([one[name] for one in several], 0), x.dtype))
        for name, x in several[0].items()
    }
    states = 2 * weights["blocks.0.ssm.C"].shape[1]
    model = S4DClassifier(replace(task.model, quant=quant, dropout=0.0, d_state=states))
    model.load_state_dict(weights)
    set_mode(model, Mode.QUANTIZED)
    return model.eval()


def measured(path: Path, hw: Hardware, samples: Samples, chips: int, place: Place = "analog") -> dict[str, Any]:
    """Accuracy of the program with the hardware's converters; with ``chips``, of that many, over time."""
    bundle = ssmc.compile(path, AimcTarget(hw, place=place), steps=samples.mean_steps, oracle=False)
    assert isinstance(bundle.compiled, AimcCompiled)
    assert samples.label is not None
    kinds = sorted({plan.kind for plan in bundle.compiled.lowered.plans.values()})
    if not chips:
        x, lengths = samples.batch(np.arange(len(samples)))
        return {"test": accuracy(bundle.compiled.executor().run(x, lengths), samples.label), "conversions": kinds}
    found = monte_carlo(bundle, samples, chips=chips, times_s=TIMES)
    return {
        "test": found.ideal_accuracy.value,
        "conversions": kinds,
        "chips": chips,
        "on_chips": {
            f"{at.time_s / DAY:g} days": [at.accuracy.value, at.accuracy.low, at.accuracy.high] for at in found.at
        },
    }


if __name__ == "__main__":
    main()

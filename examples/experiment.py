"""What the experiments share: a float model, its quantized children, and one row of results for each.

A run is `python -m examples.TASK.train --data FILE --quant TOML --method qat --seed 0`. The float model of a seed is
trained once and committed (`examples.parents`); every number of a row is of the compiled integer program, but for
accuracy_torch.
"""

from __future__ import annotations

import copy
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

import ssmc
from examples.parents import RUNS, Task, float_model, parameters, twin
from ssmc.bundle.check import accuracy
from ssmc.bundle.check import evaluate as run_program
from ssmc.data import Samples
from ssmc.export import export_onnx
from ssmc.ir.metrics import Qs4dModel, fp32_twin, headline, qs4d_figures
from ssmc.ir.program import Program, StateSpace
from ssmc.qat import Mode, ModelConfig, QuantConfig, S4DClassifier, calibrate, set_mode
from ssmc.qat.pruning import prune_modes
from ssmc.qat.training import Trainer, evaluate

TOGETHER = 50  # sequences at once in torch
METHODS = (
    "what to make a row of; twin: the float model trained on as its quantized children are; "
    "retest: compile and test every committed model again  [default: qat]"
)


def speech_model(classes: int) -> ModelConfig:
    """The shape of the models of speech: frames of 32 samples, 3 layers, H = 64, 8 complex modes; 16-bit audio in."""
    return ModelConfig(
        d_input=32,
        d_output=classes,
        d_model=64,
        d_state=16,
        layers=3,
        dropout=0.1,
        input_gain=2.0**-15,
        dt_min=4e-3,
        dt_max=0.3,
    )


def calibrated(task: Task, quant: QuantConfig, seed: int, modes: int | None = None) -> S4DClassifier:
    """The float model of the seed, pruned to ``modes`` complex modes a channel, with calibrated quantizers.

    It has no dropout: few bits regularise enough (headline, spoken digits: after an epoch with dropout the validation
    loss is 0.47, without 0.33).
    """
    parent = float_model(task, seed)
    model = S4DClassifier(replace(task.model, quant=quant, dropout=0.0))
    model.load_state_dict({**model.state_dict(), **parameters(parent)})
    if modes is not None:
        prune_modes(model, modes, task.data.calibration())
    calibrate(model, task.data.calibration(), parent)
    return model.eval()


def fine_tuned(task: Task, model: S4DClassifier, name: str, seed: int) -> S4DClassifier:
    """``model`` after all phases of quantization-aware training; the float model of the seed is its teacher."""
    checkpoint = RUNS / task.name / f"{name}-s{seed}.pt"
    trainer = Trainer(model, task.data, checkpoint, seed, resume=True, teacher=float_model(task, seed))
    for phase in task.qat_phases:
        trainer.train(phase)
    set_mode(model, Mode.QUANTIZED)
    return model.eval()


def quantized(
    task: Task, quant: QuantConfig, name: str, seed: int, method: str, modes: int | None = None
) -> S4DClassifier:
    """Calibrated, and with ``method`` "qat" fine-tuned."""
    model = calibrated(task, quant, seed, modes)
    click.echo(f"{name} seed {seed}: calibrated, val {evaluate(model, task.data.validation())[0]:.4f}")
    return fine_tuned(task, model, name, seed) if method == "qat" else model


def exported(task: Task, model: S4DClassifier, path: Path) -> Path:
    """``path``, to which the model is exported."""
    path.parent.mkdir(parents=True, exist_ok=True)
    export_onnx(copy.deepcopy(model), task.data.calibration()[0][:1], path)
    return path


def result_row(task: Task, model: S4DClassifier, path: Path, seed: int, method: str, command: str) -> dict[str, Any]:
    """Export ``model`` to ``path`` and describe it by one row of results.json."""
    quant = model.config.quant
    program, scores = compiled(task, exported(task, model, path))
    return {
        "task": task.name,
        "name": path.stem,
        "architecture": architecture(model),
        "method": method,
        "form": quant.form,
        "bits": bits(quant, program),
        "n_test": len(task.data.samples()),
        **scores,
        "accuracy_torch": evaluate(model, task.data.testing())[0],
        "accuracy_val": evaluate(model, task.data.validation())[0],
        **costs(program, task.model),
        "seed": seed,
        "command": command,
    }


def costs(program: Program, shape: ModelConfig) -> dict[str, Any]:
    """In the counting of QS4D, and how many times less than those of the float twin."""
    found = headline(program, float_twin(shape))
    return {
        "ace": found.model.ace,
        "size_bits": found.model.size_bits,
        "adc": found.model.adc,
        "times_less": {name: round(ratio, 2) for name, ratio in found.less.items()},
    }


def compiled(task: Task, path: Path) -> tuple[Program, dict[str, Any]]:
    """(integer program of an ONNX file; its accuracy and macro-F1 on the test part, and what it gets wrong)."""
    bundle = ssmc.compile(path, target="int", steps=task.data.samples().mean_steps)
    samples = task.data.samples()
    outputs = run_program(bundle, samples)
    assert samples.label is not None
    return bundle.compiled.program, {
        "accuracy_compiled": accuracy(outputs, samples.label),
        "macro_f1_compiled": macro_f1(outputs.argmax(1), samples.label),
        "wrong": wrong(outputs.argmax(1), samples.label),
    }


def wrong(found: NDArray[np.int64], label: NDArray[np.int64]) -> str:
    """Which items of the test part are not recognised, so that rows can be compared item by item."""
    return " ".join(map(str, np.flatnonzero(found != label)))


@torch.no_grad()
def classes(model: S4DClassifier, samples: Samples) -> NDArray[np.int64]:
    """What ``model`` takes every item of the test part for."""
    found = np.zeros(len(samples), np.int64)
    for indices in samples.batches(TOGETHER):
        x, lengths = (torch.from_numpy(part) for part in samples.batch(indices))
        found[indices] = model(x.float(), None if (lengths == x.shape[1]).all() else lengths).argmax(1).numpy()
    return found


def macro_f1(found: NDArray[np.int64], label: NDArray[np.int64]) -> float:
    """Mean over classes of 2 TP / (2 TP + FP + FN)."""
    scores = []
    for k in np.unique(label):
        right = int(((found == k) & (label == k)).sum())
        scores.append(2 * right / (int((found == k).sum()) + int((label == k).sum())))
    return float(np.mean(scores))


def architecture(model: S4DClassifier) -> str:
    """In words: what a reader needs to build it again."""
    config = model.config
    states = 2 * max(block.ssm.C.shape[1] for block in model.blocks)  # type: ignore[union-attr, union-attr]
    count = sum(p.numel() for n, p in model.named_parameters() if "step" not in n)
    return f"S4D, {config.layers} layers, H = {config.d_model}, N = {states}, GLU, {count:,} parameters"


def bits(quant: QuantConfig, program: Program) -> dict[str, int]:
    """Widths by tensor; the register as compiled."""
    registers = [op.register_bits for op in program.ops if isinstance(op, StateSpace)]
    return {
        "A": quant.kernel_bits,
        "B": quant.kernel_bits,
        "C": quant.readout,
        "D": quant.readout,
        "state": quant.state_dac_bits,
        "adc": quant.adc_bits,
        "act": quant.activation_bits,
        "mixing": quant.weight_bits,
        "coder": quant.coder,
        "register": max(registers),
    }


def save_row(task: Task, row: dict[str, Any]) -> None:
    """Put ``row`` into the task's results.json, in the place of an older one of the same name."""
    path = task.folder / "results.json"
    document = json.loads(path.read_text()) if path.exists() else {}
    rows = [old for old in document.get("rows", []) if old["name"] != row["name"]] + [row]
    document["rows"] = sorted(rows, key=lambda r: (r["method"], r["name"]))
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    os.replace(temporary, path)


def float_row(task: Task, model: S4DClassifier, name: str, seed: int, command: str) -> dict[str, Any]:
    """The row of a float model: accuracies by torch, costs at 32 bits of the unpruned model."""
    model.eval()
    costs, samples = qs4d_figures(float_twin(task.model)), task.data.samples()
    assert samples.label is not None
    found = classes(model, samples)
    return {
        "task": task.name,
        "name": f"{name}-s{seed}",
        "architecture": architecture(model),
        "method": "float",
        "form": "direct",
        "bits": dict.fromkeys(("A", "B", "C", "D", "state", "adc", "act", "mixing", "coder"), 32),
        "n_test": len(samples),
        "accuracy_compiled": None,
        "accuracy_torch": float((found == samples.label).mean()),
        "wrong": wrong(found, samples.label),
        "accuracy_val": evaluate(model, task.data.validation())[0],
        "ace": costs.ace,
        "size_bits": costs.size_bits,
        "adc": costs.adc,
        "seed": seed,
        "command": command,
    }


def float_twin(config: ModelConfig) -> Qs4dModel:
    """The unpruned float model of this shape, as the counting of QS4D sees it."""
    return fp32_twin(
        layers=config.layers,
        channels=config.d_model,
        states=config.d_state,
        d_in=config.d_input,
        d_out=config.d_output,
    )


def run(
    task: Task,
    module: str,
    *,
    method: str,
    quant: Path | None,
    modes: int | None,
    epochs: int | None,
    seed: int,
    threads: int,
) -> None:
    """One row: train what is missing, compile, test, save the row and the model."""
    torch.set_num_threads(threads)
    if method == "retest":
        return retest(task)
    words = f"python -m {module} --data {task.file} --method {method} --seed {seed}"
    if method == "float":
        return save_row(task, float_row(task, float_model(task, seed), "float", seed, words))
    if method in ("qat", "twin") and epochs is not None:
        *first, last = task.qat_phases
        task = replace(task, qat_phases=(*first, replace(last, epochs=epochs)))
        words += f" --epochs {epochs}"
    if method == "twin":
        return save_row(task, float_row(task, twin(task, seed), "twin", seed, words))
    if quant is None:
        raise click.UsageError("give --quant, a TOML file of bits; see examples/quant/")
    name = f"{method}-{quant.stem}" + (f"-n{2 * modes}" if modes else "")
    words += f" --quant {quant}" + (f" --modes {modes}" if modes else "")
    model = quantized(task, QuantConfig.from_toml(quant), name, seed, method, modes)
    row = result_row(task, model, task.folder / "models" / f"{name}-s{seed}.onnx", seed, method, words)
    save_row(task, row)
    click.echo(json.dumps(row, indent=2))
    return None


def retest(task: Task) -> None:
    """Accuracy and cost of every committed model, measured now, into its row."""
    for row in json.loads((task.folder / "results.json").read_text())["rows"]:
        if row["method"] != "float":
            program, scores = compiled(task, task.folder / "models" / f"{row['name']}.onnx")
            row.update(scores, **costs(program, task.model))
            save_row(task, row)
            click.echo(f"{row['name']}: {100 * row['accuracy_compiled']:.2f} % of {row['n_test']}")


def options(command: Any) -> Any:
    """The options that every experiment takes."""
    for option in reversed(
        [
            click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True),
            click.option(
                "--method", type=click.Choice(["float", "twin", "ptq", "qat", "retest"]), default="qat", help=METHODS
            ),
            click.option("--quant", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="TOML of bits"),
            click.option("--modes", type=int, help="prune to this many complex modes a channel"),
            click.option("--epochs", type=int, help="of the last phase of quantization-aware training"),
            click.option("--seed", default=0, show_default=True),
            click.option("--threads", default=1, show_default=True),
        ]
    ):
        command = option(command)
    return command

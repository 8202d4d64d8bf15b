"""One row of results: what a model is, what its compiled program recognises, and what it costs."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

import ssmc
from examples.lib.parents import Task
from examples.lib.sweep import written
from ssmc.analysis.bases import bases, literal
from ssmc.analysis.qs4d_metrics import Qs4dModel, fp32_twin, qs4d_figures
from ssmc.bundle.check import accuracy
from ssmc.bundle.check import evaluate as run_program
from ssmc.data import Samples
from ssmc.errors import ModelError
from ssmc.export import export_onnx
from ssmc.ir.operations import StateSpace
from ssmc.ir.program import Program
from ssmc.qat import ModelConfig, QuantConfig, S4DClassifier
from ssmc.qat.training import evaluate

Row = dict[str, Any]

UNSTABLE = "SSMC-S06"
TOGETHER = 50  # sequences at once in torch


def exported(task: Task, model: S4DClassifier, path: Path) -> Path:
    """``path``, to which the model is exported."""
    path.parent.mkdir(parents=True, exist_ok=True)
    export_onnx(copy.deepcopy(model), task.data.calibration()[0][:1], path)
    return path


def result_row(task: Task, model: S4DClassifier, path: Path, seed: int, method: str, command: str) -> Row:
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
        **costs(program, task.model, states(model)),
        "rates": list(model.config.rates or (1,) * model.config.layers),
        "seed": seed,
        "command": command,
    }


def states(model: S4DClassifier) -> list[int]:
    """Real states of every block, over all channels."""
    return [int(block.ssm.blocks.orders.sum()) for block in model.blocks]  # type: ignore[union-attr, operator]


def costs(program: Program, shape: ModelConfig, states: list[int] | None = None) -> Row:
    """In the counting of QS4D, and how many times less than those of the float twin, in every base.

    ``states``: of every block of the file, over all channels; None: what the arrays of the program have places for.
    """
    found = bases(program, float_twin(shape), states)
    printed = found["live"].model
    less = {base: {name: round(ratio, 2) for name, ratio in each.less.items()} for base, each in found.items()}
    return {
        "ace": printed.ace,
        "size_bits": printed.size_bits,
        "adc": printed.adc,
        "times_less": less["live"],
        "times_less_literal": less["literal"],
        "times_less_equal_states": less["equal states"],
        **({"states": states} if states is not None else {}),
    }


def compiled(task: Task, path: Path) -> tuple[Program, dict[str, Any]]:
    """(integer program of an ONNX file; its accuracy and macro-F1 on the test part, and what it gets wrong).

    A model with unstable poles is compiled as it is, and says so: ``unstable``.
    """
    samples = task.data.samples()
    kept = {}
    try:
        bundle = ssmc.compile(path, target="int", steps=samples.mean_steps)
    except ModelError as error:
        if error.code != UNSTABLE:
            raise
        click.echo(f"{error}; compiled as it is")
        bundle = ssmc.compile(path, target="int", steps=samples.mean_steps, poles="keep")
        kept = {"unstable": True}
    outputs = run_program(bundle, samples)
    assert samples.label is not None
    return bundle.compiled.program, {
        "accuracy_compiled": accuracy(outputs, samples.label),
        "macro_f1_compiled": macro_f1(outputs.argmax(1), samples.label),
        "wrong": wrong(outputs.argmax(1), samples.label),
        **kept,
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
    """Widths by tensor, ``gating`` where it differs from mixing; the register as compiled."""
    registers = [op.register_bits for op in program.ops if isinstance(op, StateSpace)]
    return {
        **dict.fromkeys("AB", quant.grid(quant.kernel_bits).bits),
        **dict.fromkeys("CD", quant.grid(quant.readout).bits),
        "state": quant.state_dac_bits,
        "adc": quant.adc_bits,
        "act": quant.activation_bits,
        "mixing": quant.grid(quant.weight_bits).bits,
        **({"gating": quant.grid(quant.gating).bits} if quant.gating != quant.weight_bits else {}),
        "coder": quant.grid(quant.coder).bits,
        "register": max(registers),
    }


def save_row(folder: Path, row: Row) -> None:
    """Put ``row`` into ``folder``/results.json, in the place of an older one of the same name."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    document = json.loads(path.read_text()) if path.exists() else {}
    rows = [old for old in document.get("rows", []) if old["name"] != row["name"]] + [row]
    document["rows"] = sorted(rows, key=lambda r: (r["method"], r["name"]))
    written(path, document)


def float_row(task: Task, model: S4DClassifier, name: str, seed: int, command: str) -> Row:
    """The row of a float model: accuracies by torch, costs at 32 bits and full rate."""
    model.eval()
    samples, twin = task.data.samples(), float_twin(task.model)
    costs = qs4d_figures(literal(twin, twin, states(model)))
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
        "macro_f1_torch": macro_f1(found, samples.label),
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

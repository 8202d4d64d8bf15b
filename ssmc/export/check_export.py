"""The exported graph must compute what torch computes, at another batch and another length than the example's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssmc.errors import ModelError
from ssmc.export.obstacles import AXES, SCAN, find_obstacle
from ssmc.export.user_code import blame
from ssmc.ir.build import add_constant, graph_of, is_op, required
from ssmc.verify import run_onnx

LARGEST_ERROR = 1e-2  # of the output's RMS
TIE = 2.0**-20  # relative float32 error of what a quantizer rounds
TRIES = 8  # of errors in front of all quantizers
LONG = 16
MOST_STEPS = 256


def check_export(exported: ir.Model, model: nn.Module, examples: tuple[Tensor, ...]) -> None:
    """Compare onnxruntime with torch on random input.

    Raises:
        ModelError: SSMC-X06 where the file holds the example's batch or length, or computes something else.
    """
    _check_axes(exported, model, examples)
    others, wanted = _other_run(model, examples)
    names = [str(value.name) for value in exported.graph.inputs]
    feeds = {name: x.numpy() for name, x in zip(names, others, strict=True)}
    sizes = f"batch {others[0].shape[0]} and {others[0].shape[1]} steps"
    try:
        found = torch.from_numpy(run_onnx(exported, feeds)[0])
    except ModelError as error:
        raise _fault(model, examples, f"the exported file fails at {sizes}: {error.fact}") from error
    if found.shape != wanted.shape:
        fact = f"the exported file gives {tuple(found.shape)} at {sizes}, torch {tuple(wanted.shape)}"
        raise _fault(model, examples, fact)
    apart = _relative(found - wanted, wanted)
    if not apart <= LARGEST_ERROR and not apart <= _by_ties(exported, feeds, found):
        raise _fault(model, examples, f"the exported file is off by {apart:.2g} of torch's output at {sizes}")


def _by_ties(exported: ir.Model, feeds: Mapping[str, NDArray[Any]], output: Tensor) -> float:
    """How far the file moves its own output when what its quantizers round moves by float32 error; 0 without them.

    A sum of codes often lies halfway between two codes of the next quantizer, the mean of 12 steps in one of 12 cases.
    """
    model = exported.clone()
    errors = []
    for node in [*ir.traversal.RecursiveGraphIterator(model.graph)]:
        if is_op(node, "QuantizeLinear"):
            errors.append(add_constant(model.graph, "ssmc.tie", 1.0, np.float32))
            moved = ir.node("Mul", [required(node, 0), errors[-1]], outputs=[ir.val(f"{errors[-1].name}.moved")])
            graph_of(node).insert_before(node, moved)
            node.replace_input_with(0, moved.outputs[0])
    random, far = np.random.default_rng(0), 0.0
    for _ in range(TRIES if errors else 0):
        for error in errors:
            sign = random.choice([-1, 1])
            error.const_value = ir.Tensor(np.float32(1 + sign * TIE), name=error.name)
        found = torch.from_numpy(run_onnx(model, feeds)[0])
        far = max(far, _relative(found - output, output))
    return far


def _check_axes(exported: ir.Model, model: nn.Module, examples: tuple[Tensor, ...]) -> None:
    for value, x in zip(exported.graph.inputs, examples, strict=True):
        shape = value.shape
        for axis in range(2) if shape is not None else ():
            if isinstance(shape[axis], int):  # type: ignore[index]
                raise _fault(model, examples, f"the exported {AXES[axis]} would always be {x.shape[axis]}")


def _other_run(model: nn.Module, examples: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Tensor]:
    """Inputs of another batch and length that the model runs on, and its (first) output."""
    steps = examples[0].shape[1]
    lengths = (min(steps // 2, MOST_STEPS), steps // 2, 2 * steps) if steps >= LONG else (2 * steps, max(steps // 2, 1))
    for length in lengths:
        others = tuple(_random(x, length, model) for x in examples)
        try:
            with torch.no_grad():
                output = model(*others)
        except Exception as cause:
            why = blame(cause)
            continue
        return others, output if isinstance(output, Tensor) else next(iter(output))
    fact = f"it runs at the example's length {steps} only, and fails at {length}: {why}"
    remedy = "a stream has any length: remove what fixes it"
    raise ModelError("SSMC-X06", fact, remedy, type(model).__name__)


def _random(x: Tensor, length: int, model: nn.Module) -> Tensor:
    """As loud as ``x``, with one more sequence; token ids stay below the smallest table."""
    shape, random = (x.shape[0] + 1, length, *x.shape[2:]), torch.Generator().manual_seed(0)
    if x.is_floating_point():
        loud = float(x.double().square().mean().sqrt())
        return torch.randn(shape, generator=random, dtype=x.dtype) * (loud if 0 < loud < math.inf else 1.0)
    tables = [part.num_embeddings for part in model.modules() if isinstance(part, nn.Embedding)]
    return torch.randint(min(tables, default=1), shape, generator=random, dtype=x.dtype)


def _relative(apart: Tensor, wanted: Tensor) -> float:
    size = float(wanted.double().square().mean().sqrt())
    return float(apart.double().square().mean().sqrt()) / (size or 1.0)


def _fault(model: nn.Module, examples: tuple[Tensor, ...], fact: str) -> ModelError:
    """Names the layer that is the cause, where one is found."""
    found = find_obstacle(model, examples)
    if found is None:
        return ModelError("SSMC-X06", fact, SCAN, type(model).__name__)
    return ModelError("SSMC-X06", found.fact, found.remedy, found.layer)

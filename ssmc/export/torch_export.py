"""``export_onnx``: a torch module becomes one ONNX file of standard operators that onnxruntime runs unchanged."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn

from ssmc.errors import ModelError, UsageError
from ssmc.export.adapters import Swap, swap_layers
from ssmc.export.clean import clean
from ssmc.export.names import Names, name_nodes, scopes
from ssmc.export.quantizers import lower_quantizers
from ssmc.qat.fake_quant import LearnedStep

OPSET = 21


def export_onnx(
    model: nn.Module, example: Tensor | tuple[Tensor, ...], path: str | os.PathLike[str]
) -> tuple[Swap, ...]:
    """Write ``model`` as ONNX (opset 21): batch and length dynamic, one Scan a recurrence, Q/DQ quantizers.

    Args:
        model: any module torch can export. A module with ``freeze()`` (``ssmc.qat``) is copied and frozen first, so
            that the file holds integer weights; float convolutions become the recurrence they equal. State-space
            layers that an adapter knows (`ssmc.export.adapters`) are swapped for scans.
        example: the input (N, T, ...), or several inputs; first axis batch, second time. Its values do not matter.
        path: replaced only when the whole file is written.

    Returns:
        The layers that were swapped.

    Raises:
        ModelError: torch cannot export the module (SSMC-X01); a swapped layer computes something else (SSMC-X04).
        UsageError: the example has no time axis, or the file cannot be written (SSMC-X02, SSMC-X03).
    """
    examples = example if isinstance(example, tuple) else (example,)
    exported, swaps = to_ir(model, examples)
    _write(Path(path), ir.to_proto(exported).SerializeToString(deterministic=True))
    return swaps


def to_ir(model: nn.Module, examples: tuple[Tensor, ...]) -> tuple[ir.Model, tuple[Swap, ...]]:
    """The exported graph before it is written, and the layers that were swapped."""
    for x in examples:
        if x.ndim < 2 or min(x.shape[:2]) < 1:
            raise UsageError("SSMC-X02", f"example has shape {tuple(x.shape)}", "give at least (batch, time, ...)")
    model, swaps = swap_layers(copy.deepcopy(model).eval(), examples)
    for module in model.modules():
        if isinstance(module, LearnedStep):
            module.freeze()
    freeze = getattr(model, "freeze", None)
    if callable(freeze):
        freeze()
    exported = _trace(model, tuple(_at_least_two(x) for x in examples))
    nodes = scopes(exported.graph)
    names = Names(["x", "y", *exported.graph.initializers])
    lower_quantizers(exported, nodes, names)
    name_nodes(nodes, names)
    return clean(exported), swaps


def _at_least_two(x: Tensor) -> Tensor:
    """torch.export turns an axis of size 1 into a constant: repeat such batch and time axes."""
    repeats = [2 if x.shape[axis] == 1 and axis < 2 else 1 for axis in range(x.ndim)]
    return x.repeat(repeats)


def _trace(model: nn.Module, examples: tuple[Tensor, ...]) -> ir.Model:
    from ssmc.export.translation import TRANSLATION

    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("time")}
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                model,
                examples,
                dynamo=True,
                opset_version=OPSET,
                verbose=False,
                dynamic_shapes=tuple(axes for _ in examples),
                custom_translation_table=TRANSLATION,
            )
        except Exception as error:
            reason: Any = error.__cause__ or error
            first = str(reason).strip().splitlines()[0][:300]
            raise ModelError(
                "SSMC-X01",
                f"torch cannot export it: {first}",
                "use operators torch.onnx.export(dynamo=True) knows, real-valued and with dynamic batch and time",
                type(model).__name__,
            ) from error
    assert program is not None
    return program.model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages it did not find and on its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError("SSMC-X03", f"cannot write: {error.strerror}", "choose a writable path", str(path)) from error

"""``export_onnx``: a torch module becomes one ONNX file of standard operators that onnxruntime runs unchanged."""

from __future__ import annotations

import os
from pathlib import Path

import onnx_ir as ir
import torch
from torch import Tensor, nn

from ssmc.errors import ModelError, UsageError, first_line
from ssmc.export.check_export import check_export
from ssmc.export.clean import clean
from ssmc.export.copying import copy_for_inference
from ssmc.export.names import Names, name_nodes, scopes
from ssmc.export.obstacles import find_obstacle, silence
from ssmc.export.quantizers import lower_quantizers
from ssmc.export.swapping import Swap, swap_layers
from ssmc.importers.onnx_file import import_model
from ssmc.passes.can_compile import can_compile
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
        ModelError: torch cannot export the module (SSMC-X01); a swapped layer computes something else (SSMC-X04); a
            layer is known and no scan (SSMC-X05); the file would hold the example's batch or length (SSMC-X06); it
            cannot be compiled, however it is quantized (`can_compile`).
        UsageError: the example has no time axis, or the file cannot be written (SSMC-X02, SSMC-X03).
    """
    examples = example if isinstance(example, tuple) else (example,)
    exported, swaps = to_ir(model, examples)
    can_compile(import_model(ir.to_proto(exported), Path(path).name))
    _write(Path(path), ir.to_proto(exported).SerializeToString(deterministic=True))
    return swaps


def to_ir(model: nn.Module, examples: tuple[Tensor, ...]) -> tuple[ir.Model, tuple[Swap, ...]]:
    """The exported graph before it is written, and the layers that were swapped."""
    for x in examples:
        if x.ndim < 2 or min(x.shape[:2]) < 1:
            raise UsageError("SSMC-X02", f"example has shape {tuple(x.shape)}", "give at least (batch, time, ...)")
    model, swaps = swap_layers(copy_for_inference(model), examples)
    for module in model.modules():
        if isinstance(module, LearnedStep):
            module.freeze()
    freeze = getattr(model, "freeze", None)
    if callable(freeze):
        freeze()
    traced = tuple(_at_least_two(x) for x in examples)
    exported = _trace(model, traced)
    nodes = scopes(exported.graph)
    names = Names(["x", "y", *exported.graph.initializers])
    lower_quantizers(exported, nodes, names)
    name_nodes(nodes, names)
    exported = clean(exported)
    check_export(exported, model, traced)
    return exported, swaps


def _at_least_two(x: Tensor) -> Tensor:
    """torch.export turns an axis of size 1 into a constant: repeat such batch and time axes."""
    repeats = [2 if x.shape[axis] == 1 and axis < 2 else 1 for axis in range(x.ndim)]
    return x.repeat(repeats)


def _trace(model: nn.Module, examples: tuple[Tensor, ...]) -> ir.Model:
    from ssmc.export.translation import TRANSLATION

    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("time")}
    with silence(), torch.no_grad():
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
            raise _untraceable(model, examples, error) from error
    assert program is not None
    return program.model


def _untraceable(model: nn.Module, examples: tuple[Tensor, ...], error: Exception) -> ModelError:
    """Names the layer that torch cannot export, where one is found."""
    found = find_obstacle(model, examples)
    if found is not None:
        return ModelError("SSMC-X01", found.fact, found.remedy, found.layer)
    remedy = "use operators torch.onnx.export(dynamo=True) knows, real-valued and with dynamic batch and time"
    fact = f"torch cannot export it: {first_line(error.__cause__ or error, 300)}"
    return ModelError("SSMC-X01", fact, remedy, type(model).__name__)


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError("SSMC-X03", f"cannot write: {error.strerror}", "choose a writable path", str(path)) from error

"""From a factory and a checkpoint to an ONNX file: what ``ssmc export`` does."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ssmc.errors import UsageError
from ssmc.export import export_onnx
from ssmc.export.adapters import Swap


def export_checkpoint(
    factory: str, checkpoint: Path | None, example: tuple[int, ...], output: Path
) -> tuple[Swap, ...]:
    """Build the model, load its weights, export it with an example of zeros, real (N, T, D) or token ids (N, T).

    Returns:
        The layers that were swapped for scans.

    Raises:
        UsageError: SSMC-U21 no such factory, SSMC-U22 the checkpoint does not fit, SSMC-B05 cannot write.
    """
    model = find_factory(factory)()
    if not isinstance(model, torch.nn.Module):
        raise UsageError("SSMC-U21", f"returns a {type(model).__name__}", "return a torch.nn.Module", factory)
    if checkpoint is not None:
        load_weights(model, checkpoint)
    if not output.absolute().parent.is_dir():
        raise UsageError("SSMC-B05", "its folder does not exist", "create it or choose another -o", str(output))
    kind = torch.int64 if len(example) == 2 else torch.float32
    return export_onnx(model.eval(), torch.zeros(example, dtype=kind), output)


def find_factory(text: str) -> Callable[[], Any]:
    """The function that ``module:function`` or ``file.py:function`` names."""
    where, _, name = text.rpartition(":")
    if not where or not name:
        raise UsageError("SSMC-U21", "no factory is named", "write module:function or file.py:function", text)
    module = _load_file(Path(where)) if where.endswith(".py") else _import(where, text)
    found = getattr(module, name, None)
    if not callable(found):
        raise UsageError("SSMC-U21", f"{where} has no function '{name}'", "name one that returns the model", text)
    return found  # type: ignore[no-any-return]


def _import(name: str, text: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return import_module(name)
    except ModuleNotFoundError as missing:
        raise UsageError("SSMC-U21", f"no module named '{missing.name}'", "check the name", text) from missing
    finally:
        sys.path.pop(0)


def _load_file(path: Path) -> ModuleType:
    spec = spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UsageError("SSMC-U21", "no such file", "give module:function or file.py:function", str(path))
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def load_weights(model: torch.nn.Module, checkpoint: Path) -> None:
    """Load a state dict, alone or under the key ``model`` of a training checkpoint, without running its pickle."""
    try:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        inner = saved.get("model", saved) if isinstance(saved, dict) else saved
        model.load_state_dict(inner)
    except (OSError, RuntimeError, pickle.UnpicklingError, KeyError, TypeError, AttributeError, EOFError) as cause:
        first = str(cause).strip().splitlines()[0][:200]
        raise UsageError(
            "SSMC-U22", f"does not fit the model ({first})", "give its state dict", str(checkpoint)
        ) from cause

"""From a factory and a checkpoint to an ONNX file: what ``ssmc export`` does."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ssmc.errors import UsageError
from ssmc.export.factory import built_model
from ssmc.export.swapping import Swap
from ssmc.export.torch_export import export_onnx
from ssmc.qat.training import Phase, kept_weights

#: where trainers keep the state dict
KEYS = ("model", "state_dict", "model_state_dict")
#: what wrappers put before every name, the outer ones first: DataParallel, trainers that hold the model, torch.compile
PREFIXES = ("module.", "model.", "_orig_mod.")


def export_checkpoint(
    factory: str, checkpoint: Path | None, example: tuple[int, ...], output: Path
) -> tuple[Swap, ...]:
    """Build the model, load its weights, export it with an example of zeros, real (N, T, D) or token ids (N, T).

    Returns:
        The layers that were swapped for scans.

    Raises:
        UsageError: SSMC-U21 no such factory, SSMC-U22 the checkpoint does not fit, SSMC-U23 the user's code fails,
            SSMC-B05 cannot write.
    """
    with built_model(factory) as model:
        if checkpoint is not None:
            load_weights(model, checkpoint)
        if not output.absolute().parent.is_dir():
            raise UsageError("SSMC-B05", "its folder does not exist", "create it or choose another -o", str(output))
        kind = torch.int64 if len(example) == 2 else torch.float32
        return export_onnx(model, torch.zeros(example, dtype=kind), output)


def load_weights(model: torch.nn.Module, checkpoint: Path) -> None:
    """Load a state dict without running its pickle: alone, as trainers keep it, or of `ssmc.qat.training.Trainer`."""
    try:
        with torch.serialization.safe_globals([Phase]):
            saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        model.load_state_dict(_without_prefix(_state_dict(saved), model))
    except (OSError, RuntimeError, pickle.UnpicklingError, KeyError, TypeError, AttributeError, EOFError) as cause:
        fact = f"does not fit the model ({' '.join(str(cause).split())[:200] or type(cause).__name__})"
        raise UsageError("SSMC-U22", fact, "give its state dict", str(checkpoint)) from cause


def _state_dict(saved: Any) -> Any:
    if not isinstance(saved, dict):
        return saved
    of_trainer = kept_weights(saved)
    if of_trainer is not None:
        return of_trainer
    return next((saved[key] for key in KEYS if isinstance(saved.get(key), Mapping)), saved)


def _without_prefix(state: Any, model: torch.nn.Module) -> Any:
    """The state dict as the model names it, where a wrapper put one prefix before all names."""
    own = model.state_dict().keys()
    for prefix in PREFIXES:
        if isinstance(state, Mapping) and state and not (own & state.keys()):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state

"""Copies of models that keep computed tensors."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ssmc.errors import ModelError
from ssmc.export.user_code import blame


class _DetachedCopies(TorchFunctionMode):
    """deepcopy of a tensor that was computed from parameters gives its value; torch itself refuses it."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args
            return memo.setdefault(id(tensor), tensor.detach().clone())
        return func(*args, **(kwargs or {}))


def copy_for_inference(model: nn.Module) -> nn.Module:
    """A deep copy in evaluation mode on the CPU.

    Raises:
        ModelError: SSMC-X01 where the model holds something that cannot be copied.
    """
    try:
        with _DetachedCopies():
            return copy.deepcopy(model).eval().cpu()
    except Exception as cause:
        fact, remedy = f"it cannot be copied: {blame(cause)}", "keep such objects outside the model"
        raise ModelError("SSMC-X01", fact, remedy, type(model).__name__) from cause

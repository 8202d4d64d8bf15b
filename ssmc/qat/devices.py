"""Where tensors lie, and which kernels run there."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

from torch import Tensor


def has_triton(x: Tensor) -> bool:
    """Whether the kernels of `ssmc.qat.gpu` run where ``x`` is; triton comes with torch for CUDA on Linux."""
    return x.device.type == "cuda" and _installed()


@cache
def _installed() -> bool:
    return find_spec("triton") is not None

"""How the compiled CPU loops of ``ssmc.qat`` are compiled and shared among torch's threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import numba
import numpy as np
import torch

T = TypeVar("T")

jit: Any = numba.njit(cache=True, nogil=True, fastmath={"reassoc", "nsz", "contract"}, error_model="numpy")


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


def share(count: int, work: Callable[[int, int], T]) -> list[T]:
    """Results of ``work(first, last)`` on consecutive parts of 0..count, one for each of torch's threads."""
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        return [work(0, count)]
    ends = np.linspace(0, count, threads + 1).astype(int).tolist()
    return list(_pool(threads).map(work, ends[:-1], ends[1:]))

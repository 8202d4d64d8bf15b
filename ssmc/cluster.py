"""A Dask cluster, where one is at hand (needs the package distributed)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ssmc.errors import UsageError

PATIENCE = "10s"  # for a scheduler to answer


@contextmanager
def dask_client(address: str) -> Iterator[Any]:
    """A client of the scheduler at ``address``, such as ``tcp://host:8786``; its workers need ssmc and the same paths.

    Raises:
        UsageError: SSMC-W05 where Dask is not installed or no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError as cause:
        raise UsageError("SSMC-W05", "Dask is not installed", "pip install distributed", "--dask") from cause
    try:
        client: Any = Client(address, timeout=PATIENCE)
    except (OSError, ValueError) as cause:
        fact = f"no Dask scheduler answers there ({type(cause).__name__})"
        raise UsageError("SSMC-W05", fact, "start one: dask scheduler", address) from cause
    with client:
        yield client

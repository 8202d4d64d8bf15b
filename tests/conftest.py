"""Settings shared by all tests, and the repository root on the path for ``tests.graphs`` and ``tests.strategies``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Read when numpy and torch are imported. The models here are small: more threads would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from ssmc.hardware.file import load_hardware
from ssmc.hardware.model import Hardware

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.append(ROOT)

settings.register_profile(
    "ssmc", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ssmc")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests first, so that no process waits for one of them at the end."""
    items.sort(key=lambda item: "test_pages.py" not in item.nodeid)


@pytest.fixture(autouse=True, scope="session")
def libraries_of_this_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Built C libraries are kept for this run only, in one folder for all its workers."""
    base = tmp_path_factory.getbasetemp()
    run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(run / "cache"))
        yield


@pytest.fixture(scope="session")
def taox64() -> Hardware:
    return load_hardware("taox64")


@pytest.fixture(scope="session")
def isaac128() -> Hardware:
    return load_hardware("isaac128")


@pytest.fixture
def cluster() -> Iterator[str]:
    """A scheduler and two worker processes."""
    pytest.importorskip("distributed")
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    python = [sys.executable, "-m"]
    scheduler = subprocess.Popen(
        [*python, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"],
        stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    assert scheduler.stderr is not None
    address = next(line.split()[-1] for line in scheduler.stderr if "Scheduler at" in line)
    worker = [*python, "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    workers = [subprocess.Popen(worker, stderr=subprocess.DEVNULL, env=environment) for _ in range(2)]
    try:
        yield address
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()
        scheduler.stderr.close()

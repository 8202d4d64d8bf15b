"""Settings shared by all tests, and the repository root on the path for ``tests.graphs`` and ``tests.strategies``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from ssmc.hardware.file import load_hardware
from ssmc.hardware.model import Hardware

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.append(ROOT)

settings.register_profile(
    "ssmc", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ssmc")


@pytest.fixture(scope="session")
def taox64() -> Hardware:
    return load_hardware("taox64")


@pytest.fixture(scope="session")
def isaac128() -> Hardware:
    return load_hardware("isaac128")

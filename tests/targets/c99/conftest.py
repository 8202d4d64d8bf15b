"""What is skipped where there is no compiler."""

from __future__ import annotations

import shutil

import pytest

from ssmc.native.build import find_compiler


@pytest.fixture(autouse=True)
def needs_compiler() -> None:
    if find_compiler() is None:
        pytest.skip("no C compiler")


@pytest.fixture(params=["gcc", "clang"])
def compiler(request: pytest.FixtureRequest) -> str:
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param}")
    return str(request.param)

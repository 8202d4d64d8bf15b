"""A cache of its own for built libraries, and what is skipped where there is no compiler."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from ssmc.native.build import find_compiler


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def needs_compiler() -> None:
    if find_compiler() is None:
        pytest.skip("no C compiler")


@pytest.fixture(scope="session", params=["gcc", "clang"])
def compiler(request: pytest.FixtureRequest) -> str:
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param}")
    return str(request.param)

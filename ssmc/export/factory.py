"""The function that builds the model: what ``module:function`` and ``file.py:function`` name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ssmc.errors import UsageError
from ssmc.export.user_code import blame


@contextmanager
def built_model(text: str) -> Iterator[torch.nn.Module]:
    """The model of a factory; the folder of its file, or the current one, is on ``sys.path`` meanwhile.

    Raises:
        UsageError: SSMC-U21 no such factory, SSMC-U23 the user's code fails.
    """
    where, _, name = text.rpartition(":")
    if not where or not name:
        raise UsageError("SSMC-U21", "no factory is named", "write module:function or file.py:function", text)
    with _importable(where):
        yield _built(_factory(where, name, text), text)


@contextmanager
def _importable(where: str) -> Iterator[None]:
    """The folder is on the path; a file's module takes the place of another one of its name only meanwhile."""
    folder = str(Path(where).absolute().parent if where.endswith(".py") else Path.cwd())
    before = {Path(where).stem: sys.modules.get(Path(where).stem)} if where.endswith(".py") else {}
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name, module in before.items():
            sys.modules.pop(name, None)
            sys.modules.update({} if module is None else {name: module})


def _factory(where: str, name: str, text: str) -> Callable[[], Any]:
    module = _load_file(Path(where)) if where.endswith(".py") else _import(where, text)
    found = getattr(module, name, None)
    if not callable(found):
        raise UsageError("SSMC-U21", f"{where} has no function '{name}'", "name one that returns the model", text)
    return found  # type: ignore[no-any-return]


def _built(factory: Callable[[], Any], text: str) -> torch.nn.Module:
    with _as_theirs(text):
        model = factory()
    if not isinstance(model, torch.nn.Module):
        raise UsageError("SSMC-U21", f"returns a {type(model).__name__}", "return a torch.nn.Module", text)
    return model


@contextmanager
def _as_theirs(where: str) -> Iterator[None]:
    """An exception of the user's code is shown as one of theirs."""
    try:
        yield
    except SystemExit as cause:
        remedy = "put what a script does under 'if __name__ == \"__main__\":'"
        raise UsageError("SSMC-U23", f"ends the process: {blame(cause)}", remedy, where) from cause
    except Exception as cause:
        raise UsageError("SSMC-U23", blame(cause), "correct it; SSMC_DEBUG=1 shows the traceback", where) from cause


def _import(name: str, text: str) -> ModuleType:
    try:
        with _as_theirs(text):
            return import_module(name)
    except UsageError as error:
        missing = error.__cause__
        if isinstance(missing, ModuleNotFoundError) and missing.name in (name, name.partition(".")[0]):
            raise UsageError("SSMC-U21", f"no module named '{missing.name}'", "check the name", text) from missing
        raise


def _load_file(path: Path) -> ModuleType:
    spec = spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UsageError("SSMC-U21", "no such file", "give module:function or file.py:function", str(path))
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    with _as_theirs(str(path)):
        spec.loader.exec_module(module)
    return module

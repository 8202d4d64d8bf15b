"""Modules that the command line loads at their first use, not where something imports them.

onnx_ir imports sympy for arithmetic on symbolic sizes, a fifth of the time of a short compile; a compile does none.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

DEFERRED = ("sympy", "onnx_ir._symbolic_shapes")


class Deferring(MetaPathFinder):
    """Finds the modules of `DEFERRED` for a loader that runs them when an attribute is asked for."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As `importlib.abc.MetaPathFinder.find_spec`; None for any other module."""
        spec = PathFinder.find_spec(fullname, path, target) if fullname in DEFERRED else None
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def defer() -> None:
    """Load the modules of `DEFERRED` at their first use from now on."""
    sys.meta_path.insert(0, Deferring())

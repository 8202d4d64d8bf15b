"""A checkout whose links are gone is refused, before the passes of another installed ssmc take their place.

``ssmc/passes`` and ``ssmc/targets`` are symbolic links in the repository (docs/design/0001). A ZIP file and git with
``core.symlinks=false`` leave small text files instead. Python then looks for ``ssmc.passes`` elsewhere, and finds that
of any other ssmc that is installed in editable mode.
"""

from __future__ import annotations

import os

LINKED = ("passes", "targets")


def require_linked(package: str) -> None:
    """Refuse a folder ``package`` whose linked packages are neither inside it nor mapped to the folders beside it.

    Raises:
        ImportError: SSMC-E01, with what is missing and the remedy.
    """
    for name in LINKED:
        if not os.path.isfile(os.path.join(package, name, "__init__.py")) and not _is_mapped(package, name):
            found = "is a text file" if os.path.isfile(os.path.join(package, name)) else "is missing"
            raise ImportError(
                f"error[SSMC-E01]: {os.path.join(package, name)}: {found} where a symbolic link belongs; "
                f"run 'pip install -e .' in {os.path.dirname(package)}, "
                "or 'git config core.symlinks true && git checkout -- ssmc/passes ssmc/targets'",
                name="ssmc",
            )


def _is_mapped(package: str, name: str) -> bool:
    """Whether an installation maps ``ssmc.NAME`` to this very ssmc: inside it, or beside it."""
    from importlib.util import find_spec

    spec = find_spec(f"ssmc.{name}")
    if spec is None or spec.origin is None:
        return False
    own = (os.path.join(folder, name, "__init__.py") for folder in (package, os.path.dirname(package)))
    return os.path.realpath(spec.origin) in {os.path.realpath(path) for path in own}

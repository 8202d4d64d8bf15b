"""Two folders change places in one step, so that whoever opens one of them finds the whole of it."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from pathlib import Path

AT_FDCWD = -100
RENAME_EXCHANGE = 2
UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


def exchange(fresh: Path, place: Path) -> None:
    """Put ``fresh`` in the place of the folder ``place``; what was there is at ``fresh`` afterwards, or gone.

    renameat2(2) with RENAME_EXCHANGE does it in one step (Linux, most file systems). Elsewhere it takes two renames:
    between them there is no folder at ``place``, never a mixed one.

    Raises:
        OSError: it is not possible; both are where they were.
    """
    if _exchanged(fresh, place):
        return
    old = fresh.with_suffix(".old")
    place.rename(old)
    try:
        fresh.rename(place)
    except OSError:
        old.rename(place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _exchanged(fresh: Path, place: Path) -> bool:
    """Whether the system could do it in one step."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    if rename(AT_FDCWD, os.fsencode(fresh), AT_FDCWD, os.fsencode(place), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(place))

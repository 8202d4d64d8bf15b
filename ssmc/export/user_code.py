"""Where in a user's file an exception comes from."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

_OURS = Path(__file__).parents[1]
_INSTALLED = tuple(Path(sysconfig.get_path(key)) for key in ("purelib", "platlib", "stdlib"))


def blame(cause: BaseException) -> str:
    """``train.py:12: NameError: name 'x' is not defined``; the place is the innermost one in a user's file."""
    reason = " ".join(str(cause).split())[:300]
    text = f"{type(cause).__name__}: {reason}" if reason else type(cause).__name__
    place = _place(cause)
    return f"{place}: {text}" if place else text


def _place(cause: BaseException) -> str:
    if isinstance(cause, SyntaxError) and cause.filename:
        return f"{Path(cause.filename).name}:{cause.lineno}"
    frames = [frame for frame in traceback.extract_tb(cause.__traceback__) if _is_users(frame.filename)]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def _is_users(filename: str) -> bool:
    path = Path(filename)
    return path.is_file() and not any(path.is_relative_to(folder) for folder in (_OURS, *_INSTALLED))

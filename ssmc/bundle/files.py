"""Folders written whole or not at all, and archives with the same bytes for the same arrays."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssmc.errors import UsageError

EPOCH = (1980, 1, 1, 0, 0, 0)
MARKER = "program.json"


def npz_bytes(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """An npz archive in key order with fixed times; stored, since zlib versions compress differently."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for key in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(arrays[key], order="C"), allow_pickle=False)
            info = zipfile.ZipInfo(f"{key}.npy", EPOCH)
            info.external_attr = 0o644 << 16
            archive.writestr(info, member.getvalue())
    return out.getvalue()


def require_target_folder(folder: Path) -> None:
    """Refuse, before any work, a place that a bundle must not replace.

    Raises:
        UsageError: SSMC-B01.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise UsageError(
            "SSMC-B01", "the folder holds other files", "choose a new or empty folder with -o", str(folder)
        )
    parent = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not parent.is_dir():
        raise UsageError("SSMC-B01", f"'{parent.name}' is a file", "choose a folder with -o", str(folder))
    if not os.access(parent, os.W_OK):
        raise UsageError("SSMC-B01", "cannot write there", "choose another folder with -o", str(folder))


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files beside ``folder`` and move them into its place; other files in it are kept.

    Raises:
        UsageError: SSMC-B01 where that is not possible; then ``folder`` is as it was.
    """
    require_target_folder(folder)
    fresh = folder.parent / f".{folder.name}.{os.getpid()}.new"
    old = folder.parent / f".{folder.name}.{os.getpid()}.old"
    try:
        fresh.mkdir(parents=True)
        for name, data in files.items():
            (fresh / name).write_bytes(data)
        _swap(folder, fresh, old)
    except OSError as cause:
        fact = f"cannot write: {cause.strerror or cause}"
        raise UsageError("SSMC-B01", fact, "choose another folder with -o", str(folder)) from cause
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _swap(folder: Path, fresh: Path, old: Path) -> None:
    if not folder.exists():
        fresh.rename(folder)
        return
    for entry in folder.iterdir():
        if not (fresh / entry.name).exists():
            _copy(entry, fresh / entry.name)
    folder.rename(old)
    try:
        fresh.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _copy(source: Path, to: Path) -> None:
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, to, symlinks=True)
    else:
        shutil.copy2(source, to, follow_symlinks=False)


def write_file(path: Path, data: bytes) -> None:
    """Write one file whole or not at all.

    Raises:
        UsageError: SSMC-B05.
    """
    fresh = path.parent / f".{path.name}.{os.getpid()}.new"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(data)
        fresh.replace(path)
    except OSError as cause:
        fresh.unlink(missing_ok=True)
        raise UsageError("SSMC-B05", f"cannot write: {cause.strerror}", "choose another place", str(path)) from cause

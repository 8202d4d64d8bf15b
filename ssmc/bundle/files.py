"""Folders written whole or not at all."""

from __future__ import annotations

import glob
import json
import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from ssmc.bundle.exchange import exchange
from ssmc.errors import UsageError

MARKER = "program.json"


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
        raise UsageError("SSMC-B01", f"'{parent.name}' is {_kind(parent)}", "choose a folder with -o", str(folder))
    if not os.access(parent, os.W_OK):
        raise UsageError("SSMC-B01", "cannot write there", "choose another folder with -o", str(folder))


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files beside ``folder`` and put them into its place in one step.

    A symbolic link to a folder stays and its target is replaced. What an earlier bundle listed as its own is gone
    afterwards, other files in the folder are kept. A reader sees the old bundle or the new one.

    Raises:
        UsageError: SSMC-B01 where that is not possible; then ``folder`` is as it was.
    """
    require_target_folder(folder)
    place = folder.resolve()
    fresh = place.parent / _temporary(place.name)
    try:
        fresh.mkdir(parents=True)
        _clear_leftovers(place)
        for name, data in files.items():
            (fresh / name).write_bytes(data)
        put_folder(fresh, place, owned=_listed(place))
    except OSError as cause:
        fact = f"cannot write: {cause.strerror or cause}"
        raise UsageError("SSMC-B01", fact, "choose another folder with -o", str(folder)) from cause
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def read_files(folder: Path, others: Callable[[bytes], Iterable[str]]) -> dict[str, bytes]:
    """The marker and the files that it asks for, where they exist: all of one state of the folder, whoever replaces it.

    Args:
        folder: of a bundle.
        others: from the marker's bytes to the names of the other files.

    Raises:
        OSError: a file cannot be read.
    """
    while True:
        handle = os.open(folder, os.O_RDONLY)
        try:
            marker = _read_at(handle, MARKER)
            found = {MARKER: marker, **{name: _read_at(handle, name) for name in others(marker or b"")}}
            complete = None not in found.values()
            if complete or os.path.samestat(os.fstat(handle), os.stat(folder)):  # else it is being removed: again
                return {name: data for name, data in found.items() if data is not None}
        finally:
            os.close(handle)


def _read_at(handle: int, name: str) -> bytes | None:
    try:
        with open(name, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK, dir_fd=handle)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(f"{name} is no regular file")
            return file.read()
    except FileNotFoundError:
        return None


def put_folder(fresh: Path, place: Path, owned: Collection[str] = ()) -> None:
    """Rename ``fresh`` to ``place``; where a folder is, exchange the two and keep its files but those ``owned``."""
    try:
        fresh.rename(place)
    except OSError:
        if not place.is_dir():
            raise
        for entry in place.iterdir():
            if entry.name not in owned and not (fresh / entry.name).exists():
                _copy(entry, fresh / entry.name)
        exchange(fresh, place)


def _listed(place: Path) -> list[str]:
    """Names that the bundle in ``place`` lists as its files; none where there is no bundle."""
    return list(listed_files((place / MARKER).read_bytes())) if (place / MARKER).is_file() else []


def listed_files(marker: bytes) -> dict[str, str | None]:
    """The files that a marker lists, with their SHA-256 where it gives one; none where it lists nothing."""
    try:
        files = json.loads(marker)["files"]
        return {str(name): digest for name, digest in files.items() if os.path.basename(name) == name}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _copy(source: Path, to: Path) -> None:
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, to, symlinks=True)
    else:
        shutil.copy2(source, to, follow_symlinks=False)


def write_file(path: Path, data: bytes) -> None:
    """Write one file whole or not at all; a symbolic link stays, and the file that it names is replaced.

    Raises:
        UsageError: SSMC-B05; also for a device, a pipe or a folder, which are not replaced.
    """
    place = file_place(path)
    fresh = place.parent / _temporary(place.name)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(place)
        fresh.write_bytes(data)
        if place.exists():
            shutil.copymode(place, fresh)
        fresh.replace(place)
    except OSError as cause:
        fresh.unlink(missing_ok=True)
        raise UsageError("SSMC-B05", f"cannot write: {cause.strerror}", "choose another place", str(path)) from cause


def file_place(path: Path) -> Path:
    """Where a file of that name goes; asked before long work, so that a wrong name is refused at once.

    Raises:
        UsageError: SSMC-B05 for a device, a pipe or a folder, which are not replaced.
    """
    place = path.resolve()
    if place.exists() and not place.is_file():
        raise UsageError("SSMC-B05", f"is {_kind(place)}", "give the name of a file", str(path))
    return place


def require_unread(output: Path, inputs: Iterable[Path]) -> None:
    """Refuse, before any work, to write over what a command reads: a file, or those of a bundle but its page.

    Raises:
        UsageError: SSMC-B05.
    """
    place = output.resolve()
    for path in inputs:
        own = [path / name for name in {MARKER, *_listed(path)} - {"report.html"}] if path.is_dir() else [path]
        if place in (file.resolve() for file in own):
            raise UsageError("SSMC-B05", "this command reads that file", "choose another name", str(output))


def _kind(path: Path) -> str:
    mode = path.stat().st_mode
    kinds = {stat.S_ISREG: "a file", stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((name for test, name in kinds.items() if test(mode)), "a device")


def _temporary(name: str) -> str:
    """Name of a place beside ``name``, of this process alone."""
    return f".{name}.{os.getpid()}.new"


def _clear_leftovers(place: Path) -> None:
    """Remove what a process that was killed while it wrote ``place`` has left beside it."""
    for left in place.parent.glob(f".{glob.escape(place.name)}.*"):
        process, _, end = left.name.removeprefix(f".{place.name}.").partition(".")
        useless = end == "new" or (end == "old" and place.exists())
        if useless and process.isdecimal() and not _runs(int(process)):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True

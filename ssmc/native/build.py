"""C on this machine: find the compiler, build a shared library, keep it by the hash of everything that made it."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ssmc.errors import UsageError

DIGEST_BYTES = 32
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wconversion")
FAST = ("-std=c99", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math")
PORTABLE = ("-std=c99", "-O3", "-fno-math-errno")


@functools.cache
def find_compiler() -> tuple[str, ...] | None:
    """The system's C compiler: ``$CC``, else gcc, clang or cc; None where there is none."""
    if os.environ.get("CC"):
        try:
            given = tuple(shlex.split(os.environ["CC"]))
        except ValueError:  # a quotation that does not close
            return None
        return given if given and shutil.which(given[0]) else None
    found = next((path for name in ("gcc", "clang", "cc") if (path := shutil.which(name))), None)
    return None if found is None else (found,)


def cache_folder() -> Path:
    """Where built libraries are kept: ``$XDG_CACHE_HOME/ssmc`` or ``~/.cache/ssmc``; else a temporary folder."""
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "ssmc"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return _temporary()


@functools.cache
def _temporary() -> Path:
    return Path(tempfile.mkdtemp(prefix="ssmc-"))


@functools.cache
def _machine() -> str:
    """What ``-march=native`` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        features = platform.processor()
    return f"{platform.machine()} {features}"


@functools.cache
def _version(compiler: tuple[str, ...]) -> str:
    return subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=False).stdout


def build_library(files: Mapping[str, str], compiler: tuple[str, ...] | None = None) -> ctypes.CDLL:
    """Compile the ``.c`` files among ``files`` (name -> text) into one loaded shared library.

    A kept library ends in the SHA-256 of the rest, so that a damaged one is built again and not loaded.

    Raises:
        UsageError: SSMC-C25 no compiler, or it fails; SSMC-C27 the library cannot be kept or loaded.
    """
    tool = compiler or find_compiler()
    if tool is None:
        raise UsageError("SSMC-C25", "no C compiler", "install gcc or clang, or set CC; or use target int", "cc")
    key = hashlib.sha256()
    for text in (*tool, *FAST, _version(tool), _machine(), *(x for name in sorted(files) for x in (name, files[name]))):
        key.update(text.encode() + b"\0")
    target = cache_folder() / f"{key.hexdigest()[:32]}.so"
    try:
        if not _is_whole(target):
            _compile(files, tool, target)
        return ctypes.CDLL(str(target))
    except OSError as cause:
        fact = f"the built library cannot be kept or loaded: {cause.strerror or cause}"
        raise UsageError("SSMC-C27", fact, "free some space, or set XDG_CACHE_HOME", str(target.parent)) from cause


def _is_whole(library: Path) -> bool:
    """Whether a kept library is there and ends in its own digest."""
    try:
        data = library.read_bytes()
    except FileNotFoundError:
        return False
    return hashlib.sha256(data[:-DIGEST_BYTES]).digest() == data[-DIGEST_BYTES:]


def _compile(files: Mapping[str, str], tool: tuple[str, ...], target: Path) -> None:
    """Build beside the target and move it into place, so that processes may race."""
    with tempfile.TemporaryDirectory(prefix="ssmc-") as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text)
        sources = [name for name in files if name.endswith(".c")]
        for flags in (FAST, PORTABLE):
            command = [*tool, *flags, "-fPIC", "-shared", *sources, "-o", "built.so", "-lm"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                break
        else:
            message = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[0]
            raise UsageError("SSMC-C25", f"the C compiler fails: {message}", "set CC to another", tool[0])
        built = (Path(folder) / "built.so").read_bytes()
        fresh = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            fresh.write_bytes(built + hashlib.sha256(built).digest())
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)

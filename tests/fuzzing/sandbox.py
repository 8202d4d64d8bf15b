"""One input in a process of its own, with limits on time and memory."""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fuzzing.commands import Fault

CPU_S = 10
WALL_S = 60  # for a process that waits; a busy machine stretches the time of one that works
MEMORY = 1 << 30


@dataclass(frozen=True)
class Outcome:
    """``kind`` is empty where nothing is wrong; faults that are alike have the same."""

    kind: str = ""
    text: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0


def sandboxed(action: Callable[[Path], None]) -> Outcome:
    """Run ``action`` on an empty folder in a forked process."""
    folder = Path(tempfile.mkdtemp(prefix="ssmc-fuzz-"))
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        _in_child(action, folder, theirs)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        said = pipe.read()
    _, status, used = os.wait4(child, 0)
    stuck = _stuck(folder)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(_home(folder), ignore_errors=True)
    seconds, megabytes = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return Outcome(f"died of {name}", {"SIGXCPU": "over 10 s of CPU"}.get(name, ""), seconds, megabytes)
    if stuck:
        return Outcome(f"over {WALL_S} s", stuck, seconds, megabytes)
    kind, text = json.loads(said) if said else ("died in silence", str(status))
    return Outcome(kind, text, seconds, megabytes)


def _stuck(folder: Path) -> str:
    """Where a process in ``folder`` was when its time ran out; empty where it did not."""
    file = folder.parent / f"{folder.name}.stuck"
    text = file.read_text() if file.exists() else ""
    file.unlink(missing_ok=True)
    return text


def _home(folder: Path) -> Path:
    """Where a process in ``folder`` keeps its cache."""
    return folder.parent / f"{folder.name}.home"


def _in_child(action: Callable[[Path], None], folder: Path, pipe: int) -> None:
    os.chdir(folder)
    os.environ["XDG_CACHE_HOME"] = str(_home(folder))
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
    stuck = (folder.parent / f"{folder.name}.stuck").open("w")
    faulthandler.dump_traceback_later(WALL_S, exit=True, file=stuck)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    try:
        action(folder)
        found = ("", "")
    except Fault as fault:
        found = (fault.kind, str(fault)[:2000])
    except BaseException as error:
        found = (f"harness {type(error).__name__}", traceback.format_exc()[-2000:])
    os.write(pipe, json.dumps(found).encode()[:60000])
    os._exit(0)

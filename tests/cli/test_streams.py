"""A shell may close the streams, stop reading, or interrupt: each has its exit status, and none is our bug."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ssmc.cli import failing

ROOT = Path(__file__).parents[2]
SSMC = f"{sys.executable} -m ssmc"


#: a test run in the background of a shell without job control ignores interrupts, and so do its children
LISTEN = "signal.signal(signal.SIGINT, signal.default_int_handler)"


def shell(command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env=environment, timeout=120
    )


@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-"])
def test_closed_streams(bundles: dict[str, Path], closed: str) -> None:
    assert shell(f"{SSMC} report {bundles['int']} {closed}").returncode == 0
    assert shell(f"{SSMC} report {bundles['int'] / 'nothing'} {closed}").returncode == 2


def test_a_reader_that_stops() -> None:
    flood = "click.Command('flood', callback=lambda: [click.echo('x') for _ in range(10**6)])"
    code = f"import click, ssmc.cli as c; c.cli.add_command({flood}); c.cli(['flood'])"
    done = shell(f'{sys.executable} -c "{code}" | head -1; echo ${{PIPESTATUS[0]}}')
    assert done.stdout.splitlines() == ["x", str(failing.READER_GONE)]
    assert done.stderr.strip() == "the reader of the output has gone"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk(bundles: dict[str, Path]) -> None:
    done = shell(f"{SSMC} report {bundles['int']} > /dev/full")
    assert done.returncode == 2
    assert "SSMC-U05" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_interrupt_while_the_command_line_loads(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text(f"import os, signal; {LISTEN}; os.kill(os.getpid(), signal.SIGINT)\n")
    done = subprocess.run(
        [sys.executable, "-m", "ssmc"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )
    assert (done.returncode, done.stderr) == (failing.INTERRUPTED, "")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (KeyboardInterrupt(), failing.INTERRUPTED, "interrupted"),
        (PermissionError(13, "Permission denied", "a\x1b[0m"), failing.USAGE, "error[SSMC-U05]: a\\x1b[0m: Permission"),
        (MemoryError("Unable to allocate 9 TiB"), failing.USAGE, "error[SSMC-U06]: there is not enough memory"),
        (ZeroDivisionError("n\x1b"), failing.OUR_BUG, "error[SSMC-X70]: ZeroDivisionError: n\\x1b"),
    ],
)
def test_every_failure_is_one_line(error: BaseException, status: int, code: str) -> None:
    line, found = failing.describe(error)
    assert found == status
    assert line.startswith(code)
    assert "\n" not in line


def test_an_interrupt_during_work(bundles: dict[str, Path]) -> None:
    code = (
        f"import os, signal, ssmc.cli as c, ssmc.bundle.folder as f; {LISTEN}; "
        "f.load = lambda p: os.kill(os.getpid(), signal.SIGINT); "
        f"c.cli(['report', {str(bundles['int'])!r}], prog_name='ssmc')"
    )
    done = shell(f"{sys.executable} -c {code!r}" if "'" not in code else f'{sys.executable} -c "{code}"')
    assert done.returncode == failing.INTERRUPTED == 128 + signal.SIGINT
    assert done.stderr.strip() == "interrupted"

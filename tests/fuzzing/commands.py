"""Run the command line in this process, and what every run of it must keep to, whatever it is given."""

from __future__ import annotations

import io
import traceback
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

from ssmc.cli import cli, failing, progress
from ssmc.errors import SsmcError
from ssmc.printable import printable

DONE, MODEL, USAGE, GATE = 0, 1, 2, 4
progress.LONG = 1e5  # a busy machine would name its stages


class Fault(Exception):  # noqa: N818 (what the fuzzer looks for)
    """What must not happen; ``kind`` groups those that are alike."""

    def __init__(self, kind: str, text: str = "") -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


@dataclass
class Shell:
    """A folder in which commands run, and which error the last one ended in."""

    folder: Path
    last: BaseException | None = field(default=None)

    def run(self, *words: object, writes: str | None = "") -> int:
        """Exit status of ``ssmc WORDS``.

        Args:
            words: of the command line.
            writes: what it writes in the folder, which must not exist where it fails; None: whatever it is told to.

        Raises:
            Fault: a status that is ours, more than one line on stderr, or something half-written.
        """
        before = {path.name for path in self.folder.iterdir()}
        status, out, err = self._run([str(word) for word in words])
        if hidden := next((c for c in out + err if c not in "\n\t" and printable(c) != c), ""):
            raise Fault("hidden character", f"{hidden!r} in the output of {words}")
        lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
        if "Traceback (most recent call last)" in out + err:
            raise Fault("traceback", err)
        costly = "error[SSMC-V05]" in err  # a pass with a bound: the model is not one for it, and a remedy is given
        if status == failing.OUR_BUG or (status not in (DONE, MODEL, USAGE, GATE) and not costly):
            raise Fault(f"status {status} {self._origin()}", err.strip())
        if "error[SSMC-U06]" in err:
            raise Fault(f"memory {self._origin()}", err.strip())
        if status and not (len(lines) == 1 and lines[0].startswith("error[SSMC-")):
            raise Fault("stderr is not one line with a code", err)
        fresh = {path.name for path in self.folder.iterdir()} - before
        if left := {name for name in fresh if status or (writes is not None and name != writes)}:
            raise Fault("half-written", f"{sorted(left)} after status {status}")
        return status

    def _run(self, words: list[str]) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        self.last = None
        describe = failing.describe

        def seen(error: BaseException) -> tuple[str, int]:
            self.last = error
            return describe(error)

        failing.describe = seen
        try:
            with redirect_stdout(out), redirect_stderr(err):
                cli(words, prog_name="ssmc")
            status = DONE
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            failing.describe = describe
        return status, out.getvalue(), err.getvalue()

    def _origin(self) -> str:
        """Code of the error, or its class and the line of ssmc that it comes from."""
        error = self.last
        if error is None:
            return ""
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
        ours = [f for f in frames if any(part in f.filename for part in ("/ssmc/", "/passes/", "/targets/"))]
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
        name = error.code if isinstance(error, SsmcError) else type(error).__name__
        return f"{name} {where}"

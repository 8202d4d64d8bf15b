"""Run what a page of the documentation shows: its Python blocks, its commands, and the files that it has one write.

A ``python`` block runs in one namespace with the others of the page. In a ``console`` block every line after ``$`` that
calls ssmc is run; others (pip, make, git) are not, and neither is what stands below as output. Any other block whose
first line is ``# NAME`` with an ending is that file.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import warnings
from pathlib import Path

from click.testing import CliRunner

from ssmc.cli import cli

RECORDINGS = "examples/spoken_digits/test.npz"
ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w./-]+\.\w+)\n")


def run_page(page: Path, folder: Path, data: Path) -> None:
    """Run every block in order, in ``folder``; an assertion names the block that fails.

    ``data`` takes the place of the test recordings of the demo: a few of them.
    """
    namespace: dict[str, object] = {}
    for indent, kind, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        body = "".join(line.removeprefix(indent) for line in text.splitlines(keepends=True))
        if kind == "python":
            with contextlib.chdir(folder):
                exec(compile(body.replace('"examples/', f'"{ROOT}/examples/'), page.name, "exec"), namespace)
        elif kind == "console":
            run_console(body.replace(RECORDINGS, str(data)), folder)
        elif found := FILE.match(body):
            path = folder / found[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body, encoding="utf-8")


def run_console(body: str, folder: Path) -> None:
    """The commands of a console block; a line that ends in a backslash goes on."""
    lines = body.replace("\\\n", " ").splitlines()
    for number, line in enumerate(lines):
        if not line.startswith("$ ssmc "):
            continue
        expected = status(lines[number + 1 :])
        words = [word.replace("examples/", f"{ROOT}/examples/") for word in shlex.split(line[7:], comments=True)]
        with contextlib.chdir(folder), warnings.catch_warnings():
            warnings.simplefilter("default")  # a warning is no error to who runs a command
            done = CliRunner().invoke(cli, words)
        assert done.exit_code == expected, f"{line}\n{done.output}"


def status(after: list[str]) -> int:
    """The exit status that a page shows with ``$ echo $?`` behind a command; 2 where it shows an error, else 0."""
    if after and after[0].startswith("error["):
        return 2
    shown = iter(after)
    for line in shown:
        if line == "$ echo $?":
            return int(next(shown))
        if line.startswith("$ "):
            break
    return 0

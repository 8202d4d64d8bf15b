"""What the README tells people to type exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from ssmc.cli import cli

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
TEXT = "\n".join(page.read_text().replace("\\\n", " ") for page in PAGES)
TYPED = re.findall(r"^\s*\$ ssmc (.+)$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("line", TYPED)
def test_typed_commands_parse(line: str) -> None:
    name, *arguments = shlex.split(line, comments=True)
    command = cli.commands[name]
    command.make_context(name, arguments, resilient_parsing=False)
    assert isinstance(command, click.Command)


def test_there_are_commands_to_check() -> None:
    assert {line.split()[0] for line in TYPED} >= {"compile", "run", "check", "report"}


def test_make_targets_exist() -> None:
    rules = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:\$ |`)make ([a-z-]+)", TEXT))
    assert named
    assert named <= rules


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / link).exists(), link


def test_the_tree_names_no_machine() -> None:
    for page in [*PAGES, ROOT / "Makefile", ROOT / "pyproject.toml", *ROOT.glob("examples/*/*.py")]:
        assert str(ROOT) not in page.read_text(), page

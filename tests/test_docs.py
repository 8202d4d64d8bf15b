"""The pages that list things list all of them, and nothing else."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from ssmc.bundle.registry import TARGETS
from ssmc.errors import SsmcError
from ssmc.ir.functions import input_names, op_types
from ssmc.pipeline import Pass
from ssmc.targets.integer.target import IntegerTarget

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
CODE = re.compile(r"SSMC-[A-Z]\d\d")


def sources() -> list[Path]:
    """Python files of the compiler; ssmc/passes and ssmc/targets are links."""
    tops = [ROOT / "passes", ROOT / "targets", *(p for p in (ROOT / "ssmc").iterdir() if not p.is_symlink())]
    return [file for top in tops for file in ([top] if top.suffix == ".py" else top.rglob("*.py"))]


@cache
def trees() -> list[ast.Module]:
    """What the files say, parsed once."""
    return [ast.parse(file.read_text(encoding="utf-8")) for file in sources()]


def raised() -> set[str]:
    """Codes that stand in the code, docstrings apart."""
    codes: set[str] = set()
    for tree in trees():
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
        codes |= {code for node in texts if id(node) not in docs for code in CODE.findall(node.value)}
    return codes


def pass_classes() -> int:
    """How many passes there are."""
    found = [node for tree in trees() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return sum(any(isinstance(base, ast.Name) and base.id == "Pass" for base in node.bases) for node in found)


def test_every_error_code_is_listed_and_every_listed_one_exists() -> None:
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `SSMC-")]
    listed = [CODE.findall(row.split("|")[1])[0] for row in rows]
    assert len(listed) == len(set(listed))
    assert set(listed) == raised()
    for row in rows:
        _, _, meaning, remedy, _ = row.split("|")
        assert meaning.strip()
        assert remedy.strip()


@pytest.mark.parametrize("kind", [SsmcError, *SsmcError.__subclasses__()])
def test_every_exit_status_is_listed(kind: type[SsmcError]) -> None:
    assert f"| {kind.exit_status} |" in (DOCS / "errors.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("op_type", op_types())
def test_every_operation_is_described_with_its_inputs(op_type: str) -> None:
    text = (DOCS / "ops.md").read_text(encoding="utf-8")
    assert f"`{op_type}`" in text
    for name in input_names(op_type):
        assert re.search(rf"\b{name.removesuffix('_y').removesuffix('_b')}(_[yb])?\b", text), name


def test_no_operation_is_described_that_does_not_exist() -> None:
    text = (DOCS / "ops.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    heads = re.findall(r"^### (.*)$", text, re.MULTILINE)
    named = {*rows, *re.findall(r"`(\w+)`", " ".join(heads))}
    assert named == set(op_types())


def test_every_pass_is_described_in_the_order_it_runs() -> None:
    text = (DOCS / "passes.md").read_text(encoding="utf-8")
    heads = re.findall(r"^## `([\w-]+)`$", text, re.MULTILINE)
    rows = re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)
    assert heads == rows
    assert heads[: len(IntegerTarget().pipeline())] == [step.name for step in IntegerTarget().pipeline()]
    assert len(heads) == pass_classes()
    names = {
        name for file in sources() for name in re.findall(r'name = "([a-z]+(?:-[a-z]+)*)"', file.read_text("utf-8"))
    }
    assert set(heads) <= names


@pytest.mark.parametrize("step", IntegerTarget().pipeline(), ids=lambda p: p.name)
def test_a_pass_and_its_page_say_the_same(step: Pass) -> None:
    text = (DOCS / "passes.md").read_text(encoding="utf-8")
    section = text.split(f"## `{step.name}`\n")[1].split("\n## ")[0]
    contract = str(type(step).__doc__)
    for word in ("Before", "After", "Preserves", "Refuses"):
        assert (f"{word}:" in contract) <= (f"*{word}*" in section), word
    for code in CODE.findall(contract):
        assert code.removeprefix("SSMC-") in section, code
    row = next(line for line in text.splitlines() if line.startswith(f"| `{step.name}` "))
    requires, after = (cell.strip() for cell in row.split("|")[2:4])
    assert requires == (step.requires.value if step.requires else "any")
    assert after == (step.level.value if step.level else "as before")
    assert step.effect.name in row
    for option in step.options():
        assert f"`{option}`" in row


SCALES = (DOCS / "glossary.md").read_text(encoding="utf-8").split("## The life of a scale")[1]
ROWS = [row.split("|") for row in SCALES.splitlines() if row.endswith(".py` |")]


@pytest.mark.parametrize(("names", "file"), [(row[1], row[3].strip(" `")) for row in ROWS])
def test_a_scale_has_the_name_that_the_glossary_says(names: str, file: str) -> None:
    words = set(re.findall(r"\w+", (ROOT / file).read_text(encoding="utf-8")))
    named = re.findall(r"`(\w+)`", names)
    assert named
    assert set(named) <= words


def test_the_targets_are_known() -> None:
    assert {"int", "aimc"} <= set(TARGETS)

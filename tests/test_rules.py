"""Rules of the code that no linter of ours knows: rounding has one owner, and a module has one name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROUNDING = {"rint", "round", "around", "round_"}
OWNERS = {
    "ssmc/ir/rounding.py": "the owner",
    "ssmc/qat": "the trained twin: torch, numba and triton round half to even, and torch alone differentiates",
    "ssmc/report": "rounds figures and pixels, never codes",
    "ssmc/cli": "likewise",
    "targets/aimc/simulation/numba_kernels.py": "loops that numba compiles",
    "targets/aimc/simulation/single_array.py": "likewise",
}


SECOND_NAME = re.compile(r"^ *(?:from|import) +(?:passes|targets)\b", re.MULTILINE)


def sources(*tops: str) -> list[Path]:
    """Python files below the given folders, each once: ssmc/passes and ssmc/targets are links."""
    return sorted(file for top in tops for file in (ROOT / top).rglob("*.py") if file.resolve() == file)


def roundings(tree: ast.AST) -> Iterator[int]:
    """Lines that round to an integer; ``round(x, digits)`` makes a figure shorter and is none of them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "round":
            if len(node.args) == 1:
                yield node.lineno
        elif isinstance(node, ast.Attribute) and node.attr in ROUNDING:
            yield node.lineno


def owner(file: Path) -> str | None:
    name = file.relative_to(ROOT).as_posix()
    return next((key for key in OWNERS if name == key or name.startswith(f"{key}/")), None)


@cache
def found() -> list[tuple[Path, int]]:
    """Every line that rounds; a file without the word is not parsed."""
    texts = {file: file.read_text(encoding="utf-8") for file in sources("ssmc", "passes", "targets")}
    near = {file: ast.parse(text) for file, text in texts.items() if "rint" in text or "round" in text}
    return [(file, line) for file, tree in near.items() for line in roundings(tree)]


def test_only_the_owners_round() -> None:
    strange = [f"{file.relative_to(ROOT)}:{line}" for file, line in found() if owner(file) is None]
    assert strange == [], "use ssmc.ir.rounding"


def test_every_owner_rounds() -> None:
    assert {owner(file) for file, _ in found()} - {None} == set(OWNERS)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("np.rint(x)", 1),
        ("x.round().astype(int)", 1),
        ("round(Fraction(1, 2))", 1),
        ("map(np.round, x)", 1),
        ("round(0.123, 2)", 0),
        ("round_half_even(x)", 0),
    ],
)
def test_what_counts_as_rounding(text: str, count: int) -> None:
    assert len(list(roundings(ast.parse(text)))) == count


def test_a_pass_and_a_target_are_imported_by_one_name() -> None:
    files = sources("ssmc", "passes", "targets", "tests", "benchmarks", "examples")
    wrong = [str(file.relative_to(ROOT)) for file in files if SECOND_NAME.search(file.read_text(encoding="utf-8"))]
    assert wrong == [], "import ssmc.passes and ssmc.targets: another name makes a second copy of every module"

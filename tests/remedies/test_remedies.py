"""Every code of docs/errors.md has a function that follows its remedy, but for those whose remedy is to report it."""

from __future__ import annotations

import importlib
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.remedies import chips, commands, files, graphs, models  # noqa: F401 - they fill the table
from tests.remedies.following import FOLLOWED

if find_spec("torch") is not None:
    importlib.import_module("tests.remedies.torch_models")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "errors.md"
REMEDIES = dict(re.findall(r"^\| `(SSMC-[A-Z]\d\d)` \|.*\| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
#: what these tests do not do themselves: break a checkout, start a scheduler
ELSEWHERE = {"SSMC-E01": "tests/test_packaging.py", "SSMC-W05": "tests/sweep/test_run.py"}
NEED_TORCH = {*(f"SSMC-X0{k}" for k in range(1, 7)), *(f"SSMC-U2{k}" for k in range(4))}


@pytest.mark.parametrize("code", FOLLOWED)
def test_what_the_error_says_works(code: str, tmp_path: Path) -> None:
    FOLLOWED[code](tmp_path)


def test_no_code_is_left_out() -> None:
    reported = {code for code, text in REMEDIES.items() if text.startswith("report it")}
    without = set() if find_spec("torch") is not None else NEED_TORCH
    assert len(REMEDIES) > 120
    assert set(REMEDIES) == {*FOLLOWED, *ELSEWHERE, *reported, *without}
    assert not {*FOLLOWED} & {*ELSEWHERE, *reported}


@pytest.mark.parametrize(("code", "file"), ELSEWHERE.items())
def test_the_others_are_tested_where_the_table_says(code: str, file: str) -> None:
    text = (PAGE.parents[1] / file).read_text(encoding="utf-8")
    assert code.removeprefix("SSMC-") in text

"""Names of a model are shown without what would act on the reader's terminal or reorder what is read."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmc.errors import ModelError
from ssmc.printable import HIDDEN, printable
from ssmc.report.facts import dump_json
from ssmc.report.markup import html
from ssmc.report.text import columns

ACTING = "n\x1b]0;pwned\x07\x9b31m\u202egpj\u2066\r\u2028"
SHOWN = "n\\x1b]0;pwned\\x07\\x9b31m\\u202egpj\\u2066\\x0d\\u2028"


@pytest.mark.parametrize("text", ["", "layers.0/Scan", "Größe µ 漢字 ×10⁷", "emoji 🙂"])
def test_what_is_visible_stays(text: str) -> None:
    assert printable(text) == text


def test_what_acts_is_spelled_out() -> None:
    assert printable(ACTING) == SHOWN
    assert printable("a\nb", keep="\n") == "a\nb"
    assert printable("\U000e0041") == "\\U000e0041"


@given(st.text())
def test_every_character_of_the_result_is_printable_and_twice_is_once(text: str) -> None:
    shown = printable(text)
    assert not any(unicodedata.category(c) in HIDDEN for c in shown)
    assert printable(shown) == shown


def test_errors_tables_and_pages_spell_names_out() -> None:
    assert "\x1b" not in str(ModelError("SSMC-Q03", "a fact", "a remedy", ACTING))
    assert columns(("name",), [(ACTING,)]).splitlines()[-1] == SHOWN.rstrip()
    assert html(ACTING + "<") == SHOWN + "&lt;"


def test_json_is_ascii_and_holds_no_infinity() -> None:
    assert dump_json({"a": float("inf"), "b": [float("nan"), 1.5], "\u202e": (True, None)}) == (
        '{\n "a": null,\n "b": [\n  null,\n  1.5\n ],\n "\\u202e": [\n  true,\n  null\n ]\n}\n'
    )

"""``--option KEY=VALUE``: the text becomes a value of the field's type, or is refused with what is allowed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, Optional

import pytest

from ssmc.bundle import options, registry
from ssmc.bundle.options import target_with
from ssmc.errors import UsageError
from ssmc.targets.integer.target import IntegerTarget


@dataclass(frozen=True)
class Every(IntegerTarget):
    """One option of every type."""

    flag: bool = False
    count: int = 1
    rate: float = 0.5
    word: str = ""
    file: Path = Path()
    mode: Literal["fast", "small"] = "small"
    either: Literal["auto"] | int = "auto"
    maybe: Optional[float] = None  # noqa: UP045 - the older spelling must be read as well
    pair: tuple[int, int] = (0, 0)


@pytest.fixture(autouse=True)
def every(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (registry, options):
        monkeypatch.setattr(module, "target_class", lambda name: Every)


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("flag=true", True),
        ("count=-3", -3),
        ("rate=1e3", 1000.0),
        ("word=a=b", "a=b"),
        ("file=x/y.toml", Path("x/y.toml")),
        ("mode=fast", "fast"),
        ("either=auto", "auto"),
        ("either=7", 7),
        ("maybe=2", 2.0),
    ],
)
def test_the_type_of_the_field_reads_the_text(pair: str, value: object) -> None:
    key = pair.split("=")[0]
    found = getattr(target_with("every", {"word": None}, [pair]), key)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("pair", "remedy"),
    [
        ("flag=yes", "give true or false"),
        ("count=1.5", "give a whole number"),
        ("rate=fast", "give a number"),
        ("mode=large", "give fast or small"),
        ("either=never", "give auto or a whole number"),
        ("maybe=none", "give a number"),
        ("pair=1,2", "make the target in Python"),
        ("count", "write --option KEY=VALUE"),
    ],
)
def test_what_is_allowed_is_said(pair: str, remedy: str) -> None:
    with pytest.raises(UsageError, match=remedy) as caught:
        target_with("every", {}, [pair])
    assert caught.value.code == "SSMC-U16"


@pytest.mark.parametrize("pairs", [["count=2", "count=2"], ["word=b"]])
def test_an_option_is_given_once(pairs: list[str]) -> None:
    with pytest.raises(UsageError, match="is given twice"):
        target_with("every", {"word": "a"}, pairs)


def test_types_that_exist_for_the_type_checker_alone_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Hidden(IntegerTarget):
        size: Decimal = 1  # type: ignore[name-defined] # noqa: F821

    assert [field.name for field in fields(Hidden)][-1] == "size"
    monkeypatch.setattr(options, "target_class", lambda name: Hidden)
    with pytest.raises(UsageError, match="name 'Decimal' is not defined"):
        target_with("hidden", {}, ["size=2"])

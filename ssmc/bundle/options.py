"""``--option KEY=VALUE``: a target's options as text, read as the types of its dataclass fields say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from ssmc.bundle.registry import make_target, require_option, target_class
from ssmc.errors import UsageError

if TYPE_CHECKING:
    from ssmc.targets.base import Target


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value


#: type -> how its values are written, and what reads them; ValueError or KeyError where the text is none of them
READERS: dict[Any, tuple[str, Callable[[str], object]]] = {
    bool: ("true or false", {"true": True, "false": False}.__getitem__),
    int: ("a whole number", int),
    float: ("a number", _finite),
    str: ("a text", str),
    Path: ("a path", Path),
}


def target_with(name: str, flags: Mapping[str, object], pairs: Sequence[str]) -> Target:
    """The target with the options that have a flag of their own (None: not given), and those of ``--option``.

    Raises:
        UsageError: SSMC-U16 for a pair that cannot be read or is given twice; also as `make_target`.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise UsageError("SSMC-U16", f"--option {pair} has no value", "write --option KEY=VALUE")
        if key in given:
            raise UsageError("SSMC-U16", f"option '{key}' is given twice", "give it once")
        given[key] = read_option(name, key, text)
    return make_target(name, **given)


def read_option(name: str, key: str, text: str) -> object:
    """The value of an option of a target, from its text.

    Raises:
        UsageError: SSMC-U16 where the target has no such option, or it cannot be that.
    """
    kind = target_class(name)
    require_option(name, kind, key)
    for value in _readings(text, hint := _type_of(name, kind, key)):
        return value
    allowed = " or ".join(_allowed(hint))
    remedy = f"give {allowed}" if allowed else "make the target in Python, this option cannot be written as text"
    raise UsageError("SSMC-U16", f"option '{key}' of target '{name}' cannot be '{text}'", remedy)


def _type_of(name: str, kind: type[Target], key: str) -> Any:
    try:
        return get_type_hints(kind)[key]
    except NameError as cause:
        fact = f"the option types of target '{name}' are unknown when it runs ({cause})"
        remedy = "import them outside of TYPE_CHECKING, where the target is defined"
        raise UsageError("SSMC-U16", fact, remedy) from cause


def _readings(text: str, hint: Any) -> Iterator[object]:
    """What the text can mean as a value of the type; of a union, in the order of its members."""
    if get_origin(hint) in (Union, UnionType):
        for member in get_args(hint):
            yield from _readings(text, member)
    elif get_origin(hint) is Literal:
        yield from (value for value in get_args(hint) if str(value) == text)
    elif hint in READERS:
        try:
            yield READERS[hint][1](text)
        except (ValueError, KeyError):
            return


def _allowed(hint: Any) -> list[str]:
    """In words what can be written for the type."""
    if get_origin(hint) in (Union, UnionType):
        return [words for member in get_args(hint) for words in _allowed(member)]
    if get_origin(hint) is Literal:
        return [str(value) for value in get_args(hint)]
    return [READERS[hint][0]] if hint in READERS else []

"""Change bytes, text and JSON at random."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
NAMES = (
    "", "x", "out", "a\0b", "a/b", "../../x", "n" * 300, "\u202ereversed\u2069", "\x1b[31mred", "<b>&", "ä\U0001f600",
    " ",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 63, 64, 1 << 31, 1 << 63, 10**30, 0.5, 1e308, -1e308, float("nan"), float("inf"),
    "", "x", "1/0", "1e999999999", [], [1], [[1, 2]], {}, {"array": "x"}, {"a": {}},
)  # fmt: skip
WORDS = (
    b"nan", b"inf", b"-1", b"0", b"1e400", b"9" * 5000, b"{}", b"[]", b"[" * 2000, b"true", b'"', b"'", b"\n", b"=",
    b"\0", b"\xff", b"low", b"value = 1e30", b"source", b"#", b"\xe2\x80\xae",
)  # fmt: skip


def one_of(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of them."""
    return choices[int(rng.integers(len(choices)))]


def change_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip, insert, remove, repeat or cut bytes."""
    if not data:
        return one_of(rng, WORDS)
    at, size = int(rng.integers(len(data))), int(rng.integers(1, 9))
    match int(rng.integers(6)):
        case 0:
            return data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :]
        case 1:
            return data[:at] + rng.bytes(size) + data[at + size :]
        case 2:
            return data[:at] + data[at + size :]
        case 3:
            return data[:at] + data[at : at + size] * 2 + data[at + size :]
        case 4:
            return data[:at]
    return data[:at] + one_of(rng, WORDS) + data[at:]


def change_line(data: bytes, rng: np.random.Generator) -> bytes:
    """Remove, repeat or swap lines of a text, change a value behind ``=``, or bytes."""
    lines = data.split(b"\n")
    at = int(rng.integers(len(lines)))
    match int(rng.integers(5)):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, one_of(rng, lines))
        case 2 | 3 if b"=" in lines[at]:
            words = lines[at].split(b" ")
            words[int(rng.integers(len(words)))] = one_of(rng, WORDS)
            lines[at] = b" ".join(words)
        case _:
            return change_bytes(data, rng)
    return b"\n".join(lines)


def change_json(data: bytes, rng: np.random.Generator) -> bytes:
    """Change, remove or add a value anywhere in a JSON text; bytes where it is none."""
    try:
        content = json.loads(data)
        places = list(_places(content))
    except (ValueError, RecursionError):
        return change_bytes(data, rng)
    if not places or rng.random() < 0.1:
        return change_bytes(data, rng)
    holder, key = one_of(rng, places)
    match int(rng.integers(6)):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[one_of(rng, NAMES)] = holder.pop(key)
        case 2 if isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
            holder[key] = holder[key] * one_of(rng, (-1, 2, 1000)) + one_of(rng, (0, 1, -1))
        case 3:
            other, at = one_of(rng, places)
            holder[key] = json.loads(json.dumps(other[at]))
        case _:
            holder[key] = one_of(rng, VALUES)
    return json.dumps(content).encode()


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Every place (container, key) of a value."""
    found: list[tuple[Any, Any]] = []
    stack = [content]
    while stack:
        node = stack.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
        for key in keys:
            found.append((node, key))
            stack.append(node[key])
    return found

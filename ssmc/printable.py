"""Text that may hold a model's names, made safe to show: no terminal escapes, no marks that reorder what is read."""

from __future__ import annotations

import unicodedata

#: controls, formats (bidirectional marks), surrogates, private use, unassigned, separators of lines and paragraphs
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: str, keep: str = "") -> str:
    r"""The text with every character that has no visible form as ``\xhh``, ``\uhhhh`` or ``\Uhhhhhhhh``.

    Args:
        text: any text.
        keep: characters that stay as they are, such as a newline.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in keep or unicodedata.category(c) not in HIDDEN else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 1 << 8:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"

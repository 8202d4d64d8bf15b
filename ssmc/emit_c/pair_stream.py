"""The constants of a kernel of pairs: one stream of bytes in the order of their use, so that one pointer reads them.

- By channel D; how many pairs do not turn, and these; how many do, and these (what no channel has is left out).
- By pair a00 c0 a01 c1, b0 b1 and the numbers of the first state; of a pair that does not turn then a10 a11 and the
  numbers of the second. Codes of 4 bits lie two a byte, the first in the lower half.

Numbers of a state are the factor (or multiplier and shift) of its sum, the scale of its read-out, and whether registers
are kept; those that take few values together are in tables, of which the stream has the index (`ssmc.emit_c.shared`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmc.emit_c import shared
from ssmc.emit_c.packing import pack_rows
from ssmc.emit_c.pairs import Pairs
from ssmc.emit_c.source import SourceFile, literal
from ssmc.emit_c.widths import INT8, CType, holding
from ssmc.ir.rounding import IntArray

KIND = "kind"


@dataclass(frozen=True)
class Stream:
    """Where everything lies.

    Attributes:
        name: of the array in C.
        fixed: numbers that all states share.
        fields: number -> its byte among those of a state, and its type.
        tables: number -> C name of its table, by kind.
        codes, row, numbers: bytes of a pair's codes, of a second row of A, of the numbers of a state.
    """

    name: str
    fixed: dict[str, int]
    fields: dict[str, tuple[int, CType]]
    tables: dict[str, str]
    codes: int
    row: int
    numbers: int

    def step(self, turned: bool) -> int:
        """Bytes of a pair."""
        return self.codes + self.numbers + (0 if turned else self.row + self.numbers)

    def at(self, state: int) -> int:
        """First byte of the numbers of a state."""
        return self.codes + state * (self.numbers + self.row)

    def has(self, number: str) -> bool:
        """Whether states have this number, rather than another in its place."""
        return number in self.fixed or number in self.fields or number in self.tables


def define_stream(file: SourceFile, name: str, pairs: Pairs, direct: IntArray) -> Stream:
    """Define the stream and its tables; ``direct`` is D by channel."""
    columns = min(_columns(pairs), key=lambda columns: shared.size(columns, shared.indexed(columns)))
    chosen = shared.indexed(columns)
    tables, index = shared.kinds(columns, chosen) if chosen else ({}, np.zeros(0, np.int64))
    fixed = {key: int(values[0]) for key, values in columns.items() if not shared.varies(values)}
    written = {key: values for key, values in columns.items() if key not in fixed and key not in tables}
    written = {**written, KIND: index} if chosen else written
    fields, bytes_of, place = {}, [], 0
    for key, values in written.items():
        ctype = holding(values)
        fields[key] = place, ctype
        bytes_of.append(np.ascontiguousarray(values, ctype.dtype).view(np.int8).reshape(len(values), -1))
        place += ctype.bytes
    numbers = np.concatenate(bytes_of, 1) if bytes_of else np.zeros((len(columns["scale"]), 0), np.int8)
    flat = _stream(pairs, direct, numbers.astype(np.int64))
    array = file.constant(f"{name}_pairs", flat, _comment(name, pairs, fields), INT8)
    defined = {
        key: file.constant(f"{name}_{key}", table, f"{name}: {key} by kind").name for key, table in tables.items()
    }
    codes, row = (6, 2) if pairs.bits == 8 else (3, 1)
    return Stream(array.name, fixed, fields, defined, codes, row, place)


def _columns(pairs: Pairs) -> tuple[shared.Columns, ...]:
    """Numbers of the first states, then of the second ones that have their own; in two forms."""
    general = ~pairs.turned

    def every(values: IntArray) -> IntArray:
        return np.concatenate([values[:, 0], values[general, 1]])

    masks = 0xFFFF * pairs.keep[:, 0] - (pairs.keep[:, 1] << 16)
    read = {"scale": every(1 << pairs.unit_left), "keep": np.concatenate([masks, masks[general]])}
    multiplier, left = every(pairs.multiplier), every(pairs.left)
    return {"factor": multiplier << left, **read}, {"multiplier": multiplier, "left": left, **read}


def _stream(pairs: Pairs, direct: IntArray, numbers: IntArray) -> IntArray:
    """All bytes."""
    (a, b), (c0, c1), count = pairs.a[:, 0].T, pairs.c.T, len(pairs.turned)
    codes = np.concatenate([_bytes(np.stack([a, c0, b, c1], 1), pairs.bits), _bytes(pairs.b, pairs.bits)], 1)
    general = np.flatnonzero(~pairs.turned)
    rows = dict(zip(general.tolist(), _bytes(pairs.a[general, 1], pairs.bits), strict=True))
    seconds = dict(zip(general.tolist(), numbers[count:], strict=True))
    parts = []
    for h, d in enumerate(direct.tolist()):
        own = np.flatnonzero(pairs.channel == h).tolist()
        turned = int(pairs.turned[own].sum())
        parts.append(np.array([d]))
        if general.size:
            parts.append(np.array([len(own) - turned]))
        for k in own[: len(own) - turned]:
            parts += [codes[k], numbers[k], rows[k], seconds[k]]
        if general.size < count:
            parts.append(np.array([turned]))
        parts += [part for k in own[len(own) - turned :] for part in (codes[k], numbers[k])]
    return np.concatenate(parts)


def _bytes(codes: IntArray, bits: int) -> IntArray:
    """(K, n) codes as signed bytes."""
    if bits == 8:
        return codes
    packed = pack_rows(codes, bits)
    return np.where(packed >> 7, packed - 256, packed)


def _comment(name: str, pairs: Pairs, fields: dict[str, tuple[int, CType]]) -> str:
    numbers = "".join(f", {key} ({ctype.bits} bit)" for key, (_, ctype) in fields.items())
    width = "" if pairs.bits == 8 else ", two codes a byte"
    return (
        f"{name}: by channel D, the number of pairs that do not turn, and these, that of those that turn, and these; "
        f"by pair a00 c0 a01 c1 b0 b1{width}{numbers}; of those that do not turn also a10 a11{numbers}"
    )


def number(stream: Stream, file: SourceFile, key: str, state: int) -> str:
    """C expression of a number of a pair's first or second state; tables are read by ``kind0`` or ``kind1``."""
    if key in stream.fixed:
        return literal(stream.fixed[key])
    if key in stream.tables:
        return f"{stream.tables[key]}[kind{state}]"
    place, ctype = stream.fields[key]
    at = stream.at(state) + place
    if ctype.bytes == 1:
        return f"w[{at}]" if ctype.signed else f"(uint8_t)w[{at}]"
    text = f"{file.helper(f'int{ctype.bits}_at')}(w + {at})"
    return text if ctype.signed else f"({ctype.name}){text}"

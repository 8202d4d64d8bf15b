"""Numbers that take few values together: an index each into small tables, where that is smaller."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from ssmc.emit_c.widths import holding
from ssmc.ir.rounding import IntArray

#: name -> values (K,)
Columns = dict[str, IntArray]


#: bytes that an index must save of every entry: reading by index takes three instructions more
WORTH = 1.2


def indexed(columns: Columns) -> tuple[str, ...]:
    """Those that had better share an index: of all choices the one of the fewest bytes, where it saves enough."""
    entries = len(next(iter(columns.values())))
    best = min(_choices(columns), key=lambda chosen: (size(columns, chosen), len(chosen)))
    return best if size(columns, ()) - size(columns, best) >= WORTH * entries else ()


def size(columns: Columns, chosen: tuple[str, ...]) -> int:
    """Bytes of all columns, those of ``chosen`` by an index; a column of one value takes none."""
    varied = {key: values for key, values in columns.items() if varies(values)}
    apart = sum(holding(values).bytes * values.size for key, values in varied.items() if key not in chosen)
    if not chosen:
        return apart
    tables, index = kinds(columns, chosen)
    return (
        apart
        + holding([len(tables[chosen[0]]) - 1]).bytes * index.size
        + sum(holding(table).bytes * table.size for table in tables.values())
    )


def kinds(columns: Columns, chosen: tuple[str, ...]) -> tuple[Columns, IntArray]:
    """A table of each chosen column, and the index of every entry."""
    tables, index = np.unique(np.stack([columns[key] for key in chosen]), axis=1, return_inverse=True)
    return dict(zip(chosen, tables, strict=True)), np.asarray(index.ravel(), np.int64)


def varies(values: IntArray) -> bool:
    """Whether there is more than one value."""
    return bool((values != values[0]).any())


def _choices(columns: Columns) -> Iterator[tuple[str, ...]]:
    varied = [key for key, values in columns.items() if varies(values)]
    for count in range(len(varied) + 1):
        yield from combinations(varied, count)

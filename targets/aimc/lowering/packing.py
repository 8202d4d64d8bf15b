"""Which cells of which array hold which block of a matrix.

A *block* is some outputs of one group of one row split. Four ways to place blocks:

- ``one``: an array each, as in the literature (IMSSA, QS4D);
- ``diagonal``: blocks of one matrix on the diagonal of an array, no row and no column in common, driven at once. The
  cells off the diagonal hold code 0 and see both drives: on real devices they add noise and energy;
- ``multiplexed``: blocks of one matrix wherever cells are free, driven one after the other (*waves*); rows that are not
  driven add nothing. Remainders of a split matrix may be cut to fit;
- ``shared``: the same with blocks of all matrices, which then wait for each other. Remainders of several large
  matrices fill arrays this way.

Where converters share a step (``adc.step``), blocks share an array only if their steps are equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from ssmc.hardware.model import Hardware

Mode = Literal["one", "diagonal", "multiplexed", "shared"]
MODES: tuple[Mode, ...] = ("one", "diagonal", "multiplexed", "shared")


@dataclass(frozen=True)
class Packing:
    """How blocks share arrays: the mode, and at most how many of a bank in one array (0: as many as fit)."""

    mode: Mode = "one"
    limit: int = 0

    def __str__(self) -> str:
        return f"{self.mode}, up to {self.limit} an array" if self.limit else self.mode


ONE = Packing()


@dataclass(frozen=True)
class Block:
    """Outputs start..stop of a group of a bank, to be placed.

    Attributes:
        bank: index of the bank.
        group, outputs: what it holds.
        live: the outputs that have columns.
        rows: physical rows.
        width: physical columns of one output.
        step: step settings that its converters share with the others of its array; None where they may differ.
        may_cut: whether its outputs may go to several places: a remainder of a split matrix.
    """

    bank: int
    group: int
    outputs: tuple[int, int]
    live: tuple[int, ...]
    rows: int
    width: int
    step: object = None
    may_cut: bool = False

    @property
    def columns(self) -> int:
        """Physical columns."""
        return len(self.live) * self.width

    def cut_after(self, count: int) -> tuple[Block, Block | None]:
        """The block with its first ``count`` live outputs, and the rest if there is one."""
        if count >= len(self.live):
            return self, None
        at = self.live[count]
        first = replace(self, outputs=(self.outputs[0], at), live=self.live[:count])
        return first, replace(self, outputs=(at, self.outputs[1]), live=self.live[count:])


@dataclass(frozen=True)
class Placed:
    """A block with its array and the first of its physical rows and columns; ``wave`` is when it is driven."""

    block: Block
    array: int
    row: int = 0
    column: int = 0
    wave: int = 0


@dataclass(frozen=True)
class Room:
    """Free cells: a rectangle."""

    row: int
    column: int
    rows: int
    columns: int


@dataclass(eq=False)
class Shelf:
    """An array that is being filled."""

    array: int
    step: object
    rooms: list[Room]
    banks: Counter[int] = field(default_factory=Counter)


def pack(blocks: list[Block], packing: Packing, first: int, hw: Hardware) -> list[Placed]:
    """Place blocks in arrays ``first``, ``first + 1``, ..; every cell belongs to one block at most."""
    if packing.mode == "one":
        return [Placed(block, first + k) for k, block in enumerate(blocks)]
    if packing.mode == "diagonal":
        return list(_diagonal(blocks, packing.limit, first, hw))
    return _waves(_multiplexed(blocks, packing.limit, first, hw))


def _diagonal(blocks: list[Block], limit: int, first: int, hw: Hardware) -> Iterator[Placed]:
    """Along the diagonal while it lasts; a block that needs a whole row range shares with none."""
    array, row, column, held, step, bank = first - 1, 0, 0, 0, None, -1
    width = hw.array.columns - hw.reference_columns
    for block in blocks:
        fits = row + block.rows <= hw.active_rows and column + block.columns <= width
        joins = held and fits and block.bank == bank and block.step == step and (not limit or held < limit)
        if not joins:
            array, row, column, held = array + 1, 0, 0, 0
        yield Placed(block, array, row, column)
        row, column, held = row + block.rows, column + block.columns, held + 1
        step, bank = block.step, block.bank


@dataclass
class Shelves:
    """Arrays that are being filled, at most ``limit`` blocks of a bank in each (0: as many as fit)."""

    limit: int
    every: list[Shelf] = field(default_factory=list)
    _open: dict[tuple[int | None, object], tuple[list[Shelf], int]] = field(default_factory=dict)

    def open_to(self, block: Block) -> list[Shelf]:
        """Those that the block may join, in order: of its step, not full, and not full for its bank."""
        key = block.bank if self.limit else None, block.step
        found, seen = self._open.get(key, ([], 0))
        found += [shelf for shelf in self.every[seen:] if shelf.step == block.step and shelf.rooms]
        self._open[key] = found, len(self.every)
        return found

    def fill(self, shelf: Shelf, room: Room, block: Block, left: list[Room]) -> None:
        """Put a block into a room, of which rooms may be left."""
        found = self.open_to(block)
        shelf.rooms.remove(room)
        shelf.rooms += left
        shelf.banks[block.bank] += 1
        if not shelf.rooms or shelf.banks[block.bank] == self.limit:
            found.remove(shelf)

    def rooms(self, block: Block, columns: int) -> list[tuple[Shelf, Room]]:
        """Rooms that take all rows of a block and so many columns."""
        rows = block.rows
        return [
            (shelf, room)
            for shelf in self.open_to(block)
            for room in shelf.rooms
            if room.rows >= rows and room.columns >= columns
        ]

    def new(self, array: int, step: object, whole: Room) -> tuple[Shelf, Room]:
        """One more array, empty."""
        self.every.append(Shelf(array, step, [whole]))
        return self.every[-1], whole


def _multiplexed(blocks: list[Block], limit: int, first: int, hw: Hardware) -> list[Placed]:
    """Tallest first, each into the smallest free rectangle that takes it; what may be cut fills what is left."""
    shelves = Shelves(limit)
    placed: list[Placed] = []
    queue = sorted(blocks, key=lambda b: (b.rows, b.columns, -b.bank, -b.group, tuple(-at for at in b.outputs)))
    rows = min((b.rows for b in blocks), default=0)
    columns = min((b.width if b.may_cut else b.columns for b in blocks), default=0)
    while queue:
        block = queue.pop()
        spot = _whole(block, shelves) or (_largest_cut(block, shelves) if block.may_cut else None)
        if spot is None:
            whole = Room(0, 0, hw.array.rows, hw.array.columns - hw.reference_columns)
            spot = shelves.new(first + len(shelves.every), block.step, whole)
        shelf, room = spot
        part, rest = block.cut_after(room.columns // block.width)
        if rest is not None:
            queue.append(rest)
        placed.append(Placed(part, shelf.array, room.row, room.column))
        left = [left for left in _left(room, part) if left.rows >= rows and left.columns >= columns]
        shelves.fill(shelf, room, part, left)
    return placed


def _whole(block: Block, shelves: Shelves) -> tuple[Shelf, Room] | None:
    """The smallest room that takes all outputs."""
    rooms = shelves.rooms(block, block.columns)
    return min(rooms, key=lambda at: (at[1].rows * at[1].columns, *_corner(at)), default=None)


def _largest_cut(block: Block, shelves: Shelves) -> tuple[Shelf, Room] | None:
    """The room that takes most outputs."""
    return min(shelves.rooms(block, block.width), key=lambda at: (-at[1].columns, *_corner(at)), default=None)


def _corner(at: tuple[Shelf, Room]) -> tuple[int, int, int]:
    return at[0].array, at[1].row, at[1].column


def _left(room: Room, block: Block) -> list[Room]:
    """What a block in the corner of a room leaves: two rectangles, the larger one as large as possible."""
    below, right = room.rows - block.rows, room.columns - block.columns
    if below * room.columns >= right * room.rows:
        parts = (
            Room(room.row + block.rows, room.column, below, room.columns),
            Room(room.row, room.column + block.columns, block.rows, right),
        )
    else:
        parts = (
            Room(room.row, room.column + block.columns, room.rows, right),
            Room(room.row + block.rows, room.column, below, block.columns),
        )
    return [part for part in parts if part.rows and part.columns]


def _waves(placed: list[Placed]) -> list[Placed]:
    """Number the blocks of a bank in an array: one wave each, but the same rows under the same drive are one wave."""
    seen: dict[tuple[int, int], dict[tuple[int, int], int]] = {}
    out = []
    for p in placed:
        waves = seen.setdefault((p.block.bank, p.array), {})
        wave = waves.setdefault((p.block.group, p.row), len(waves))
        out.append(Placed(p.block, p.array, p.row, p.column, wave))
    return out

"""The database of a sweep: one SQLite file, one row a point; what is in it is done, whatever was killed.

A row is written once, in one transaction, when its point is done. Work that was under way leaves no trace, so that the
next run does it again, and nothing is ever done twice into the file. The write-ahead log lets others read meanwhile.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ssmc.errors import BUG, UsageError
from ssmc.sweep.evaluate import Figures
from ssmc.sweep.spec import Point, Sweep

SCHEMA = "ssmc.sweep-results/1"
TABLES = (
    "CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS results (id TEXT PRIMARY KEY, point TEXT NOT NULL, figures TEXT NOT NULL, "
    "error TEXT NOT NULL, seconds REAL NOT NULL)",
)
REMEDY = "choose another file with -o, or remove it"


@dataclass(frozen=True)
class Result:
    """A point that is done: its figures, or why it was refused."""

    point: Point
    figures: Figures
    error: str
    seconds: float


class Store:
    """The results of a sweep, kept in a file."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            UsageError: SSMC-W04 where it is no database of a sweep, or cannot be written.
        """
        self.path = path
        with self._refusing():
            self._base = sqlite3.connect(path, timeout=60)
            self._base.execute("PRAGMA journal_mode=WAL")
            with self._base:
                for statement in TABLES:
                    self._base.execute(statement)
                self._base.execute("INSERT OR IGNORE INTO about VALUES ('schema', ?)", (SCHEMA,))
            (schema,) = self._base.execute("SELECT value FROM about WHERE key = 'schema'").fetchone()
        if schema != SCHEMA:
            raise UsageError("SSMC-W04", f"has schema {schema!r}, this ssmc reads {SCHEMA!r}", REMEDY, str(path))

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self._base.close()

    def open_points(self, sweep: Sweep) -> list[Point]:
        """Points of the sweep without a result, in order; those where a bug of ours was in the way are tried again."""
        done = {row for (row,) in self._base.execute(f"SELECT id FROM results WHERE error NOT LIKE '{BUG}%'")}
        return [point for point in sweep.points if sweep.id_of(point) not in done]

    def add(self, sweep: Sweep, result: Result) -> None:
        """Keep a result of the sweep."""
        row = (
            sweep.id_of(result.point), json.dumps(result.point, sort_keys=True),
            json.dumps(result.figures, sort_keys=True), result.error, result.seconds,
        )  # fmt: skip
        with self._refusing(), self._base:
            self._base.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?)", row)

    def results(self, sweep: Sweep) -> list[Result]:
        """Results of the sweep's points, in its order."""
        rows = {row[0]: row for row in self._base.execute("SELECT id, point, figures, error, seconds FROM results")}
        found = (rows[id_] for id_ in map(sweep.id_of, sweep.points) if id_ in rows)
        return [
            Result(json.loads(point), json.loads(figures), error, seconds)
            for _, point, figures, error, seconds in found
        ]

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as cause:
            raise UsageError("SSMC-W04", f"is no database of a sweep ({cause})", REMEDY, str(self.path)) from cause

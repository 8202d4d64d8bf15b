"""The sweep file: TOML that says which points to compile, and on which data.

    schema = "ssmc.sweep/1"

    [base]                                   # what all points share
    model = "model.onnx"
    data = "test.npz"
    target = "aimc"

    [grid]                                   # every combination
    "adc.bits" = [8, 6, 5]
    packing = ["one", "auto"]

    [[points]]                               # points of their own
    hardware = "isaac128"

A key is one of `PLAIN`, ``quantize.FIELD`` (`ssmc.quantize.QuantizeConfig`; then the model is a float one), a key of
the hardware file (``adc.bits``), or an option of the target (``packing``). Paths are relative to the file.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from hashlib import file_digest, sha256
from itertools import product
from pathlib import Path
from typing import Any

from ssmc.bundle.options import read_option
from ssmc.bundle.registry import target_class
from ssmc.errors import UsageError
from ssmc.hardware.file import preset_names
from ssmc.hardware.model import rules, sections
from ssmc.importers.tensors import external_files
from ssmc.quantize.config import QuantizeConfig
from ssmc.reading import read_text
from ssmc.version import __version__

SCHEMA = "ssmc.sweep/1"
#: key -> (type, default; None where it may be missing, what it is)
PLAIN: dict[str, tuple[type, Any, str]] = {
    "model": (str, None, "an ONNX file"),
    "data": (str, "", "labelled sequences (.npz) on which accuracy is measured"),
    "calibration": (str, "", "sequences (.npz) on which quantize.* quantizes"),
    "target": (str, "int", "name of a target"),
    "steps": (int, 100, "time steps of an inference whose costs are given"),
    "chips": (int, 0, "noisy chips to simulate (aimc); 0: none"),
    "time_s": (float, 0.0, "seconds since those were programmed"),
    "seed": (int, 0, "seed of the first chip"),
}
#: keys whose values are files; a hardware that is no preset is one too
PATHS = ("model", "data", "calibration", "ranges", "noise_data", "hardware")
#: key -> (lowest, highest) of the plain numbers
LIMITS = {"steps": (1, 10**12), "chips": (0, 100_000), "time_s": (0, 1e12), "seed": (0, 2**32 - 1)}
QUANTIZE = "quantize."
MOST_POINTS = 100_000

Point = dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """The points of a file, each with every key it needs, in the order of the file; no two are equal.

    Attributes:
        points: the points.
        stamps: SHA-256 of what every file holds that a point names, by path.
    """

    points: tuple[Point, ...]
    stamps: Mapping[str, str]

    def id_of(self, point: Point) -> str:
        """What tells a result from others: SHA-256 of the point, of what its files hold and of the version of ssmc."""
        files = {key: self.stamps.get(str(point.get(key)), "") for key in PATHS}
        return sha256(json.dumps([point, files, __version__], sort_keys=True).encode()).hexdigest()

    @property
    def varied(self) -> tuple[str, ...]:
        """Keys that are not the same for all points, in the order in which they first appear."""
        keys = dict.fromkeys(key for point in self.points for key in point)
        return tuple(key for key in keys if len({json.dumps(point.get(key)) for point in self.points}) > 1)


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        UsageError: SSMC-W01 where it cannot be read or is no sweep file, SSMC-W02 an unknown key or a value of another
            type, SSMC-U16 a value that an option of the target cannot have, SSMC-W03 no point, too many, one without a
            model, or a file that is missing, SSMC-U01 and SSMC-U07 a model that cannot be read.
        ModelError: SSMC-M12 where external data of a model are missing.
    """
    text = read_text(path, "SSMC-W01", "give a readable TOML file")
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as cause:
        raise UsageError("SSMC-W01", f"is not TOML ({cause})", "correct the syntax", str(path)) from cause
    if data.get("schema") != SCHEMA:
        fact = f"has schema {data.get('schema')!r}"
        raise UsageError("SSMC-W01", fact, f'this ssmc reads schema = "{SCHEMA}"', str(path))
    base, grid, listed = data.get("base", {}), data.get("grid", {}), data.get("points", [])
    _require_tables(path, data, base, grid, listed)
    points = [_point(path, raw) for raw in _raw_points(path, base, grid, listed)]
    unique = {json.dumps(point, sort_keys=True): point for point in points}
    named = {str(point[key]): key for point in points for key in PATHS if Path(point.get(key, "")).is_absolute()}
    return Sweep(tuple(unique.values()), {file: _stamp(path, key, Path(file)) for file, key in named.items()})


def _stamp(path: Path, key: str, file: Path) -> str:
    """SHA-256 of what a file holds, the external data of a model included."""
    found = sha256()
    for part in (file, *(external_files(file) if key == "model" and file.is_file() else ())):
        if not part.is_file():
            fact = f"{key} '{part}' is not a file"
            raise UsageError("SSMC-W03", fact, "give its path relative to the sweep file", str(path))
        with part.open("rb") as stream:
            found.update(file_digest(stream, "sha256").digest())
    return found.hexdigest()


def _require_tables(path: Path, data: Any, base: Any, grid: Any, listed: Any) -> None:
    unknown = set(data) - {"schema", "base", "grid", "points"}
    if unknown:
        fact = f"has a table '{sorted(unknown)[0]}'"
        raise UsageError("SSMC-W02", fact, "use [base], [grid] and [[points]]", str(path))
    for name, table in (("base", base), ("grid", grid)):
        if not isinstance(table, dict):
            raise UsageError("SSMC-W02", f"'{name}' is no table", f"write [{name}]", str(path))
    if not isinstance(listed, list) or not all(isinstance(point, dict) for point in listed):
        raise UsageError("SSMC-W02", "'points' is no list of tables", "write [[points]] for every point", str(path))


def _raw_points(path: Path, base: Point, grid: Point, listed: list[Point]) -> Iterator[Point]:
    axes = {key: values if isinstance(values, list) else [values] for key, values in _flat(grid)}
    count = 1
    for key, values in axes.items():
        if not values:
            raise UsageError("SSMC-W03", f"'{key}' has no value", "give it one", str(path))
        count *= len(values)
    count = (count if axes else 0) + len(listed)
    if not 0 < count <= MOST_POINTS:
        fact = f"asks for {count} points"
        raise UsageError("SSMC-W03", fact, f"give 1 to {MOST_POINTS}, in [grid] or [[points]]", str(path))
    shared = dict(_flat(base))
    if axes:
        for chosen in product(*axes.values()):
            yield {**shared, **dict(zip(axes, chosen, strict=True))}
    for point in listed:
        yield {**shared, **dict(_flat(point))}


def _flat(table: Point, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``adc.bits`` may be written quoted, or as a table."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _point(path: Path, raw: Point) -> Point:
    """Every plain key with its default, paths made absolute, the rest as given."""
    known = {key: default for key, (_, default, _) in PLAIN.items()}
    point = {**known, **raw}
    for key, value in raw.items():
        _check(path, key, value, str(point["target"]))
    if not point["model"]:
        raise UsageError("SSMC-W03", "a point has no model", 'write model = "model.onnx" in [base]', str(path))
    if any(key.startswith(QUANTIZE) for key in raw) and not point["calibration"]:
        remedy = 'write calibration = "train.npz" in [base]'
        raise UsageError("SSMC-W03", "a point is quantized without sequences to calibrate on", remedy, str(path))
    hardware = point.get("hardware", "")
    if hardware and hardware not in preset_names() and not (path.parent / hardware).is_file():
        fact = f"hardware '{hardware}' is no file, and no preset"
        raise UsageError(
            "SSMC-W03", fact, "give its path relative to the sweep file, or one of 'ssmc hardware list'", str(path)
        )
    for key in PATHS:
        if point.get(key) and (key != "hardware" or (path.parent / point[key]).is_file()):
            point[key] = str((path.parent / point[key]).resolve())
    return point


def _check(path: Path, key: str, value: Any, target: str) -> None:
    wanted = _type_of(path, key, target)
    if wanted is None:
        if not isinstance(value, str | int | float):
            raise UsageError("SSMC-W02", f"{key} is {value!r}", "write a text or a number", str(path))
        read_option(target, key, _text(value))
    number = wanted is float and isinstance(value, int | float) and not isinstance(value, bool)
    if wanted is not None and not number and type(value) is not wanted:
        fact = f"{key} is {value!r}"
        raise UsageError("SSMC-W02", fact, f"write a value of type {wanted.__name__}", str(path))
    if key in PATHS and "\0" in value:
        raise UsageError("SSMC-W02", f"{key} has a NUL in it", "write the path of a file", str(path))
    if key in LIMITS and not LIMITS[key][0] <= value <= LIMITS[key][1]:
        low, high = LIMITS[key]
        raise UsageError("SSMC-W02", f"{key} is {value!r}", f"write a number from {low:g} to {high:g}", str(path))


def _type_of(path: Path, key: str, target: str) -> type | None:
    """The type of a key's values; None where the target reads it."""
    if key in PLAIN:
        return PLAIN[key][0]
    quantize = [f"{QUANTIZE}{field.name}" for field in fields(QuantizeConfig)]
    if key in quantize:
        default = getattr(QuantizeConfig(), key.removeprefix(QUANTIZE))
        return int if default is None else type(default)  # None stands for the width of something else
    hardware = {f"{table}.{name}": rule for table in sections() for name, rule in rules(table).items()}
    if key in hardware:
        return hardware[key].kind
    options = [field.name for field in fields(target_class(target)) if field.name != "set"]
    if key in options:
        return str if key in PATHS else None
    known = [*PLAIN, *options, *quantize, *hardware]
    near = difflib.get_close_matches(key, known, 1, 0.5)
    hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join([*PLAIN, *options])}, or a hardware key"
    raise UsageError("SSMC-W02", f"'{key}' is not a key", hint, str(path))


def hardware_settings(point: Point) -> tuple[str, ...]:
    """The hardware keys of a point, as ``--set`` takes them."""
    tables = tuple(f"{table}." for table in sections())
    return tuple(f"{key}={_text(value)}" for key, value in point.items() if key.startswith(tables))


def target_options(point: Point) -> tuple[str, ...]:
    """Options of the target, as ``--option`` takes them: what is neither plain nor of the quantizer or the hardware."""
    apart = (QUANTIZE, *(f"{table}." for table in sections()))
    return tuple(
        f"{key}={_text(value)}"
        for key, value in point.items()
        if key not in (*PLAIN, "ranges") and not key.startswith(apart)
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

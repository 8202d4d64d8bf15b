"""The tile program as versioned JSON and arrays, and back: reading what was written is the identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssmc.errors import UsageError
from ssmc.ir.rates import Clock
from ssmc.ir.serialize import decode_fields, encode_fields
from ssmc.targets.aimc.lowering.mapping import Bank
from ssmc.targets.aimc.lowering.serialize import reading
from ssmc.targets.aimc.tiles.instructions import INSTRUCTIONS, Accumulator, Instruction, Register, TileProgram, Value
from ssmc.targets.base import Arrays, Json

SCHEMA = "ssmc.tiles/1"
LISTS = ("setup", "per_step", "per_sequence")
NAMED: dict[str, type] = {"banks": Bank, "registers": Register, "accumulators": Accumulator, "values": Value}
_BY_NAME = {kind.__name__: kind for kind in INSTRUCTIONS}


@dataclass(frozen=True)
class _Clock:
    """The clock of an op."""

    op: str
    clock: Clock


def tiles_to_json(tiles: TileProgram) -> tuple[Json, Arrays]:
    """Key-sorted JSON without timestamps, and the arrays it names (keys start with ``tiles/``)."""
    arrays: Arrays = {}
    data: Json = {"schema": SCHEMA, "hardware": tiles.hardware}
    for table in NAMED:
        named = getattr(tiles, table)
        data[table] = {
            name: encode_fields(item, f"tiles/{table}/{k}", arrays) for k, (name, item) in enumerate(named.items())
        }
    for name in LISTS:
        code = getattr(tiles, name)
        data[name] = [_instruction(i, f"tiles/{name}/{k}", arrays) for k, i in enumerate(code)]
    clocks = [encode_fields(_Clock(*item), "", arrays) for item in tiles.clocks.items()]
    data |= {"clocks": clocks} if clocks else {}
    return data, arrays


def tiles_from_json(data: Json, arrays: Mapping[str, NDArray[np.generic]]) -> TileProgram:
    """The tile program that `tiles_to_json` wrote.

    Raises:
        UsageError: SSMC-B03 another schema version, SSMC-B04 a field or an array is missing or malformed.
    """
    if data.get("schema") != SCHEMA:
        fact = f"tile program schema is {data.get('schema')!r}, this ssmc reads {SCHEMA!r}"
        raise UsageError("SSMC-B03", fact, "compile the model again")
    with reading("tile program"):
        parts: Json = {name: tuple(_read(item, arrays) for item in data[name]) for name in LISTS}
        for table, kind in NAMED.items():
            parts[table] = {name: decode_fields(kind, item, arrays) for name, item in data[table].items()}
        # JSON has its keys sorted; a chip draws its programming noise in the order in which it is written
        parts["banks"] = {i.bank: parts["banks"][i.bank] for i in parts["setup"]}
        clocks = [decode_fields(_Clock, item, arrays) for item in data.get("clocks", ())]
        parts["clocks"] = {item.op: item.clock for item in clocks}
        return TileProgram(hardware=str(data["hardware"]), **parts)


def stored_once(data: Json, arrays: Arrays) -> tuple[Json, Arrays]:
    """The same data with equal arrays stored once, under the key of the first."""
    first: dict[tuple[str, tuple[int, ...], bytes], str] = {}
    keys = {
        key: first.setdefault((array.dtype.str, array.shape, array.tobytes()), key) for key, array in arrays.items()
    }
    kept = {key: arrays[key] for key in first.values()}
    return _renamed(data, keys), kept


def _renamed(data: Any, keys: Mapping[str, str]) -> Any:
    match data:
        case {"array": str(key), "shape": shape, **rest} if not rest:
            return {"array": keys[key], "shape": shape}
        case dict():
            return {name: _renamed(item, keys) for name, item in data.items()}
        case list():
            return [_renamed(item, keys) for item in data]
    return data


def _instruction(i: Instruction, path: str, arrays: Arrays) -> Json:
    return {"do": type(i).__name__, **encode_fields(i, path, arrays)}


def _read(item: Json, arrays: Mapping[str, NDArray[np.generic]]) -> Instruction:
    found = decode_fields(_BY_NAME[item["do"]], item, arrays)
    assert isinstance(found, Instruction)
    return found

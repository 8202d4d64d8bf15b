"""A `Program` as JSON and arrays, and back: what ``program.json`` and ``weights.npz`` hold.

Driven by the dataclass fields of `ssmc.ir.program` and `ssmc.ir.operations`, so a new operation needs nothing here:

- an array is ``{"array": key}`` and lies in the arrays under that key, integers in the narrowest signed dtype; keys
  are made of field names and positions alone, never of names in the model;
- an exact rational is ``"num/den"``;
- an operation is its fields plus ``"op": name``; a mapping with integer keys has them as strings.

Reading back gives int64 and float64 again: writing and reading is the identity.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from fractions import Fraction
from functools import cache, lru_cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from ssmc.errors import UsageError
from ssmc.ir.operations import OPERATIONS, AnyOp, Op
from ssmc.ir.program import Program

Json: TypeAlias = dict[str, Any]
Arrays: TypeAlias = dict[str, NDArray[np.generic]]
Decoder: TypeAlias = Callable[[Any, Mapping[str, NDArray[np.generic]]], Any]

REMEMBERED = 1 << 12
SCHEMA = "ssmc.program/1"
DAMAGE = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
_BY_NAME = {kind.__name__: kind for kind in OPERATIONS}


def program_to_json(program: Program) -> tuple[Json, Arrays]:
    """The program as plain JSON, and the arrays it names."""
    arrays: Arrays = {}
    return {"schema": SCHEMA, **_encode_fields(program, "", arrays)}, arrays


def program_from_json(json: Json, arrays: Mapping[str, NDArray[np.generic]]) -> Program:
    """The program that `program_to_json` wrote.

    Raises:
        UsageError: SSMC-B03 another schema version, SSMC-B04 a field or an array is missing or malformed.
    """
    if json.get("schema") != SCHEMA:
        raise UsageError(
            "SSMC-B03", f"program schema is {json.get('schema')!r}, this ssmc reads {SCHEMA!r}", "recompile"
        )
    try:
        program: Program = _decode_fields(Program, json, arrays)
    except DAMAGE as cause:
        fact = f"the program is damaged ({type(cause).__name__}: {cause})"
        raise UsageError("SSMC-B04", fact, "recompile the model") from cause
    return program


def _encode_fields(value: Any, path: str, arrays: Arrays) -> Json:
    prefix = f"{path}/" if path else ""
    return {f.name: _encode(getattr(value, f.name), f"{prefix}{f.name}", arrays) for f in fields(value)}


def _encode(value: Any, path: str, arrays: Arrays) -> Any:
    match value:
        case np.ndarray():
            arrays[path] = narrow(value)
            return {"array": path, "shape": list(value.shape)}
        case Fraction():
            return f"{value.numerator}/{value.denominator}"
        case tuple() if value and all(isinstance(item, Fraction) for item in value):  # most of what there is: no paths
            return [f"{item.numerator}/{item.denominator}" for item in value]
        case Op():
            return {"op": type(value).__name__, **_encode_fields(value, path, arrays)}
        case tuple():
            return [_encode(item, f"{path}/{i}", arrays) for i, item in enumerate(value)]
        case dict():
            return {str(key): _encode(value[key], f"{path}/{i}", arrays) for i, key in enumerate(sorted(value))}
        case np.generic():
            return value.item()
        case None | bool() | int() | float() | str():
            return value
    if is_dataclass(value):
        return _encode_fields(value, path, arrays)
    raise TypeError(f"{path}: {type(value).__name__} has no written form")


def narrow(value: NDArray[np.generic]) -> NDArray[np.generic]:
    """Integers in the narrowest signed dtype that holds them; real numbers as float64."""
    if value.dtype.kind not in "iu":
        return value.astype(np.float64)
    lo, hi = int(value.min(initial=0)), int(value.max(initial=0))
    for dtype in (np.int8, np.int16, np.int32):
        if np.iinfo(dtype).min <= lo and hi <= np.iinfo(dtype).max:
            return value.astype(dtype)
    return value.astype(np.int64)


def widen(value: NDArray[np.generic]) -> NDArray[np.generic]:
    """The int64 or float64 array that `narrow` was given."""
    return value.astype(np.int64 if value.dtype.kind in "iu" else np.float64)


@cache
def _fields(kind: type) -> tuple[tuple[str, bool, Decoder], ...]:
    """Every field of a dataclass: its name, whether it must be there, and what reads it."""
    types = get_type_hints(kind)
    return tuple(
        (f.name, f.default is MISSING and f.default_factory is MISSING, _limited(_decoder(types[f.name]), f))
        for f in fields(kind)
    )


def _limited(read: Decoder, field: Field[Any]) -> Decoder:
    """``read``, held to the least and the most number that the field gives as ``within``, if it does."""
    if "within" not in field.metadata:
        return read
    least, most = field.metadata["within"]

    def limited(json: Any, arrays: Mapping[str, NDArray[np.generic]]) -> Any:
        found = read(json, arrays)
        if not ((least <= np.asarray(found)) & (np.asarray(found) <= most)).all():
            raise ValueError(f"{field.name} is not within {least}..{most}")
        return found

    return limited


def _decode_fields(kind: type, json: Json, arrays: Mapping[str, NDArray[np.generic]]) -> Any:
    """A field with a default may be missing: it is newer than what wrote the JSON."""
    given = {name: read(json[name], arrays) for name, needed, read in _fields(kind) if needed or name in json}
    return kind(**given)


@cache
def _decoder(kind: Any) -> Decoder:
    """What reads a value of a type: types are looked at once, not value by value."""
    origin, args = get_origin(kind), get_args(kind)
    if kind == AnyOp:
        return lambda json, arrays: _decode_fields(_BY_NAME[json["op"]], json, arrays)
    if origin in (Union, UnionType):
        some = _decoder(next(a for a in args if a is not NoneType))
        return lambda json, arrays: None if json is None else some(json, arrays)
    if origin is Literal:
        return lambda json, arrays: _one_of(args, json)
    if origin is np.ndarray:
        return lambda json, arrays: _array(args, arrays[json["array"]], json["shape"])
    if origin is tuple:
        return _tuple_decoder(args)
    if origin is dict:
        key, value = args[0], _decoder(args[1])
        return lambda json, arrays: {key(k): value(item, arrays) for k, item in json.items()}
    if kind is Fraction:
        return lambda json, arrays: _fraction(json)
    if kind is Any:
        return lambda json, arrays: json
    if isinstance(kind, type) and is_dataclass(kind):
        return lambda json, arrays: _decode_fields(kind, json, arrays)
    return lambda json, arrays: _scalar(kind, json)


def _tuple_decoder(args: tuple[Any, ...]) -> Decoder:
    """Of as many values as there are, or of one for each of the types."""
    if args == (Fraction, Ellipsis):
        return lambda json, arrays: tuple(map(_fraction, json))
    if Ellipsis in args:
        each = _decoder(args[0])
        return lambda json, arrays: tuple([each(item, arrays) for item in json])
    kinds = [_decoder(kind) for kind in args]
    return lambda json, arrays: tuple([read(item, arrays) for read, item in zip(kinds, json, strict=True)])


def _array(args: tuple[Any, ...], array: NDArray[np.generic], shape: list[int]) -> NDArray[np.generic]:
    """An array of the shape that was written and the dtype that the field says: whole numbers where it is integer."""
    if list(array.shape) != shape:
        raise ValueError(f"an array of shape {list(array.shape)} is not one of {shape}")
    wide = widen(array)
    (wanted,) = get_args(args[1])
    if not issubclass(wide.dtype.type, wanted):
        raise ValueError(f"an array of {array.dtype} is not one of {wanted.__name__}")
    return wide


@lru_cache(maxsize=REMEMBERED)
def _fraction(text: str) -> Fraction:
    """Rows share few ratios."""
    if not re.fullmatch(r"-?[0-9]{1,4000}/[0-9]{1,4000}", text):
        raise ValueError(f"{text[:40]!r} is no fraction")
    return Fraction(text)


def _one_of(allowed: tuple[Any, ...], json: Any) -> Any:
    if json not in allowed:
        raise ValueError(f"{json!r} is not one of {allowed}")
    return json


def _scalar(kind: type, json: Any) -> Any:
    if kind is float and isinstance(json, int) and not isinstance(json, bool):
        return float(json)
    if kind is float and json is None:  # as `ssmc.report.facts.dump_json` writes what is not finite
        return float("nan")
    if type(json) is not kind:
        raise ValueError(f"{json!r} is not {kind.__name__}")
    return json


def encode_fields(value: Any, path: str, arrays: Arrays) -> Json:
    """The fields of any dataclass as JSON, its arrays put under ``path/...``: for what targets write themselves."""
    return _encode_fields(value, path, arrays)


def decode_fields(kind: type, json: Json, arrays: Mapping[str, NDArray[np.generic]]) -> Any:
    """The dataclass that `encode_fields` wrote; KeyError, TypeError or ValueError where it is damaged."""
    return _decode_fields(kind, json, arrays)

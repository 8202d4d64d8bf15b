"""Change an npz archive at random: its arrays, its members, or bytes."""

from __future__ import annotations

import io
import zipfile

import numpy as np

from tests.fuzzing.mutate_text import NAMES, change_bytes, one_of
from tests.fuzzing.seeds import npz

DTYPES = ("<f4", ">f8", "<f2", "<i8", "<u8", "|i1", "|b1", "<c16", "<U3", "|S4", "<M8[s]", "|V4")


def mutate_npz(data: bytes, rng: np.random.Generator) -> bytes:
    """The archive with one change."""
    if rng.random() < 0.25:
        return change_bytes(data, rng)
    try:
        members = _members(data)
        arrays = {name: np.load(io.BytesIO(raw)) for name, raw in members.items()}
    except Exception:  # it is damaged already
        return change_bytes(data, rng)
    name = one_of(rng, sorted(arrays))
    try:
        return _changed(arrays, members, name, rng)
    except (ValueError, TypeError, OverflowError):  # a dtype that the array has no place in
        return change_bytes(data, rng)


def _changed(arrays: dict[str, np.ndarray], members: dict[str, bytes], name: str, rng: np.random.Generator) -> bytes:
    array = arrays[name]
    match int(rng.integers(8)):
        case 0:
            arrays.pop(name)
        case 1:
            arrays[one_of(rng, ("x", "flat", "offsets", "lengths", "label", "more"))] = array
        case 2:
            arrays[name] = array.astype(one_of(rng, DTYPES))
        case 3:
            arrays[name] = array[..., None] if rng.random() < 0.5 else array.ravel()
        case 4:
            arrays[name] = array[: int(rng.integers(0, len(array) + 1))] if array.ndim else array
        case 5:
            kind = (np.nan, np.inf, -np.inf, 1e30) if array.dtype.kind == "f" else (-1, 0, 1 << 31, (1 << 62) + 1)
            flat = array.reshape(-1).copy()
            flat[int(rng.integers(flat.size))] = one_of(rng, kind)
            arrays[name] = flat.reshape(array.shape)
        case 6:
            arrays[name] = np.zeros(one_of(rng, ((0,), (0, 0, 0), (2, 0, 2), (0, 4, 2), (), (1, 1, 1))), array.dtype)
        case _:
            return _zip(members | {one_of(rng, NAMES) or "none": change_bytes(members[name], rng)}, rng)
    return npz(arrays)


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}


def _zip(members: dict[str, bytes], rng: np.random.Generator) -> bytes:
    out = io.BytesIO()
    ways = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    with zipfile.ZipFile(out, "w", one_of(rng, ways)) as archive:
        for name, raw in members.items():
            archive.writestr(zipfile.ZipInfo(f"{name.replace(chr(0), '')}.npy"), raw)
    return out.getvalue()

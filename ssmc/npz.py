"""Npz archives of plain arrays: written with the same bytes for the same arrays, read without trust."""

from __future__ import annotations

import io
import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssmc.budgets import DEFAULT, Budgets

EPOCH = (1980, 1, 1, 0, 0, 0)
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
DAMAGE = (
    EOFError, KeyError, NotImplementedError, OverflowError, RecursionError, RuntimeError, SyntaxError, TypeError,
    lzma.LZMAError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def read_npz(
    data: bytes, names: Collection[str] | None = None, budgets: Budgets = DEFAULT
) -> dict[str, NDArray[np.generic]]:
    """The arrays of an npz archive, without pickle.

    Args:
        data: the archive.
        names: those to read where it has them; others may be anything. None: all.
        budgets: limits the unpacked bytes of what is read.

    Raises:
        ValueError: it is anything else, or damaged.
        UsageError: SSMC-U07.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            chosen = {name: info for name, info in members.items() if names is None or name in names}
            budgets.require("data_bytes", sum(info.file_size for info in chosen.values()), "bytes once unpacked")
            return {name: _array(name, archive.read(info)) for name, info in chosen.items()}
    except DAMAGE as cause:
        raise ValueError(f"damaged archive: {cause}") from cause


def member_names(data: bytes) -> list[str]:
    """Names of the arrays of an archive that `read_npz` reads."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return sorted(name.removesuffix(".npy") for name in archive.namelist())


def _array(name: str, member: bytes) -> NDArray[Any]:
    if not member.startswith(np.lib.format.MAGIC_PREFIX):
        raise ValueError(f"its member '{name}' is no array")
    file = io.BytesIO(member)
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"its member '{name}' has a header of version {version}")
    shape, fortran, dtype = HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError(f"its member '{name}' holds Python objects")
    if min(shape, default=0) < 0 or prod(shape) * dtype.itemsize != len(member) - file.tell():
        raise ValueError(f"its member '{name}' has shape {shape} of {dtype}, and data of another size")
    flat = np.frombuffer(member, dtype, prod(shape), file.tell()) if prod(shape) else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if fortran else "C").copy()


def npz_bytes(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """An npz archive in key order with fixed times; stored, since zlib versions compress differently."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for key in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(arrays[key], order="C"), allow_pickle=False)
            info = zipfile.ZipInfo(f"{key}.npy", EPOCH)
            info.external_attr = 0o644 << 16
            archive.writestr(info, member.getvalue())
    return out.getvalue()

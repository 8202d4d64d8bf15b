"""Archives that claim sizes they do not have, unpack to more than the budget, or are damaged in any way."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from ssmc.budgets import Budgets
from ssmc.errors import UsageError
from ssmc.npz import member_names, read_npz


def _npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2 if version[0] == 1 else 4, "little") + text + data


def _archive(members: dict[str, bytes], way: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", way) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return out.getvalue()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4)])
def test_arrays_are_read_as_they_were_written(shape: tuple[int, ...], order: str) -> None:
    out = io.BytesIO()
    array = np.asfortranarray if order == "F" else np.ascontiguousarray
    given = array(np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)) if shape else np.float32(3)
    np.savez_compressed(out, x=given, y=np.array([1, 2], ">i2"))
    found = read_npz(out.getvalue())
    assert np.array_equal(found["x"], given)
    assert found["x"].shape == shape
    assert found["y"].tolist() == [1, 2]
    assert member_names(out.getvalue()) == ["x", "y"]


def test_an_archive_that_unpacks_to_more_than_the_budget() -> None:
    data = _archive({"x": _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (250000,)}", b"\0" * 1000000)}, 8)
    assert len(data) < 3000
    with pytest.raises(UsageError, match=r"SSMC-U07.*--budget data-bytes="):
        read_npz(data, budgets=Budgets(data_bytes=999_999))
    assert read_npz(data, ("y",), Budgets(data_bytes=1)) == {}, "what is not read costs nothing"


@pytest.mark.parametrize(
    ("member", "fact"),
    [
        (_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,)}", b"\0" * 8), "another size"),
        (_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", b"\0" * 4), "data of another size"),
        (_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", b"\0" * 8), "data of another size"),
        (_npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"\0" * 8), "Python objects"),
        (_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", b"\0" * 4, b"\x03\x00"), "version"),
        (_npy("(" * 3000), None),
        (_npy("{'descr': '<f4"), None),
        (b"PK", "is no array"),
        (b"", "is no array"),
    ],
)
def test_a_member_that_is_no_plain_array(member: bytes, fact: str | None) -> None:
    with pytest.raises(ValueError, match=fact):
        read_npz(_archive({"x": member}))


def test_damaged_archives() -> None:
    whole = _archive({"x": _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", b"\0" * 4)}, 8)
    encrypted = bytearray(whole)
    encrypted[whole.index(b"PK\x01\x02") + 8] |= 1
    encrypted[6] |= 1
    for data in (b"", b"PK", whole[:-30], bytes(encrypted), whole.replace(b"\x08\0", b"\x63\0")):
        with pytest.raises(ValueError, match="damaged archive"):
            read_npz(data)

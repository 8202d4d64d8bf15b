"""The tensors that a model stores: external data are read from the model's own folder, and sizes must fit the data."""

from __future__ import annotations

from math import prod
from pathlib import Path

import onnx

from ssmc.budgets import DEFAULT, Budgets
from ssmc.errors import ModelError, first_line
from ssmc.importers.protos import every_tensor, sparse_tensors
from ssmc.reading import read_range, read_regular

AGAIN = "export the model again"
EXTERNAL = onnx.TensorProto.EXTERNAL


def read_external(proto: onnx.ModelProto, folder: Path | None, budgets: Budgets, used: int = 0) -> None:
    """Put the data that lie in other files into the model.

    Args:
        proto: the model, which changes.
        folder: of the ONNX file; None for a model that was not read from a file.
        budgets: limits the bytes of all the files.
        used: bytes of the ONNX file itself.

    Raises:
        ModelError: SSMC-M12 where a file is missing, lies outside of the folder, or is too short.
        UsageError: SSMC-U07.
    """
    for name, tensor in every_tensor(proto):
        if tensor.data_location != EXTERNAL:
            continue
        if folder is None:
            raise ModelError("SSMC-M12", "its data lie in a file of unknown folder", "give the path instead", name)
        where = {entry.key: entry.value for entry in tensor.external_data}
        start, length = (_whole(where.get(key), key, name) for key in ("offset", "length"))
        file = _inside(folder, where.get("location", ""), name)
        if length is None:
            length = max(file.stat().st_size - (start or 0), 0)
        used += length
        budgets.require("model_bytes", used, "bytes of the model and its external data", name)
        data = read_range(file, start or 0, length)
        if len(data) < length:
            fact = f"'{where['location']}' ends before its {length} bytes at {start or 0}"
            raise ModelError("SSMC-M12", fact, AGAIN, name)
        tensor.raw_data = data
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT


def external_files(file: Path) -> list[Path]:
    """The other files in which data of an ONNX file lie; none where it is no ONNX file.

    Raises:
        ModelError: SSMC-M12 where one is missing or lies outside of the folder.
        UsageError: SSMC-U01 where the file cannot be read, SSMC-U07 where it is over a budget.
    """
    data = read_regular(file, "SSMC-U01", DEFAULT, "model_bytes", "give the path of an ONNX file")
    try:
        proto = onnx.load_model_from_string(data)
    except Exception:  # protobuf's DecodeError is not public
        return []
    external = ((name, tensor) for name, tensor in every_tensor(proto) if tensor.data_location == EXTERNAL)
    places = {
        (name, entry.value) for name, tensor in external for entry in tensor.external_data if entry.key == "location"
    }
    return sorted({_inside(file.parent, place, name) for name, place in places})


def _inside(folder: Path, location: str, name: str) -> Path:
    """The regular file at ``location``, which must not lead out of the folder."""
    if not location or "\0" in location:
        raise ModelError("SSMC-M12", "its external data name no file", AGAIN, name)
    home = folder.resolve()
    try:
        file = (home / location).resolve()
    except (OSError, RuntimeError):  # a circle of links
        raise ModelError("SSMC-M12", f"'{location}' cannot be read", AGAIN, name) from None
    if not file.is_relative_to(home):
        fact = f"its external data '{location}' lie outside of the model's folder"
        raise ModelError("SSMC-M12", fact, "put the file beside the model", name)
    if not file.is_file():
        fact = f"its external data '{location}' are missing"
        raise ModelError("SSMC-M12", fact, "put the file beside the model", name)
    return file


def _whole(text: str | None, key: str, name: str) -> int | None:
    if text is None or text == "":
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise ModelError("SSMC-M12", f"the {key} of its external data is '{text}'", AGAIN, name)
    return int(text)


def check_tensors(proto: onnx.ModelProto, budgets: Budgets) -> None:
    """Refuse tensors whose type, shape and data contradict each other.

    Raises:
        ModelError: SSMC-M03.
        UsageError: SSMC-U07 where one has more elements than the budget.
    """
    for sparse in sparse_tensors(proto):
        raise ModelError("SSMC-M03", "the tensor is stored sparse", "store it dense", sparse.values.name)
    for name, tensor in every_tensor(proto):
        if any(size < 0 for size in tensor.dims):
            raise ModelError("SSMC-M03", f"the tensor has dimensions {list(tensor.dims)}", AGAIN, name)
        budgets.require("elements", prod(tensor.dims), "elements of a tensor", name)
        try:
            array = onnx.numpy_helper.to_array(tensor)
        except Exception as cause:  # onnx raises a dozen classes on a tensor that contradicts itself
            fact = f"its type, shape {list(tensor.dims)} and data do not fit each other ({first_line(cause)})"
            raise ModelError("SSMC-M03", fact, AGAIN, name) from None
        if array.shape != tuple(tensor.dims):
            fact = f"it has dimensions {list(tensor.dims)} and data of shape {list(array.shape)}"
            raise ModelError("SSMC-M03", fact, AGAIN, name)

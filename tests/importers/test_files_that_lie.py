"""External data are found beside the model and nowhere else; sizes and shapes that contradict the data are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ssmc.errors import SsmcError
from ssmc.importers.onnx_file import import_model, load_model
from tests.importers.refusing import end, refusal, start

WEIGHTS = "weights.bin"


def _model() -> onnx.ModelProto:
    g, u = start("round")
    return end(g, u)


def _with_external(folder: Path, location: str = WEIGHTS, **more: int) -> tuple[Path, np.ndarray]:
    """A model in ``folder`` whose matrix lies at ``location``; and what the matrix is."""
    proto = _model()
    tensor = next(t for t in proto.graph.initializer if len(t.dims) == 2)
    array = onnx.numpy_helper.to_array(tensor)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(value))
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path, array


def _code(path: Path) -> tuple[str, str]:
    with pytest.raises(SsmcError) as caught:
        load_model(path)
    return caught.value.code, caught.value.fact


def _loaded(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    values = load_model(path).graph.initializers.values()
    return next(v.const_value.numpy() for v in values if tuple(v.const_value.shape) == shape)


def test_external_data_lie_beside_the_model_whatever_lies_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home := tmp_path / "home").mkdir()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    path, array = _with_external(home, offset=8, length=24)
    (home / WEIGHTS).write_bytes(b"\xff" * 8 + array.tobytes())
    (elsewhere / WEIGHTS).write_bytes(b"\0" * 32)
    monkeypatch.chdir(elsewhere)
    assert np.array_equal(_loaded(path, array.shape), array)


def test_external_data_outside_of_the_folder_are_refused(tmp_path: Path) -> None:
    (home := tmp_path / "home").mkdir()
    (tmp_path / WEIGHTS).write_bytes(b"\0" * 24)
    (home / "link").symlink_to(tmp_path / WEIGHTS)
    (home / "circle").symlink_to("circle")
    for location in (f"../{WEIGHTS}", str(tmp_path / WEIGHTS), "link"):
        assert _code(_with_external(home, location)[0]) == (
            "SSMC-M12",
            f"its external data '{location}' lie outside of the model's folder",
        )
    for location in ("circle", "none.bin", ".", "", "a\0b"):
        assert _code(_with_external(home, location)[0])[0] == "SSMC-M12", location


def test_external_data_that_end_too_early_or_are_too_many(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(b"\0" * 20)
    assert _code(_with_external(tmp_path)[0])[0] == "SSMC-M03"
    assert _code(_with_external(tmp_path, offset=8, length=24)[0])[0] == "SSMC-M12"
    assert _code(_with_external(tmp_path, offset=-8, length=24)[0])[0] == "SSMC-M12"
    assert _code(_with_external(tmp_path, length=1 << 40)[0])[0] == "SSMC-U07"


def test_external_data_of_a_model_that_comes_from_no_file(tmp_path: Path) -> None:
    path, _ = _with_external(tmp_path)
    with pytest.raises(SsmcError, match="SSMC-M12"):
        import_model(onnx.load(path, load_external_data=False))


@pytest.mark.parametrize("field", ["more data", "less data", "negative", "no type"])
def test_a_tensor_whose_dimensions_and_data_differ(field: str) -> None:
    proto = _model()
    tensor = next(t for t in proto.graph.initializer if len(t.dims) == 2)
    match field:
        case "more data":
            tensor.raw_data += b"\0" * 4
        case "less data":
            tensor.dims[0] = 9
        case "negative":
            tensor.dims[0] = -1
        case "no type":
            tensor.data_type = 0
    error = refusal(proto)
    assert (error.code, error.node) == ("SSMC-M03", tensor.name)


def test_a_value_whose_shape_contradicts_what_follows_from_the_input() -> None:
    proto = _model()
    proto.graph.value_info.append(helper.make_tensor_value_info("enc", TensorProto.FLOAT, ["batch", "time", 7]))
    error = refusal(proto)
    assert (error.code, error.node) == ("SSMC-M03", "enc")
    assert "7" in error.fact


def test_an_output_of_a_type_that_does_not_exist() -> None:
    proto = _model()
    proto.graph.output[0].type.tensor_type.elem_type = 256
    error = refusal(proto)
    assert error.code == "SSMC-M03"
    assert "256" in error.fact


def test_types_that_do_not_fit_name_the_node() -> None:
    g, u = start()
    error = refusal(end(g, g.op("Add", u, g.const(1, np.int64), out="guilty")))
    assert (error.code, error.node) == ("SSMC-M03", "guilty")

"""What a sweep file asks for, and what it may not say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from ssmc.errors import ModelError, UsageError
from ssmc.hardware.file import PRESETS
from ssmc.sweep.spec import hardware_settings, read_sweep, target_options
from tests.graphs import model
from tests.sweep.sweeping import SPEC, written


def test_a_grid_is_every_combination_and_points_follow(tmp_path: Path) -> None:
    sweep = read_sweep(
        written(tmp_path, '[grid]\n"adc.bits" = [8, 6]\nplace = ["analog", "digital"]\n[[points]]\nadc.bits = 4')
    )
    shown = [(point.get("adc.bits"), point.get("place")) for point in sweep.points]
    assert shown == [(8, "analog"), (8, "digital"), (6, "analog"), (6, "digital"), (4, None)]
    assert sweep.varied == ("adc.bits", "place")
    first = sweep.points[0]
    assert hardware_settings(first) == ("adc.bits=8",)
    assert target_options(first) == ("place=analog",)
    assert first["model"] == str(tmp_path / "model.onnx")
    assert first["steps"] == 100


def test_equal_points_are_one(tmp_path: Path) -> None:
    sweep = read_sweep(written(tmp_path, '[grid]\n"adc.bits" = [8, 8]\n[[points]]\n"adc.bits" = 8'))
    assert len(sweep.points) == 1
    assert sweep.varied == ()


def test_a_point_is_told_by_what_it_says_and_what_its_files_hold(tmp_path: Path) -> None:
    path = written(tmp_path, "[grid]\nsteps = [10, 20]")
    sweep = read_sweep(path)
    one, two = sweep.points
    assert sweep.id_of(one) != sweep.id_of(two)
    assert sweep.id_of(dict(reversed(one.items()))) == sweep.id_of(one) == read_sweep(path).id_of(one)
    (tmp_path / "model.onnx").write_bytes(model(replace(SPEC, seed=4)).SerializeToString())
    again = read_sweep(path)
    assert again.points == sweep.points
    assert again.id_of(one) != sweep.id_of(one)


def test_external_data_count_as_the_model(tmp_path: Path) -> None:
    path = written(tmp_path, "[grid]\nsteps = [10]")
    proto = model(SPEC)
    onnx.save(proto, tmp_path / "model.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    before = read_sweep(path)
    data = bytearray((tmp_path / "weights").read_bytes())
    data[0] ^= 1
    (tmp_path / "weights").write_bytes(data)
    assert read_sweep(path).id_of(before.points[0]) != before.id_of(before.points[0])
    (tmp_path / "weights").unlink()
    with pytest.raises(ModelError, match="SSMC-M12"):
        read_sweep(path)


def test_hardware_and_ranges_may_be_files_beside_the_sweep(tmp_path: Path) -> None:
    path = written(tmp_path, '[grid]\nhardware = ["taox64", "my.toml"]\nranges = ["data.npz"]')
    (tmp_path / "my.toml").write_text((PRESETS / "isaac128.toml").read_text())
    first, second = read_sweep(path).points
    assert (first["hardware"], second["hardware"]) == ("taox64", str(tmp_path / "my.toml"))
    assert first["ranges"] == str(tmp_path / "data.npz")
    assert "ranges" not in "".join(target_options(first))


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ("", "SSMC-W03", "0 points"),
        ("[grid]\nsteps = []", "SSMC-W03", "no value"),
        ('[grid]\n"adc.bit" = [8]', "SSMC-W02", "adc.bits"),
        ('[grid]\n"adc.bits" = ["8"]', "SSMC-W02", "int"),
        ("[grid]\nsteps = [0]", "SSMC-W02", "from 1"),
        ("[grid]\nchips = [-1]", "SSMC-W02", "from 0"),
        ("[grid]\ntime_s = [nan]", "SSMC-W02", "from 0"),
        ("[grid]\nseed = [-1]", "SSMC-W02", "from 0"),
        ('[grid]\n"adc.bits" = [true]', "SSMC-W02", "int"),
        ("[grid]\npacking = [5]", "SSMC-U16", "packing"),
        ("[grid]\npacking = [2020-01-01]", "SSMC-W02", "text"),
        ('[grid]\nrate = ["x"]', "SSMC-U16", "rate"),
        ("[grid]\nrate = [inf]", "SSMC-U16", "rate"),
        ("[grid]\nhardware = [5]", "SSMC-W02", "str"),
        ('[grid]\nplace = [["analog"]]', "SSMC-W02", "text"),
        ('[grid]\nmodel = ["a.onnx"]', "SSMC-W03", "a.onnx"),
        ('[grid]\nmodel = ["a\\u0000b"]', "SSMC-W02", "NUL"),
        ('[grid]\nmodel = ["/dev/zero"]', "SSMC-W03", "not a file"),
        ('[grid]\n"quantize.kernel_bits" = [8]', "SSMC-W03", "calibration"),
        ('[grid]\n"quantize.converter_bits" = [8]', "SSMC-W03", "calibration"),
        ('[grid]\nplase = ["analog"]', "SSMC-W02", "place"),
        ("grid = 3", "SSMC-W03", "0 points"),
        ("[gird]\nsteps = [1]", "SSMC-W02", "gird"),
        ("[grid]\nsteps = [1, 2", "SSMC-W01", "TOML"),
        ("[[grid]]\nsteps = 1", "SSMC-W02", r"write \[grid\]"),
        ("[points]\nsteps = 1", "SSMC-W02", r"write \[\[points\]\]"),
        ('[grid]\nhardware = ["taox46"]', "SSMC-W03", "no preset"),
    ],
)
def test_what_a_file_may_not_say(tmp_path: Path, body: str, code: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        read_sweep(written(tmp_path, body))
    assert caught.value.code == code


def test_too_many_points_are_refused_before_they_are_made(tmp_path: Path) -> None:
    axes = "\n".join(f'"{key}" = {list(range(1, 101))}' for key in ("steps", "seed", "chips", "adc.columns_per_adc"))
    with pytest.raises(UsageError, match="SSMC-W03"):
        read_sweep(written(tmp_path, f"[grid]\n{axes}"))


@pytest.mark.parametrize("text", ["", 'schema = "ssmc.sweep/9"', "\x00"])
def test_another_file_is_no_sweep(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match="SSMC-W01"):
        read_sweep(path)

"""What a sweep file asks for, and what it may not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssmc.errors import UsageError
from ssmc.sweep.spec import hardware_settings, point_id, read_sweep, target_options
from tests.sweep.sweeping import written


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


def test_a_point_is_told_by_what_it_says(tmp_path: Path) -> None:
    one, two = read_sweep(written(tmp_path, "[grid]\nsteps = [10, 20]")).points
    assert point_id(one) != point_id(two)
    assert point_id(dict(reversed(one.items()))) == point_id(one)


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
        ('[grid]\n"quantize.kernel_bits" = [8]', "SSMC-W03", "calibration"),
        ('[grid]\nplase = ["analog"]', "SSMC-W02", "place"),
        ("grid = 3", "SSMC-W03", "0 points"),
        ("[gird]\nsteps = [1]", "SSMC-W02", "gird"),
        ("[grid]\nsteps = [1, 2", "SSMC-W01", "TOML"),
        ("[[grid]]\nsteps = 1", "SSMC-W02", "another kind"),
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

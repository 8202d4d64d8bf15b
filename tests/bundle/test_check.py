"""The gate reads what people edit: nothing in a baseline may switch it off or break the JUnit file."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ssmc.bundle.check import Moved, compare, junit, read_baseline
from ssmc.errors import UsageError


def written(folder: Path, metrics: object) -> Path:
    path = folder / "baseline.json"
    path.write_text(json.dumps({"schema": "ssmc.baseline/1", "metrics": metrics}))
    return path


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {"accuracy": {"value": 0.5, "relative": float("inf")}},
        {"accuracy": {"value": 0.5, "absolute": float("nan")}},
        {"accuracy": {"value": 0.5, "absolute": -1}},
        {"accuracy": {"value": 0.5, "absolute": True}},
        {"accuracy": {"value": float("nan")}},
        {"accuracy": {"value": True}},
        {"accuracy": {"value": [0.5]}},
        {"accuracy": {"value": None}},
        {"accuracy": {}},
        {"accuracy": {"value": 1, "sigma": 2}},
    ],
)
def test_a_baseline_that_gates_nothing_is_wrong_use(tmp_path: Path, metrics: object) -> None:
    with pytest.raises(UsageError, match="SSMC-C10"):
        read_baseline(written(tmp_path, metrics))


def test_what_is_no_number_any_more_has_moved(tmp_path: Path) -> None:
    baseline = read_baseline(written(tmp_path, {"a": {"value": 1, "absolute": 5}}))
    assert compare({"a": 5.5}, baseline) == []
    assert [m.metric for m in compare({"a": float("nan")}, baseline)] == ["a"]
    assert [m.metric for m in compare({}, baseline)] == ["a"]


NAME = "a\x1b[31m\x00\u202eb<&\ufffe"


def test_junit_is_xml_whatever_the_names_are(tmp_path: Path) -> None:
    baseline = read_baseline(written(tmp_path, {NAME: {"value": 1}}))
    text = junit({}, [Moved(NAME, 1, None, "none")], baseline, "check")
    case = ElementTree.fromstring(text).find("testcase")
    assert case is not None
    assert case.get("name") == "a\\x1b[31m\\x00\\u202eb<&\\ufffe"
    assert case.find("failure") is not None

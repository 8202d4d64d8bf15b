"""The page of a Monte Carlo run: what is drawn is what the JSON says."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from ssmc.report.noise import noise_html, noise_text, stable_chips, warnings
from ssmc.report.noise_plots import accuracy_plot, clip_maps, duration, pole_plot, short, ticks


def kernel(*chips: float) -> dict[str, Any]:
    unstable = [int(value >= 1) for value in chips]
    return {"chips": list(chips), "ideal": 0.9, "of": 4, "unstable_poles": unstable, "unstable_chips": sum(unstable)}


def clips(counts: list[list[int]], worst: float) -> dict[str, Any]:
    return {"counts": counts, "ideal_share": 0.0, "share": 0.1, "worst_column": [0, 1], "worst_share": worst}


def moment(time_s: float, *chips: float, **kernels: Any) -> dict[str, Any]:
    return {
        "accuracy": {"low": 0.5, "value": 0.7, "high": 0.9},
        "agreement": 0.75,
        "chips": [{"low": 0.0, "value": value, "high": 1.0} for value in chips],
        "clips": {"a.0.ssm": clips([[0, 4], [1, 0]], 0.5), "dense": clips([[0] * 100], 0.0)},
        "kernels": kernels,
        "time_s": time_s,
    }


RESULT = {
    "at": [
        moment(0.0, 0.6, 0.8, **{"a.0.ssm": kernel(0.95, 0.97), "a.1.ssm": kernel(0.9, 0.99)}),
        moment(86400.0, 0.4, 0.5, **{"a.0.ssm": kernel(1.25, 0.97), "a.1.ssm": kernel(1.5, 0.99)}),
    ],
    "hardware": "chip<1>",
    "ideal_accuracy": {"low": 0.9, "value": 0.95, "high": 0.99},
    "labelled": True,
    "noise": {"read": 0.01, "device": "pcm", "programming": 0.0},
    "sequences": 10,
    "steps": 100,
}


def circles(drawing: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(drawing).findall("circle")


def test_every_chip_is_a_dot_at_its_accuracy() -> None:
    dots = circles(accuracy_plot(RESULT))
    assert [dot.attrib["class"] for dot in dots] == ["pole", "pole", "mean"] * 2
    heights = [float(dot.attrib["cy"]) for dot in dots]
    scale = (heights[0] - heights[1]) / (0.8 - 0.6)
    assert heights[3] - heights[0] == pytest.approx(scale * 0.2, abs=0.2)
    assert heights[2] - heights[1] == pytest.approx(scale * 0.1, abs=0.2)


def test_chips_beyond_the_border_are_red() -> None:
    dots = circles(pole_plot(RESULT))
    assert ["unstable" in dot.attrib["class"] for dot in dots] == [False] * 4 + [True, False, True, False]
    assert pole_plot({**RESULT, "at": [moment(0.0, 0.5)]}) == ""


def test_a_map_is_darkest_at_the_worst_column() -> None:
    [(name, drawing)] = clip_maps(RESULT)
    assert name == "a.0.ssm"
    ground, *cells = ElementTree.fromstring(drawing).findall("rect")
    assert ground.attrib["class"] == "ground"
    assert [cell.attrib["fill-opacity"] for cell in cells] == ["1.00", "0.50"]
    assert [cell[0].text for cell in cells] == ["group 0, output 1: 50.00%", "group 1, output 0: 12.50%"]


def test_instability_is_said_once_where_it_begins() -> None:
    [text] = warnings(RESULT)
    assert text.startswith("Unstable: 1 of 2 chips have poles at or beyond 1 (1 d after programming), in a.0.ssm, a.1")
    assert "12.5% of their poles, the largest 1.500" in text
    assert [stable_chips(at) for at in RESULT["at"]] == [2, 1]  # type: ignore[attr-defined]
    assert warnings({"at": RESULT["at"][:1]}) == []  # type: ignore[index]
    assert text in noise_text(RESULT)


def test_the_page_is_whole_and_escaped() -> None:
    page = noise_html(RESULT)
    assert "chip&lt;1&gt;" in page
    assert "chip<1>" not in page
    assert page.count('class="warning"') == 1
    assert re.search(r"2 of 2</b><span>chips with all poles inside 1", page)
    for section in ("Accuracy", "Poles", "Clipping", "Noise model"):
        assert f"<h2>{section}</h2>" in page


def test_round_numbers() -> None:
    assert ticks(0.21, 0.97) == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(0.95, 1.14) == [0.95, 1.0, 1.05, 1.1, 1.15]
    assert ticks(0.5, 0.5)[0] <= 0.5 <= ticks(0.5, 0.5)[-1]
    assert [duration(t) for t in (0, 90, 3600, 86400)] == ["at once", "90 s", "1 h", "1 d"]
    assert short("blocks.1.ssm/Scan", ["blocks.0.ssm/Scan", "blocks.1.ssm/Scan"]) == "blocks.1"
    assert short("ssm", ["ssm"]) == "ssm"

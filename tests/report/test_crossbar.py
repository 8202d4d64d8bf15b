"""The crossbar sections: every block is drawn once, in its place, and decisions show what was weighed."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from ssmc.report.array_drawing import SIDE, array_svg
from ssmc.report.crossbar import crossbar_sections, decision_lines, schedule_lines

STATES = {"state_rows": 12, "state_columns": 24}
LAYOUT = {
    "adc_columns": 32,
    "arrays": 3,
    "blocks": [
        {"matrix": "ssm<1>", "wave": 0, "row": 0, "column": 0, "rows": 16, "columns": 32, **STATES},
        {"matrix": "mix", "wave": 1, "row": 16, "column": 0, "rows": 48, "columns": 64, "state_rows": 0,
         "state_columns": 0},
    ],
    "columns": 64,
    "first": 0,
    "reference_columns": 1,
    "rows": 64,
    "utilisation": 0.875,
    "written": ["0990", "0005"],
}  # fmt: skip
COST = {
    "decisions": [
        {
            "what": "ssm",
            "chosen": "digital",
            "alternatives": {
                "analog": "error[SSMC-A01]: too wide",
                "digital": {"energy_pj": 5.0, "area_um2": 10.0, "initiation_interval_ns": 20.0},
            },
        }
    ],
    "limit": {"limited_by": "loop of ssm", "stages": [
        {"how": "1 x 30", "instruction": "Convert", "ns": 30.0, "op": "ssm"},
        {"how": "1 x 10", "instruction": "Drive", "ns": 10.0, "op": "ssm"},
    ]},
    "limited_by": "loop of ssm",
    "mapping": [LAYOUT],
    "max_steps_per_s": 1e6,
    "one_more_adc": {"adcs_per_array": 2, "area_added_um2": 5.0, "limited_by": "x", "max_steps_per_s": 2e6,
                     "times_faster": 2.0},
    "real_time": {"keeps_up": False, "latency_samples": 0.5, "limited_by": "x", "margin": 0.25, "power_uw": 3.0,
                  "steps_per_s": 4e6},
}  # fmt: skip


def test_blocks_are_drawn_where_they_are() -> None:
    drawing = ElementTree.fromstring(array_svg(LAYOUT, ["ssm<1>", "mix"], "3 arrays"))
    outline, first, second, drivers = drawing.findall("rect")
    assert drivers.attrib["class"] == "drivers"
    scale = float(outline.attrib["width"]) / 64
    assert [float(second.attrib[k]) / scale for k in ("x", "y", "width", "height")] == [0, 16, 64, 48]
    assert first.attrib["fill"] != second.attrib["fill"]
    assert first[0].text == "ssm<1>: rows 0+16, columns 0+32, wave 0"


def test_written_cells_states_and_converters_are_drawn() -> None:
    drawing = ElementTree.fromstring(array_svg(LAYOUT, ["ssm<1>", "mix"], "3 arrays"))
    paths = {kind: [p for p in drawing.findall("path") if p.attrib["class"] == kind] for kind in ("cell", "part")}
    scale = SIDE / 64
    dark = {p.attrib["fill-opacity"]: p.attrib["d"] for p in paths["cell"]}
    assert dark["0.63"].startswith(f"M {16 * scale:.1f} 0.0 h {32 * scale:.1f} v {32 * scale:.1f}")
    assert dark["0.35"].startswith(f"M {48 * scale:.1f} {32 * scale:.1f} h {16 * scale:.1f}")
    [part] = paths["part"]
    assert part.attrib["d"] == f"M 0.0 {12 * scale:.1f} h {32 * scale:.1f} M {24 * scale:.1f} 0.0 v {16 * scale:.1f}"
    [converters] = [p for p in drawing.findall("path") if p.attrib["class"] == "converters"]
    assert converters.attrib["d"].count("M") == 2


def test_the_stages_of_the_limit_are_as_wide_as_they_last() -> None:
    text = "".join(crossbar_sections(COST))
    widths = [float(w) for w in re.findall(r'y="0" width="([\d.]+)" height="26" fill', text)]
    assert widths == pytest.approx([735.0, 245.0])
    cells = [re.sub("<.*?>", "", row).strip() for row in re.findall(r"<td.*?</td>", text)]
    assert cells[:8] == ["Convert", "30 ns", "75.0%", "1 x 30 = 30 ns", "Drive", "10 ns", "25.0%", "1 x 10 = 10 ns"]


def test_stages_that_repeat_are_one_line_with_their_count() -> None:
    stage = {"how": "1 x 100", "instruction": "Integrate", "ns": 100.0, "op": "ssm"}
    text = "".join(crossbar_sections(COST | {"limit": {"stages": [stage] * 8}}))
    assert "8 times 1 x 100 = 100 ns" in text
    assert ">800 ns<" in text
    assert text.count('fill="hsl(0 50% 60%)"') == 8


def test_captions_say_how_many_turns_an_array_takes() -> None:
    text = "".join(crossbar_sections(COST))
    assert "2 blocks, driven in 2 turns" in text


def test_sections_say_what_was_chosen_and_whether_it_keeps_up() -> None:
    text = "".join(crossbar_sections(COST))
    assert "3 × ssm&lt;1&gt;, mix" in text
    assert "is too slow, margin 0.25" in text
    assert re.search(r"2× as fast, for 5 µm²", text)
    assert "error[SSMC-A01]: too wide" in text
    assert text.count("chosen") == 1
    assert decision_lines(COST) == ["ssm: digital"]
    assert ("real time: margin", "0.25") in schedule_lines(COST)


def test_other_targets_have_none_of_it() -> None:
    assert "".join(crossbar_sections({"steps": 3})) == ""
    assert decision_lines({}) == schedule_lines({}) == []

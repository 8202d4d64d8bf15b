"""Cost figures of any target, put in order."""

from __future__ import annotations

import pytest

from ssmc.report.costs import breakdowns, constant_rows, metric_rows, total_rows
from ssmc.report.units import flatten, quantity, words

COST = {
    "energy_pj": {"per_step": {"low": 1.0, "nominal": 2e3, "high": 3e6}, "per_sequence": 5.0},
    "macs_per_step": 7,
    "macs_per_sequence": 70,
    "latency_ns": {"per_step": 1500.0, "finish": 2.0},
    "arrays": 0,
    "limited_by": "adc",
    "steps": 10,
    "components": [
        {"op": "a", "component": "adc", "energy_pj_nominal": 3.0},
        {"op": "b", "component": "adc", "energy_pj_nominal": 4.0},
        {"op": "b", "component": "dac", "energy_pj_nominal": 5.0},
    ],
}


def test_spans_are_one_line_and_ranges_one_cell() -> None:
    assert total_rows(COST) == [("energy", "2 nJ (1 pJ to 3 µJ)", "5 pJ"), ("macs", "7", "70")]


def test_constants_are_apart_and_a_zero_is_shown() -> None:
    rows = dict(constant_rows(COST))
    assert rows == {"arrays": "0", "latency finish": "2 ns", "latency per step": "1.5 µs", "limited by": "adc"}


def test_breakdowns_add_up_to_the_same_whole() -> None:
    found = {title: values for title, _, values in breakdowns(COST)}
    assert found == {"energy by component": {"adc": 7.0, "dac": 5.0}, "energy by op": {"b": 9.0, "a": 3.0}}


def test_a_long_breakdown_keeps_its_sum() -> None:
    many = {"components": [{"op": f"op{i}", "component": "adc", "energy_pj": 1.0 + i} for i in range(30)]}
    values = next(values for title, _, values in breakdowns(many) if title == "energy by op")
    assert "18 others" in values
    assert sum(values.values()) == sum(range(1, 31))


def test_every_number_has_a_name_of_its_own() -> None:
    assert dict(flatten({"components": COST["components"]})) == {
        "components.a/adc.energy_pj_nominal": 3.0,
        "components.b/adc.energy_pj_nominal": 4.0,
        "components.b/dac.energy_pj_nominal": 5.0,
    }
    assert dict(flatten({"path": [{"op": "a", "ns": 1}, {"op": "a", "ns": 2}]})) == {"path.000.ns": 1, "path.001.ns": 2}


def test_metrics_say_how_many_times_less() -> None:
    counting = {"model": {"size_bits": 8000}, "fp32": {"size_bits": 32000}}
    assert metric_rows({"ssmc": counting}) == [("size bits", "ssmc", "32 kbit", "8 kbit", "4.0×")]


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("energy_pj", 0.0021, "2.1 fJ"),
        ("area_um2", 2.5e6, "2.5 mm²"),
        ("latency_ns", 0, "0 ps"),
        ("n", 12345.0, "12\u202f345"),
    ],
)
def test_quantities_use_the_ladder_of_their_key(key: str, value: float, text: str) -> None:
    assert quantity(key, value) == text


def test_words_drop_units_but_not_what_is_counted() -> None:
    assert words("energy_pj") == "energy"
    assert words("adc_conversion_bits") == "adc conversion bits"
    assert words("ns") == "ns"

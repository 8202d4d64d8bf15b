"""What is best at equal cost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ssmc.sweep.pareto import Axis, front, pareto_plot

VALUES = st.lists(st.tuples(st.integers(0, 6).map(float), st.integers(0, 6).map(float)), min_size=1, max_size=12)


@given(VALUES)
def test_the_front_is_what_no_other_beats(points: list[tuple[float, float]]) -> None:
    found = front(points)

    def beaten(k: int) -> bool:
        cost, quality = points[k]
        return any(c <= cost and q >= quality and (c, q) != (cost, quality) for c, q in points)

    assert {points[k] for k in found} == {points[k] for k in range(len(points)) if not beaten(k)}
    costs = [points[k][0] for k in found]
    assert costs == sorted(set(costs))


def test_points_without_a_figure_are_none() -> None:
    assert front([(None, 1.0), (1.0, None), (2.0, 0.5)]) == [2]


@given(VALUES)
def test_a_drawing_has_a_dot_a_point(points: list[tuple[float, float]]) -> None:
    axis = Axis("a & b", "{:g}".format)
    text = pareto_plot([(cost, quality, "<here>") for cost, quality in points], axis, axis)
    assert text.count("<circle") == len(points)
    assert "a &amp; b" in text
    assert "&lt;here&gt;" in text
    assert "nan" not in text


def test_no_mark_is_beyond_what_there_can_be() -> None:
    up = Axis("accuracy", "{:.0%}".format, most=1.0)
    drawn = pareto_plot([(1.0, 0.66, "a"), (2.0, 0.9867, "b")], Axis("energy", str), up)
    assert ">100%</text>" in drawn
    assert ">110%</text>" not in drawn


def test_nothing_to_draw() -> None:
    assert pareto_plot([], Axis("a", str), Axis("b", str)) == ""

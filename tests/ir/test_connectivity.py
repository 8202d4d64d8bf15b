"""Which rows and columns hold a code, and how an axis is cut by them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ssmc.ir.connectivity import Mask, cut, live_columns, live_rows


def test_rows_and_columns() -> None:
    codes = np.array([[[0, 1, 0], [0, 0, 0]], [[0, 0, 0], [2, 0, -1]]])
    assert live_columns(codes).tolist() == [[True, False], [False, True]]
    assert live_rows(codes).tolist() == [[False, True, False], [True, False, True]]


@given(arrays(np.bool_, st.tuples(st.integers(1, 3), st.integers(1, 12))), st.integers(1, 5))
def test_ranges_cover_the_axis_hold_no_more_and_could_not_be_longer(live: Mask, most: int) -> None:
    found = cut(live, most)
    assert found[0][0] == 0
    assert found[-1][1] == live.shape[1]
    assert all(a[1] == b[0] for a, b in pairwise(found))
    for start, stop in found:
        assert live[:, start:stop].sum(1).max() <= most
        assert stop == live.shape[1] or live[:, start : stop + 1].sum(1).max() > most


def test_all_live_is_cut_evenly() -> None:
    assert cut(np.ones((2, 7), bool), 3) == ((0, 3), (3, 6), (6, 7))

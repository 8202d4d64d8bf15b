"""IR drop: the effect of the resistance of row and column wires on a product, to first order.

Row i is driven with V_i from the left, column c is held at 0 V at the bottom; every cell pitch of wire has
resistance R. The current of cell (i, m) crosses the row wire's segments 1..m and the column wire's from i down.
To first order in R G the voltage across cell (i, c) is

    V_i (1 - R sum_m (min(c, m) + 1 + c_0) G[i, m]) - R sum_k (n - max(i, k) + d) G[k, c] V_k

with c_0 pitches before the tile's first column, n rows, d pitches below its last row. The column current is linear in
V, so the whole effect is one matrix, independent of the data:

    G'[k, c] = G[k, c] (1 - R sum_m (min(c, m) + 1 + c_0) G[k, m] - R sum_i (n - max(i, k) + d) G[i, c])

computed as G / (1 + drops), which agrees to first order and stays positive. Left out: second order, and the currents of
other tiles driven at the same time on the same wires. The test compares with the solved network.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.floating]


def with_wires(conductance_us: Real, wire_ohm: float, before: int = 0, below: int = 0) -> Real:
    """Effective conductances (..., rows, columns) of cells between wires of ``wire_ohm`` a pitch."""
    rows, columns = conductance_us.shape[-2:]
    c, r = np.arange(columns), np.arange(rows)
    along_row = np.minimum(c[:, None], c) + 1.0 + before
    along_column = rows - np.maximum(r[:, None], r) + float(below)
    drops = wire_ohm * 1e-6 * (conductance_us @ along_row + along_column @ conductance_us)
    return np.asarray(conductance_us / (1 + drops))

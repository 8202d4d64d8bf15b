"""CMOS figures from one node to another: Stillmaker and Baas, Integration 58, 2017, doi 10.1016/j.vlsi.2017.02.002.

    energy:  E(to) = E(from) e_to(V_to) / e_from(V_from),   e_n(V) = a_n V^2 + b_n V + c_n
    area:    A(to) = A(from) f[from, to]

Tables as printed in Accelergy-Project/accelergy-library-plug-in scaling.py: 130 to 7 nm, no delays; linear in the
node between nodes. They are for static CMOS logic: converters, drivers and the cells of an array do not scale like it.
"""

from __future__ import annotations

import numpy as np

SOURCE = "Stillmaker & Baas 2017"
NODES_NM = (130.0, 90.0, 65.0, 45.0, 32.0, 20.0, 16.0, 14.0, 10.0, 7.0)
ENERGY = np.array([
    [7.171, -6.709, 2.904], [4.762, -4.781, 2.092], [3.755, -4.398, 1.975], [1.103, -0.362, 0.2767],
    [0.9559, -0.7823, 0.471], [0.373, -0.1582, 0.04104], [0.2958, -0.1241, 0.03024],
    [0.2363, -0.09675, 0.02239], [0.2068, -0.09311, 0.02375], [0.1776, -0.09097, 0.02447],
])  # fmt: skip
AREA = np.array([
    [1, 0.44, 0.23, 0.16, 0.072, 0.033, 0.03, 0.027, 0.016, 0.0092],
    [2.3, 1, 0.53, 0.35, 0.16, 0.075, 0.067, 0.061, 0.036, 0.021],
    [4.3, 1.9, 1, 0.66, 0.31, 0.14, 0.13, 0.12, 0.068, 0.039],
    [6.4, 2.8, 1.5, 1, 0.46, 0.21, 0.19, 0.17, 0.1, 0.059],
    [14, 6.1, 3.3, 2.2, 1, 0.46, 0.41, 0.38, 0.22, 0.13],
    [30, 13, 7.1, 4.7, 2.2, 1, 0.89, 0.82, 0.48, 0.28],
    [34, 15, 7.9, 5.3, 2.4, 1.1, 1, 0.91, 0.54, 0.31],
    [37, 16, 8.7, 5.8, 2.7, 1.2, 1.1, 1, 0.59, 0.34],
    [63, 28, 15, 9.8, 4.5, 2.1, 1.9, 1.7, 1, 0.58],
    [110, 48, 25, 17, 7.8, 3.6, 3.2, 2.9, 1.7, 1],
])  # fmt: skip
SUPPLY_V = (0.4, 1.8)


def energy_factor(from_nm: float, from_v: float, to_nm: float, to_v: float) -> float:
    """Energy of an operation at one node and supply over that at another."""
    return _switched(to_nm, to_v) / _switched(from_nm, from_v)


def area_factor(from_nm: float, to_nm: float) -> float:
    """Area of the same logic at one node over that at another."""
    return float(_weights(from_nm) @ AREA @ _weights(to_nm))


def _switched(node_nm: float, supply_v: float) -> float:
    return float(_weights(node_nm) @ ENERGY @ np.array([supply_v**2, supply_v, 1.0]))


def _weights(node_nm: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Of the rows of the tables: 1 at a node of theirs, else the two neighbours."""
    falling = np.array(NODES_NM)
    at = np.interp(-node_nm, -falling, np.arange(len(falling)))
    return np.maximum(0.0, 1.0 - np.abs(np.arange(len(falling)) - at))

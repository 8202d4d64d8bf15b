"""The IR drop approximation against the solved resistor network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve

from ssmc.hardware.conductances import NoiseModel
from ssmc.hardware.model import Hardware
from ssmc.targets.aimc.lowering.mapping import Bank, Tile
from ssmc.targets.aimc.simulation.chip import Chip
from ssmc.targets.aimc.simulation.wires import with_wires
from ssmc.targets.aimc.tiles.instructions import TileProgram

Real = np.ndarray[Any, Any]


def network(g: Real, wire_ohm: float, v: Real, before: int, below: int) -> Real:
    """Column currents: Kirchhoff's law at every node of every row and column wire, no approximation."""
    rows, columns = g.shape
    wire = 1e6 / wire_ohm  # microsiemens per pitch
    row_node = lambda i, c: i * columns + c  # noqa: E731
    column_node = lambda i, c: rows * columns + i * columns + c  # noqa: E731
    system, right = lil_matrix((2 * rows * columns,) * 2), np.zeros(2 * rows * columns)

    def connect(a: int, b: int, conductance: float) -> None:
        for one, other in ((a, b), (b, a)):
            system[one, one] += conductance
            system[one, other] -= conductance

    for i in range(rows):
        for c in range(columns):
            connect(row_node(i, c), column_node(i, c), g[i, c])
            if c:
                connect(row_node(i, c), row_node(i, c - 1), wire)
            if i:
                connect(column_node(i, c), column_node(i - 1, c), wire)
        system[row_node(i, 0), row_node(i, 0)] += wire / (1 + before)
        right[row_node(i, 0)] += v[i] * wire / (1 + before)
    for c in range(columns):
        end = column_node(rows - 1, c)
        system[end, end] += wire / (1 + below)
    volts = spsolve(system.tocsr(), right)
    return np.array([volts[column_node(rows - 1, c)] * wire / (1 + below) for c in range(columns)])


@pytest.mark.parametrize(("before", "below"), [(0, 0), (3, 5)])
def test_first_order_of_the_network(before: int, below: int) -> None:
    """The error is of second order: a tenth of the wire leaves a hundredth of the error."""
    rng = np.random.default_rng(0)
    g, v = rng.uniform(0, 100, (7, 9)), rng.normal(0, 1, 7)
    errors, effects = [], []
    for ohm in (1.0, 0.1):
        exact = network(g, ohm, v, before, below)
        errors.append(np.abs(v @ with_wires(g, ohm, before, below) - exact).max())
        effects.append(np.abs(v @ g - exact).max())
    assert errors[0] < 0.05 * effects[0]
    assert errors[1] < 0.015 * errors[0]


def test_a_single_cell_is_a_voltage_divider() -> None:
    """One cell: the row wire and the column wire in series with it, exactly."""
    assert with_wires(np.array([[50.0]]), 10.0, 2, 3) == pytest.approx(50 / (1 + 50e-6 * 10 * (3 + 4)), rel=1e-12)


@pytest.mark.parametrize("place", [(0, 0), (12, 20)])
def test_a_tile_far_from_driver_and_sense_loses_more(place: tuple[int, int], taox64: Hardware) -> None:
    row, column = place
    tile = Tile(0, 0, (0, 4), row, column)
    bank = Bank("b", "b", (0, 6), (1,), (tile,), np.full((1, 1, 4, 6), 80))
    chip = Chip(TileProgram("t", {"b": bank}, {}, {}, {}, (), ()), taox64, NoiseModel(wire_ohm=5.0))
    g = np.zeros((6, 8))
    g[:, ::2] = taox64.cell.g_min_us.value + 80 * taox64.level_us
    g[:, 1::2] = taox64.cell.g_min_us.value
    expected = with_wires(g, 5.0, column, taox64.array.rows - row - 6)
    assert chip.banks["b"].weight[0] == pytest.approx(
        (expected[:, ::2] - expected[:, 1::2]) / taox64.level_us, rel=1e-5
    )

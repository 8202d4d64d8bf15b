"""Kernel vectors computed by an independent implementation in rational arithmetic: every code equal."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssmc.ir.executor import State
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import StateSpace
from ssmc.ir.requant import make_requant

VECTORS = sorted((Path(__file__).parent / "vectors").glob("*.json"))


def kernel(v: dict[str, Any]) -> StateSpace:
    """The vector's kernel as an operation of a program."""
    n, rows = v["n_state"], v["n_state"] + v["n_output"]
    ends = np.array(v["range"])
    delta = v["form"] == "delta"

    def states(key: str, position: int) -> np.ndarray:
        return np.full((1, n), v[key][position]) if delta else ends[None, :n, position]

    matrix = Matrix(np.array(v["W"])[None])
    assert matrix.codes.shape == (1, rows, n + v["n_input"])
    dac_lo, dac_hi = states("dac_range", 0), states("dac_range", 1)
    top = np.full((1, v["n_input"]), np.abs(v["u"]).max())
    reach = matrix.reach(np.concatenate([dac_lo, -top], 1), np.concatenate([dac_hi, top], 1))
    ratio = [Fraction(*r) for r in v["ratio"]]
    requant = make_requant(ratio, [Fraction(0)] * rows, ends[:, 0], ends[:, 1], (reach[0].ravel(), reach[1].ravel()))
    start = np.array(v["register0" if delta else "state0"])[None]
    return StateSpace(
        "kernel", ("u",), "y", matrix, requant, np.full((1, n), int(delta)), np.full((1, n), v.get("shift", 0)),
        dac_lo, dac_hi, states("register_range", 0), states("register_range", 1), start,
    )  # fmt: skip


def test_the_vectors_are_there() -> None:
    assert len(VECTORS) == 12


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_every_code_equals(path: Path) -> None:
    v = json.loads(path.read_text())
    op = kernel(v)
    delta = v["form"] == "delta"
    assert op.form == v["form"]
    register = op.register0[None]
    states, outputs, driven = [], [], []
    for u in v["u"]:
        driven.append(op.read_out(register)[0, 0].tolist())
        register, y = op.step(register, np.array(u)[None, None])
        states.append(register[0, 0].tolist())
        outputs.append(y[0, 0].tolist())
    assert outputs == v["y"]
    assert states == v["register" if delta else "state"]
    if delta:
        assert driven == v["driven"]


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_two_matrices_give_the_same_codes(path: Path) -> None:
    """Unfused: the state rows and the output rows apart."""
    v = json.loads(path.read_text())
    op = kernel(v)
    n = op.n_state
    rows = [slice(0, n), slice(n, None)]
    matrices = [Matrix(op.matrix.codes[:, part]) for part in rows]
    requants = [op.requant.take(np.arange(len(op.requant))[part]) for part in rows]
    fields = {
        name: getattr(op, name)
        for name in ("keep", "shift", "dac_lo", "dac_hi", "register_lo", "register_hi", "register0")
    }
    pair = StateSpace(
        "pair", ("u",), "y", matrices[0], requants[0], **fields, output_matrix=matrices[1], output_requant=requants[1]
    )
    register, outputs = pair.register0[None], []
    for u in v["u"]:
        register, y = pair.step(register, np.array(u)[None, None])
        outputs.append(y[0, 0].tolist())
    assert outputs == v["y"]


def test_a_vector_through_a_saved_state() -> None:
    """The state is a value: stopping and going on changes nothing."""
    v = json.loads(next(path for path in VECTORS if path.stem == "delta-4bit-adc").read_text())
    op = kernel(v)
    halfway = len(v["u"]) // 2
    register = op.register0[None]
    for u in v["u"][:halfway]:
        register, _ = op.step(register, np.array(u)[None, None])
    saved = State(registers={op.name: register}).copy()
    register = np.full_like(register, 99)
    register, outputs = saved.registers[op.name], []
    for u in v["u"][halfway:]:
        register, y = op.step(register, np.array(u)[None, None])
        outputs.append(y[0, 0].tolist())
    assert outputs == v["y"][halfway:]

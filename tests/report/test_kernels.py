"""Poles of a quantized kernel against closed forms."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest

from ssmc.analysis.kernels import ChannelFacts, KernelAnalysis
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import StateSpace
from ssmc.ir.program import Program
from ssmc.ir.requant import make_requant
from ssmc.report.facts import Report, dump_json, report_from_json
from ssmc.report.html import render_html
from ssmc.report.kernels import kernel_facts, poles, transition
from ssmc.report.text import channels_table, report_text


def rotation(re: int, im: int, *, keep: int, shift: int, ratio: Fraction) -> StateSpace:
    """One complex mode with integer block [[re, -im], [im, re]], one input, one output."""
    codes = np.array([[[re, -im, 1], [im, re, 1], [1, 1, 0]]], np.int64)
    one = np.ones((1, 2), np.int64)
    limits = {"dac_lo": -128 * one, "dac_hi": 127 * one, "register_lo": -2048 * one, "register_hi": 2047 * one}
    requant = make_requant([ratio] * 3, [Fraction(0)] * 3, -128, 127, (-(10**6), 10**6))
    return StateSpace("mode", ("u",), "y", Matrix(codes), requant, keep * one, shift * one, register0=0 * one, **limits)


def test_direct_poles_are_those_of_the_scaled_block() -> None:
    op = rotation(60, 64, keep=0, shift=0, ratio=Fraction(1, 100))
    (found,) = poles(op)
    assert np.allclose(sorted(found, key=lambda p: p.imag), [0.6 - 0.64j, 0.6 + 0.64j])


def test_delta_poles_are_one_plus_the_increment() -> None:
    op = rotation(-16, 32, keep=1, shift=4, ratio=Fraction(1, 4))
    assert np.array_equal(transition(op)[0], [[0.75, -0.5], [0.5, 0.75]])
    (facts,) = kernel_facts(Program("x", 1, "y", 1, (op,)))
    assert facts.form == "delta"
    assert facts.largest_pole == pytest.approx(0.8125**0.5, abs=1e-6)
    assert facts.stability_margin == pytest.approx(1 - 0.8125**0.5, abs=1e-6)
    assert facts.slowest_steps == pytest.approx(-1 / np.log(0.8125**0.5), abs=0.01)
    assert facts.poles == ((0.75, 0.5),)
    assert (facts.weight_bits, facts.state_dac_bits, facts.adc_bits, facts.register_bits) == (7, 8, 8, 12)


def test_a_pruned_state_has_no_pole() -> None:
    op = rotation(-16, 32, keep=1, shift=4, ratio=Fraction(1, 4))
    op.matrix.codes[0, 1] = 0
    op.matrix.codes[0, 0, 1] = 0
    (facts,) = kernel_facts(Program("x", 1, "y", 1, (op,)))
    assert facts.poles == ((0.75, 0.0),)
    assert facts.live_states == 1


def test_a_pole_on_the_unit_circle_is_unstable() -> None:
    (facts,) = kernel_facts(Program("x", 1, "y", 1, (rotation(0, 0, keep=1, shift=0, ratio=Fraction(1)),)))
    assert facts.unstable_groups == 1
    assert facts.stability_margin == 0
    assert facts.slowest_steps is None


def test_what_an_analysis_left_out_is_said_everywhere() -> None:
    facts = ChannelFacts(channel=0, form="delta", states=2, fastest=0.9, slowest=0.9, margin=0.1, why="not analysed")
    kernel = KernelAnalysis("mode", "white", 30.0, (facts,), "it takes 2e+12 multiplications, the limit is 1e+11")
    model = {"name": "m", "input": "x", "input_size": 1, "output": "y", "output_size": 1, "output_rate": "step"}
    report = Report("0", model, {"name": "int"}, (), (), (), {}, {}, {}, (kernel,))
    said = "mode: ranges and noise were not analysed: it takes 2e+12 multiplications, the limit is 1e+11"
    assert said in "\n".join(report_text(report))
    assert said in channels_table(kernel)
    assert "not valid: not analysed" in channels_table(kernel)
    assert said in render_html(report)
    assert report_from_json(json.loads(dump_json(report.to_json()))) == report

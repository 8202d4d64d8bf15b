"""The detector of examples/stream: C and Python find the same words, and its figures count what they say."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

import ssmc
from examples.stream.detector import on_this_machine
from examples.stream.gate import BEFORE, LEAST, QUIET, words
from examples.stream.stream import DIGITS, Stream, Word, integer_words, make_stream, score
from examples.stream.window import HELD, PAUSE, forgetting, sliding, window_events
from ssmc.data import load_samples
from ssmc.ir.operations import ExponentialMean


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc, whose sanitizers are used")
def test_c_and_python_find_the_same_words() -> None:
    stream = make_stream(load_samples(DIGITS / "test.npz").head(4), noise_db=-45, seed=3)
    bundle = ssmc.compile(DIGITS / "model.onnx", oracle=False)
    scale = float(bundle.compiled.program.ops[-1].scale)  # type: ignore[union-attr]
    here = [Word(*rest, margin * scale) for *rest, margin in on_this_machine(bundle.compiled.program, stream.frames)]
    assert here == integer_words(stream, bundle)
    assert score(stream, here)["missed"] <= 1


def test_a_word_ends_after_so_many_quiet_frames_and_short_noises_are_none() -> None:
    frames = np.full((300, 32), 10, np.int16)
    frames[100 : 100 + LEAST] = 1000
    frames[110:115] = 10  # a pause within the word
    frames[200 : 200 + LEAST - 1] = 1000
    assert words(frames) == [(100, 99 + LEAST)]
    assert BEFORE < 100
    assert not words(frames[: 100 + LEAST + QUIET - 1])


def test_a_hit_counts_once_and_everything_else_is_a_false_alarm() -> None:
    stream = Stream(np.zeros((250 * 3600, 32), np.int16), np.array([(100, 200, 7), (300, 400, 2)]))
    said = [Word(110, 150, 7, 1.0), Word(160, 190, 7, 1.0), Word(310, 350, 3, 1.0), Word(500, 520, 2, 1.0)]
    assert score(stream, said) == {"missed": 1, "false_alarms": 3, "false_alarms_per_hour": 3.0}


def test_the_window_gives_an_output_every_step_and_events_pause() -> None:
    model = sliding(onnx.load(DIGITS / "model.onnx"), 8)
    assert [node.op_type for node in model.graph.node].count("AveragePool") == 1
    outputs = np.zeros((PAUSE + 3 * HELD, 3))
    outputs[:, 1] = 2.0
    assert window_events(outputs, 1.0) == [(HELD - 1, 1), (HELD - 1 + PAUSE, 1)]
    assert not window_events(outputs, 3.0)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
def test_a_mean_that_forgets_is_read_at_every_step_of_a_stream(tmp_path: Path) -> None:
    onnx.save(forgetting(onnx.load(DIGITS / "model.onnx"), 4), tmp_path / "m.onnx")
    integer, c = (ssmc.compile(tmp_path / "m.onnx", target=target) for target in ("int", "c"))
    (mean,) = (op for op in integer.compiled.program.ops if isinstance(op, ExponentialMean))
    assert mean.shift == 4
    x = np.random.default_rng(0).normal(0, 3000, (1, 40, 32)).astype(np.float32)
    executor, want = c.compiled.executor(), integer.run(x)
    state = executor.init(1)
    assert np.array_equal(np.stack([executor.step(state, x[:, t]) for t in range(40)], 1), want)

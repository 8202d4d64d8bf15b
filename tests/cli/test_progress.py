"""What a log shows of long work."""

from __future__ import annotations

import time

import pytest

from ssmc.cli import progress


def test_a_log_names_the_stages_that_take_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LONG", 0.02)
    with progress.stages("quantizing") as stage:
        stage("calibrate")
        time.sleep(0.3)
        monkeypatch.setattr(progress, "LONG", 60.0)
        stage("quantize")
    assert capsys.readouterr().err == "quantizing: calibrate\n"


def test_a_log_counts_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A point every ten seconds: a line after three of them."""
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(progress, "LOGGED_EVERY", 12.0)
    with progress.counting(6, "points") as advance:
        for _ in range(6):
            advance(1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "points: 3 of 6"
    assert len(lines) == 2

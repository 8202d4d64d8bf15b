"""A continuous stream of the spoken digits: misses and false alarms per hour of floats, integers and C on the board.

The 300 test recordings of the demo in random order, -6 to 0 dB, with gaps of 0.4 to 2 s and white noise all along. A
gate on loudness (`gate.py`, detect.c) finds where a word begins and ends; there the model's state begins anew, and what
it says at the end of the word counts where its best class is ahead of the next by a margin. A hit is the right class
for a recording that the word overlaps, once; everything else is a false alarm.

    python -m examples.stream.stream            # with --board also on a Cortex-M4 in QEMU
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

import ssmc
from examples.lib.folders import EXAMPLES
from examples.stream.detector import on_board
from examples.stream.gate import BEFORE, Frames, words
from examples.stream.window import forgetting, sliding, window_events
from ssmc.data import Samples, load_samples
from ssmc.ir.operations import Dequantize
from ssmc.ir.program import Program

DIGITS = EXAMPLES / "spoken_digits"
FRAMES_PER_SECOND = 250  # 8 kHz in frames of 32
PEAK = 32767
NOISE = (-50.0, -30.0)
MARGINS = (0.0, 1.0, 2.0)  # of the model's outputs

Outputs = NDArray[np.float64]


@dataclass(frozen=True)
class Stream:
    """Audio, and what is said in it.

    Attributes:
        frames: (T, 32) 16-bit samples.
        spoken: (n, 3) first frame, frame after the last, class.
    """

    frames: Frames
    spoken: NDArray[np.int64]

    @property
    def hours(self) -> float:
        """How long it is."""
        return len(self.frames) / FRAMES_PER_SECOND / 3600


@dataclass(frozen=True)
class Word:
    """A word that was found: its frames, class and margin."""

    first: int
    last: int
    label: int
    margin: float


def make_stream(samples: Samples, noise_db: float, seed: int) -> Stream:
    """Every recording once."""
    rng, parts, spoken, at = np.random.default_rng(seed), [], [], 0
    assert samples.label is not None
    for i in rng.permutation(len(samples)).tolist():
        gap = int(rng.integers(FRAMES_PER_SECOND * 4 // 10, FRAMES_PER_SECOND * 2))
        x, lengths = samples.batch(np.array([i]))
        recording = x[0, : lengths[0]] * 10 ** (rng.uniform(-6, 0) / 20)
        parts += [np.zeros((gap, x.shape[2])), recording]
        spoken.append((at + gap, at + gap + len(recording), int(samples.label[i])))
        at += gap + len(recording)
    wave = np.concatenate([*parts, np.zeros((FRAMES_PER_SECOND, samples.features))])
    wave += rng.standard_normal(wave.shape) * PEAK * 10 ** (noise_db / 20)
    return Stream(np.clip(np.rint(wave), -PEAK - 1, PEAK).astype(np.int16), np.array(spoken))


def found(spans: Sequence[tuple[int, int]], outputs: Outputs) -> list[Word]:
    """What the model says of every word; ties go to the class that comes first, as in detect.c."""
    order = np.sort(outputs, 1)
    margins, labels = (order[:, -1] - order[:, -2]).tolist(), outputs.argmax(1).tolist()
    return [Word(*span, label, margin) for span, label, margin in zip(spans, labels, margins, strict=True)]


def integer_words(stream: Stream, bundle: ssmc.Bundle) -> list[Word]:
    """The integer program, every word from its initial state."""
    spans = words(stream.frames)
    lengths = np.array([last + 1 - first + BEFORE for first, last in spans])
    x = np.zeros((len(spans), lengths.max(), stream.frames.shape[1]), np.float32)
    for row, (first, last) in zip(x, spans, strict=True):
        row[: last + 1 - first + BEFORE] = stream.frames[first - BEFORE : last + 1]
    return found(spans, bundle.run(x, lengths))


def float_words(stream: Stream, model: Path) -> list[Word]:
    """The float model in onnxruntime, likewise."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    spans = words(stream.frames)
    parts = [stream.frames[first - BEFORE : last + 1][None].astype(np.float32) for first, last in spans]
    return found(spans, np.concatenate([session.run(None, {"x": part})[0] for part in parts]).astype(np.float64))


def board_words(stream: Stream, program: Program) -> list[Word]:
    """detect.c on the Cortex-M4."""
    last = program.ops[-1]
    assert isinstance(last, Dequantize)
    scale = float(np.unique(last.scale).item())
    return [Word(*rest, margin * scale) for *rest, margin in on_board(program, stream.frames)]


def outputs_of_steps(stream: Stream, model: onnx.ModelProto) -> Outputs:
    """The integer program of a model with an output at every step, state carried throughout."""
    with tempfile.TemporaryDirectory(prefix="ssmc-stream-") as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        return ssmc.compile(path, oracle=False).run(stream.frames[None].astype(np.float32))[0]


def score(stream: Stream, said: Sequence[Word]) -> dict[str, float]:
    """Recordings without a hit, and false alarms per hour."""
    hit, alarms = np.zeros(len(stream.spoken), bool), 0
    first, stop, label = stream.spoken.T
    for word in said:
        over = np.flatnonzero((first <= word.last) & (stop > word.first) & (label == word.label) & ~hit)
        alarms += not over.size
        hit[over[:1]] = True
    per_hour = round(alarms / stream.hours, 1)
    return {"missed": int((~hit).sum()), "false_alarms": alarms, "false_alarms_per_hour": per_hour}


@click.command(help=__doc__)
@click.option("--noise", default=NOISE, multiple=True, help="Levels of the noise, dB of full scale.")
@click.option("--seed", default=0, help="Of the order, gaps, gains and noise.")
@click.option("--recordings", default=300, help="How many.")
@click.option("--window", default=64, help="Steps of the sliding mean that is compared.")
@click.option("--shift", default=5, help="Of the exponentially weighted mean: 2^-shift for the newest step.")
@click.option("--board/--no-board", default=False, help="Also detect.c on a Cortex-M4 in QEMU.")
@click.option("--result", type=click.Path(path_type=Path), default=Path(__file__).with_name("stream.json"))
def main(
    noise: Sequence[float], seed: int, recordings: int, window: int, shift: int, board: bool, result: Path
) -> None:
    """Run and write."""
    samples, rows, hours = load_samples(DIGITS / "test.npz").head(recordings), [], 0.0
    for level in noise:
        stream = make_stream(samples, level, seed)
        hours = stream.hours
        rows += [{"noise_db": level, **row} for row in measure(stream, window, shift, board)]
    for row in rows:
        click.echo(
            f"noise {row['noise_db']:g} dB, margin {row['margin']:g}: {row['what']:32} {row['missed']:3} of "
            f"{recordings} missed, {row['false_alarms']} false alarms, {row['false_alarms_per_hour']:g} per hour"
        )
    settings = {"seed": seed, "recordings": recordings, "hours": round(hours, 4)}
    result.write_text(json.dumps({**settings, "rows": rows}, indent=2, sort_keys=True) + "\n")


def measure(stream: Stream, window: int, shift: int, board: bool) -> list[dict[str, Any]]:
    """A row for every margin and way to run."""
    model = DIGITS / "model.onnx"
    bundle = ssmc.compile(model, oracle=False)
    gated = {
        "float": float_words(stream, DIGITS / "model_float.onnx"),
        "integer program": integer_words(stream, bundle),
    }
    if board:
        gated["C on the Cortex-M4"] = board_words(stream, bundle.compiled.program)
        assert gated["C on the Cortex-M4"] == gated["integer program"], "the board says something else"
    means = {
        f"no gate, mean of {window} steps": (window, sliding(onnx.load(model), window)),
        f"no gate, exponential, 2^-{shift}": (1 << (shift + 1), forgetting(onnx.load(model), shift)),
    }
    every = {what: (span, outputs_of_steps(stream, made)) for what, (span, made) in means.items()}
    rows = []
    for margin in MARGINS:
        said = {what: [word for word in each if word.margin >= margin] for what, each in gated.items()}
        for what, (span, outputs) in every.items():
            events = window_events(outputs, margin)
            said[what] = [Word(max(t - span, 0), t, label, margin) for t, label in events]
        rows += [{"margin": margin, "what": what, **score(stream, each)} for what, each in said.items()]
    return rows


if __name__ == "__main__":
    main()

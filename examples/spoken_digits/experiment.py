"""Spoken digits from raw audio: float S4D, post-training quantization, quantization-aware fine-tuning.

\b
    python -m examples.spoken_digits.experiment --data fsdd.npz --method float
    python -m examples.spoken_digits.experiment --data fsdd.npz --method qat --quant examples/quant/headline.toml
"""

from __future__ import annotations

from pathlib import Path

from examples.lib.experiment import row_command
from examples.lib.parents import Task
from examples.lib.speech import speech_model
from examples.spoken_digits.recordings import Recordings
from ssmc.qat.training import Phase

FLOAT = (Phase("float", 80, 4e-3, 1e-3),)
QAT = (Phase("qat", 120, 2e-3, 2e-4, distil=0.5, keep="last"),)


def task(path: Path) -> Task:
    """35,146 parameters, the shape of the demo's model."""
    return Task("spoken_digits", "fsdd.npz", Recordings(path), speech_model(10), FLOAT, QAT)


main = row_command(task, "examples.spoken_digits.experiment", __doc__)

if __name__ == "__main__":
    main()

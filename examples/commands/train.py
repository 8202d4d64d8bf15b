"""Spoken command words from raw audio: float S4D, post-training quantization, quantization-aware fine-tuning.

\b
    python -m examples.commands.train --data asc12_8khz.npz --method float
    python -m examples.commands.train --data asc12_8khz.npz --method qat --quant examples/quant/headline.toml
"""

from __future__ import annotations

from pathlib import Path

from examples.commands.words import Words
from examples.lib.experiment import row_command
from examples.lib.parents import Task
from examples.lib.speech import speech_model
from ssmc.qat.training import Phase

FLOAT = (Phase("float", 60, 4e-3, 1e-3),)
QAT = (Phase("qat", 120, 2e-3, 2e-4, distil=0.5, keep="last"),)


def task(path: Path) -> Task:
    """35,276 parameters, the shape of the spoken-digits model."""
    return Task("commands", "asc12_8khz.npz", Words(path), speech_model(12), FLOAT, QAT)


main = row_command(task, "examples.commands.train", __doc__)

if __name__ == "__main__":
    main()

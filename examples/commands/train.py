"""Spoken command words from raw audio: float S4D, post-training quantization, quantization-aware fine-tuning.

\b
    python -m examples.commands.train --data asc12_8khz.npz --method float
    python -m examples.commands.train --data asc12_8khz.npz --method qat --quant examples/quant/headline.toml
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from examples.commands.words import FRAME, Words
from examples.experiment import Task, options, run
from ssmc.qat import ModelConfig
from ssmc.qat.training import Phase

FLOAT = (Phase("float", 60, 4e-3, 1e-3),)
QAT = (Phase("qat", 40, 1e-3, 1e-4, distil=0.7),)


def task(path: Path) -> Task:
    """35,276 parameters, the shape of the spoken-digits model."""
    shape = ModelConfig(
        d_input=FRAME,
        d_output=12,
        d_model=64,
        d_state=16,
        layers=3,
        dropout=0.1,
        input_gain=2.0**-15,
        dt_min=4e-3,
        dt_max=0.3,
    )
    return Task("commands", "asc12_8khz.npz", Words(path), shape, FLOAT, QAT)


@click.command(help=__doc__)
@options
def main(data: Path, **options: Any) -> None:
    """One row of results."""
    run(task(data), "examples.commands.train", **options)


if __name__ == "__main__":
    main()

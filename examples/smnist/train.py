"""Sequential MNIST, pixel by pixel: float S4D, post-training quantization, quantization-aware fine-tuning.

\b
    python -m examples.smnist.train --data mnist.npz --method float
    python -m examples.smnist.train --data mnist.npz --method qat --quant examples/quant/mixed-6.toml
"""

from __future__ import annotations

from pathlib import Path

from examples.lib.experiment import row_command
from examples.lib.parents import Task
from examples.smnist.digits import Digits
from ssmc.qat import ModelConfig
from ssmc.qat.training import Phase

FLOAT = (
    Phase("float coarse 8", 5, 8e-3, 4e-3, coarse=8),
    Phase("float coarse 4", 4, 6e-3, 2e-3, coarse=4),
    Phase("float coarse 2", 4, 5e-3, 2e-3, coarse=2),
    Phase("float", 2, 3e-3, 1e-3),
)
QAT = (Phase("qat", 10, 1e-3, 2e-4, distil=0.5),)


def task(path: Path) -> Task:
    """22,410 parameters."""
    shape = ModelConfig(d_input=1, d_output=10, d_model=64, d_state=16, layers=2, dropout=0.1, input_gain=2.0**-7)
    return Task("smnist", "mnist.npz", Digits(path), shape, FLOAT, QAT)


main = row_command(task, "examples.smnist.train", __doc__)

if __name__ == "__main__":
    main()

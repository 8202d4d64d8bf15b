"""Heart rhythm from one ECG lead: float S4D, post-training quantization, quantization-aware fine-tuning.

\b
    python -m examples.ecg.train --data cinc2017_af_100hz.npz --method float
    python -m examples.ecg.train --data cinc2017_af_100hz.npz --method qat --quant examples/quant/mixed-8.toml
"""

from __future__ import annotations

from pathlib import Path

from examples.ecg.rhythms import FRAME, Rhythms
from examples.lib.experiment import row_command
from examples.lib.parents import Task
from ssmc.qat import ModelConfig
from ssmc.qat.training import Phase

FLOAT = (Phase("float coarse 2", 20, 6e-3, 2e-3, coarse=2), Phase("float", 6, 3e-3, 1e-3))
QAT = (Phase("qat", 2, 1e-3, 2e-4, distil=0.7),)


def task(path: Path) -> Task:
    """S4D, 3 layers, 32 channels."""
    shape = ModelConfig(
        d_input=FRAME, d_output=4, d_model=32, d_state=16, layers=3, dropout=0.1, input_gain=2.0**-11, dt_max=0.3
    )
    return Task("ecg", "cinc2017_af_100hz.npz", Rhythms(path), shape, FLOAT, QAT)


main = row_command(task, "examples.ecg.train", __doc__)

if __name__ == "__main__":
    main()

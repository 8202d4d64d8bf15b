"""What the tasks on raw speech share: the frames, and the shape of the model."""

from __future__ import annotations

from ssmc.qat import ModelConfig

FRAME = 32  # samples of 8 kHz audio in one time step
PEAK = 32767  # of a recording, after scaling


def speech_model(classes: int) -> ModelConfig:
    """3 layers, H = 64 channels of 8 complex modes; the input is frames of 16-bit audio."""
    return ModelConfig(
        d_input=FRAME,
        d_output=classes,
        d_model=64,
        d_state=16,
        layers=3,
        dropout=0.1,
        input_gain=2.0**-15,
        dt_min=4e-3,
        dt_max=0.3,
    )

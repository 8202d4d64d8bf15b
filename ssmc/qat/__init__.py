"""Quantization-aware training of S4D models in torch (needs the ``torch`` extra)."""

from ssmc.qat.calibration import calibrate
from ssmc.qat.config import Mode, QuantConfig
from ssmc.qat.fake_quant import Quantizer
from ssmc.qat.linear import QuantLinear
from ssmc.qat.model import Block, ModelConfig, S4DClassifier, set_mode
from ssmc.qat.rates import lower_rates
from ssmc.qat.reduction import reduce
from ssmc.qat.s4d import S4D
from ssmc.qat.weights import set_noise

__all__ = [
    "S4D",
    "Block",
    "Mode",
    "ModelConfig",
    "QuantConfig",
    "QuantLinear",
    "Quantizer",
    "S4DClassifier",
    "calibrate",
    "lower_rates",
    "reduce",
    "set_mode",
    "set_noise",
]

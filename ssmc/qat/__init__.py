"""Quantization-aware training of S4D models in torch (needs the ``torch`` extra)."""

from ssmc.qat.calibration import calibrate
from ssmc.qat.cells import set_device_noise
from ssmc.qat.config import Mode, QuantConfig
from ssmc.qat.data import Arrays, Loaders
from ssmc.qat.fake_quant import Quantizer
from ssmc.qat.fit import Fitted, fit
from ssmc.qat.linear import QuantLinear
from ssmc.qat.model import Block, ModelConfig, S4DClassifier, set_mode
from ssmc.qat.objective import accuracy, macro_f1, r2
from ssmc.qat.observer import CsvLog, EarlyStop, EndOfPhase, EpochFigures, Observer, TensorBoardLog
from ssmc.qat.rates import lower_rates
from ssmc.qat.reduction import reduce
from ssmc.qat.s4d import S4D
from ssmc.qat.training import DivergedError, Phase, Trainer, evaluate
from ssmc.qat.weights import set_noise

__all__ = [
    "S4D",
    "Arrays",
    "Block",
    "CsvLog",
    "DivergedError",
    "EarlyStop",
    "EndOfPhase",
    "EpochFigures",
    "Fitted",
    "Loaders",
    "Mode",
    "ModelConfig",
    "Observer",
    "Phase",
    "QuantConfig",
    "QuantLinear",
    "Quantizer",
    "S4DClassifier",
    "TensorBoardLog",
    "Trainer",
    "accuracy",
    "calibrate",
    "evaluate",
    "fit",
    "lower_rates",
    "macro_f1",
    "r2",
    "reduce",
    "set_device_noise",
    "set_mode",
    "set_noise",
]

"""Post-training quantization of a float ONNX model: calibration data in, standard quantized ONNX out. No torch."""

from ssmc.quantize.config import QuantizeConfig
from ssmc.quantize.model import quantize

__all__ = ["QuantizeConfig", "quantize"]

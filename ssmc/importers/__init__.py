"""From a file to a checked graph with named axes."""

from ssmc.importers.onnx_file import load_model

__all__ = ["load_model"]

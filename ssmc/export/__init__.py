"""From torch to standard ONNX (needs the ``torch`` extra)."""

from ssmc.export.adapters import Candidate, Refused, register_adapter
from ssmc.export.torch_export import export_onnx

__all__ = ["Candidate", "Refused", "export_onnx", "register_adapter"]

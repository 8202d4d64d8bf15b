"""From torch to standard ONNX (needs the ``torch`` extra)."""

from ssmc.export.torch_export import export_onnx

__all__ = ["export_onnx"]

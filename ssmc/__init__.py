"""ssmc compiles quantized state-space models for the hardware that runs them.

The same things as on the command line, importable::

    bundle = ssmc.compile("model.onnx", target="aimc", hardware="taox64")
    y = bundle.run(x, lengths)
    bundle.save("out")

Names are loaded on first use, so that ``import ssmc`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssmc.checkout import require_linked
from ssmc.version import __version__

if TYPE_CHECKING:
    from ssmc.bundle.compile import compile as compile
    from ssmc.bundle.folder import Bundle as Bundle
    from ssmc.bundle.folder import load as load
    from ssmc.export import export_onnx as export_onnx

require_linked(__path__[0])

_HOME = {
    "Bundle": "ssmc.bundle.folder",
    "compile": "ssmc.bundle.compile",
    "export_onnx": "ssmc.export",
    "load": "ssmc.bundle.folder",
}

__all__ = ["Bundle", "__version__", "compile", "export_onnx", "load"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ssmc' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""How torch's exporter spells ``ssmc::fake_quant``: as one node ``ssmc::Quant``, lowered by ``quantizers``."""

from collections.abc import Callable
from typing import Any

import onnxscript
import torch
from onnxscript import FLOAT

import ssmc.qat.fake_quant  # noqa: F401 - registers the op

ssmc_op = onnxscript.values.Opset("ssmc", 1)


@onnxscript.script()
def _quant(x: FLOAT[...], scale: FLOAT[...], out_scale: FLOAT[...], lo: int, hi: int) -> FLOAT[...]:  # type: ignore
    return ssmc_op.Quant(x, scale, out_scale, lo=lo, hi=hi)  # type: ignore[no-any-return]


TRANSLATION: dict[Callable[..., Any], Callable[..., Any]] = {torch.ops.ssmc.fake_quant.default: _quant}

"""The converters of a crossbar in the loop: what the lowered graph computes, while a model is trained.

Which steps and ranges converters take is decided where the lowering decides it (`ssmc.conversion.one_conversion`). With
the quantizer q = clip(round(ratio acc + bias), lo, hi) behind the column, shift k and unit as chosen there:

    coarser, any code at zero current     c = round((ratio acc + bias) / 2^k)    q = 2^k c
    coarser, code 0 at zero current       c = round(ratio acc / 2^k)             q = round(2^k c + bias)
    requantized in the digital unit       c = round(acc / unit)                  q = round(ratio unit c + bias)

every c clipped to its converter's range, every q to lo..hi.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from ssmc.conversion.column_sums import Inputs
from ssmc.conversion.one_conversion import Steps, chosen_steps
from ssmc.errors import SsmcWarning
from ssmc.ir.rounding import IntArray
from ssmc.qat.cells import Behind, Held, in_parts, lowered
from ssmc.qat.columns import Columns
from ssmc.qat.config import QuantConfig

KEPT_CALLS = 64


class Converters:
    """The converters of one matrix on ``config.hardware``.

    Attributes:
        seen: recorded drives (S, G, in) that ranges are chosen for; None: the quantizer's range.
    """

    def __init__(self, config: QuantConfig) -> None:
        self.config = config
        self.seen: IntArray | None = None
        self._plan: tuple[Steps, IntArray] | None = None
        self._key: bytes | None = None
        self._calls = 0

    def columns(
        self,
        codes: Tensor,
        ratio: Tensor,
        bias: Tensor,
        ends: tuple[int, int],
        drives: tuple[IntArray, IntArray],
        training: bool,
        states: int = 0,
    ) -> Columns | None:
        """Converters of codes (G, out, in) in front of quantizers with ratio, bias (G, out) and range ``ends``.

        None where the converters are the quantizers. ``drives``: smallest and largest code, (G, in) each. The first
        ``states`` of outputs and inputs are those of a kernel, of which only what is live is lowered. While training,
        steps are chosen anew in one of `KEPT_CALLS` calls, since weights move little between them.
        """
        if self.config.hardware is None:
            return None
        self._calls += 1
        if not training or self._key is None or self._calls % KEPT_CALLS == 0:
            self._choose(codes, ratio, bias, ends, drives, states)
        return None if self._plan is None else self._taken(*self._plan, ratio, bias, ends)

    @torch.no_grad()
    def _choose(
        self,
        codes: Tensor,
        ratio: Tensor,
        bias: Tensor,
        ends: tuple[int, int],
        drives: tuple[IntArray, IntArray],
        states: int,
    ) -> None:
        whole, r, b = (x.double().cpu().numpy() for x in (codes, ratio, bias))
        key = whole.tobytes() + r.tobytes() + b.tobytes() + (b"" if self.seen is None else self.seen.tobytes())
        if key == self._key:
            return
        self._key, self._plan = key, None
        hw = self.config.hardware
        assert hw is not None
        held = Held.of(lowered(whole.astype(np.int64), states), Behind.of(ratio, bias, ends), hw)
        cells = held.codes
        if in_parts(cells, hw):
            words = "a column takes several conversions: what those lose is left out of training"
            warnings.warn(SsmcWarning(f"{hw.name}: {words}"), stacklevel=2)
        elif held.why:
            steps, first = chosen_steps(cells, held.behind, held.factor, Inputs(drives, self.seen), hw)
            self._plan = Steps(steps.shift, steps.unit * held.worth.ravel()), first

    def _taken(self, steps: Steps, first: IntArray, ratio: Tensor, bias: Tensor, ends: tuple[int, int]) -> Columns:
        hw = self.config.hardware
        assert hw is not None
        coarser = torch.from_numpy(steps.shift >= 0).view(ratio.shape).to(ratio.device)
        power, unit, lowest = (
            torch.from_numpy(np.asarray(x, np.float64)).view(ratio.shape).to(ratio)
            for x in (np.exp2(np.maximum(steps.shift, 0)), steps.unit, first)
        )
        back = torch.where(coarser, power, ratio.detach() * unit)
        inner = coarser & torch.tensor(hw.adc.offset, device=ratio.device)
        none = torch.zeros_like(bias)
        return Columns(
            torch.where(coarser, ratio / power, ratio / ratio.detach()),
            torch.where(coarser, torch.ones_like(unit), unit),
            torch.where(inner, bias / power, none),
            lowest,
            lowest + (1 << hw.adc.bits) - 1,
            back,
            torch.where(inner, none, bias),
            none.detach(),
            ends,
        )

"""S4D layer in the textbook form, float and quantized on the fused matrix."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ssmc.ir.rounding import IntArray
from ssmc.qat.cells import Behind, CellNoise, inside
from ssmc.qat.columns import Columns, Crossbar
from ssmc.qat.config import Mode, QuantConfig, signed_range
from ssmc.qat.converters import Converters
from ssmc.qat.devices import has_triton
from ssmc.qat.fake_quant import LearnedStep, Quantizer, StepSearch
from ssmc.qat.kernel import Kernel, Scales, best_spread, quantize_kernel
from ssmc.qat.poles import Blocks
from ssmc.qat.recurrence import StepRanges, float_step, quantized_step, run_loop, run_scan
from ssmc.qat.weights import WeightNoise, straight_to

LARGEST_SHIFT = 14


class S4D(nn.Module):
    """H independent single-input single-output diagonal SSMs with N = d_state / 2 complex modes each.

    Parameters: log_dt (H), log_A_real (H, N), A_imag (H, N), C (H, N, 2), D (H); A = -exp(log_A_real) + i A_imag.
    Initialised as S4D-Lin: A = -1/2 + i pi n, dt log-uniform in [dt_min, dt_max]. ``turning`` (H, N) and ``sign``
    (H, N, 2) make a mode two real poles, or one, or none (`ssmc.qat.poles`, `ssmc.qat.reduce`).
    """

    turning: Tensor
    sign: Tensor
    inside: Tensor | None = None

    shift: Tensor
    keep: Tensor
    spread: Tensor

    def __init__(
        self, d_model: int, d_state: int, config: QuantConfig, dt_min: float = 1e-3, dt_max: float = 1e-1
    ) -> None:
        super().__init__()
        modes = d_state // 2
        self.config = config
        self.mode = Mode.FLOAT
        self.frozen = False
        self.noise, self.cells, self.converters = WeightNoise(config), CellNoise(config), Converters(config)
        self.input_quantizer = Quantizer(config.activation_bits, config)
        span = math.log(dt_max) - math.log(dt_min)
        self.log_dt = nn.Parameter(torch.rand(d_model) * span + math.log(dt_min))
        self.log_A_real = nn.Parameter(torch.full((d_model, modes), math.log(0.5)))
        self.A_imag = nn.Parameter(math.pi * torch.arange(modes, dtype=torch.float32).repeat(d_model, 1))
        self.C = nn.Parameter(torch.randn(d_model, modes, 2) * math.sqrt(0.5))
        self.D = nn.Parameter(torch.randn(d_model))
        self.register_buffer("turning", torch.ones(d_model, modes, dtype=torch.bool))
        self.register_buffer("sign", torch.ones(d_model, modes, 2))
        self._converters(d_model, modes)

    def _converters(self, d_model: int, modes: int) -> None:
        """Steps and searches of the converters, not yet calibrated."""
        config = self.config
        self.register_buffer("shift", torch.zeros(d_model, modes))
        self.register_buffer("keep", torch.full((d_model, modes), float(config.form != "direct")))
        self.register_buffer("spread", torch.ones(d_model, modes))
        self.state_step = LearnedStep((d_model, modes), config)
        self.y_step = LearnedStep((d_model,), config)
        dac, adc, shared = signed_range(config.state_dac_bits), signed_range(config.adc_bits), config.granularity
        self.state_search = StepSearch(*dac, (d_model, modes), config, shared)
        self.increment_search = StepSearch(*adc, (d_model, modes), config, shared)
        self.y_search = StepSearch(*adc, (d_model,), config, shared)

    @torch.no_grad()
    def keep_modes(self, kept: Tensor) -> None:
        """Make the layer smaller: of channel h only modes kept[h] (H, n) stay; calibrate afterwards."""
        found = []
        for old in (self.log_A_real, self.A_imag, self.C, self.turning, self.sign):
            index = kept.view(*kept.shape, *[1] * (old.ndim - 2)).expand(*kept.shape, *old.shape[2:])
            found.append(old.gather(1, index))
        self.set_blocks(Blocks(self.log_dt, found[0], found[1], found[2], self.D, found[3], found[4]))

    @torch.no_grad()
    def set_blocks(self, blocks: Blocks) -> None:
        """Make ``blocks`` the layer; calibrate afterwards."""
        self.log_A_real, self.A_imag, self.C, self.D = (
            nn.Parameter(value.clone()) for value in (blocks.x, blocks.w, blocks.C, blocks.D)
        )
        self.turning, self.sign = blocks.turning.clone(), blocks.g.clone()
        self._converters(*blocks.x.shape)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """Weights of a version without real poles are complex pairs."""
        for name in ("turning", "sign"):
            state_dict.setdefault(prefix + name, torch.ones_like(getattr(self, name)))
        super()._load_from_state_dict(state_dict, prefix, *others)

    def forward(self, u: Tensor) -> Tensor:
        """Input u (N, T, H) -> y (N, T, H)."""
        if self.mode is Mode.QUANTIZED:
            y: Tensor = self._quantized(self.input_quantizer(u, codes=True)) * self.y_step()
            return y
        u = self.input_quantizer(u)
        if self.frozen:
            return self._recurrent(self.get_buffer("matrix"), u)
        if self.mode is Mode.FLOAT:
            return self.blocks.convolution(u)
        y = self.real(u)
        if self.mode is Mode.CALIBRATE:
            self.observe(u, y)
        return y

    @property
    def blocks(self) -> Blocks:
        """The parameters."""
        return Blocks(self.log_dt, self.log_A_real, self.A_imag, self.C, self.D, self.turning, self.sign)

    def kernel(self, keep: Tensor | float) -> Kernel:
        """The float matrix M: direct form for ``keep`` 0, delta form for 1, or by mode (H, N)."""
        return self.blocks.kernel(torch.as_tensor(keep, device=self.keep.device).expand_as(self.keep))

    def scales(self) -> Scales:
        """The calibrated converter steps."""
        return Scales(self.state_step(), self.shift, self.keep, self.input_quantizer.scale, self.y_step(), self.spread)

    def ranges(self) -> StepRanges:
        """Code ranges of converters and register."""
        return StepRanges.of(self.config, int(self.shift.max()))

    @property
    def limits(self) -> tuple[int, int]:
        """Largest codes of A and B, and of C and D."""
        return self.config.grid(self.config.kernel_bits).limit, self.config.grid(self.config.readout).limit

    def codes(self) -> tuple[Kernel, Tensor]:
        """Integer blocks of the fused matrix W, and ratio (H, n+1)."""
        return quantize_kernel(self.kernel(self.keep), self.scales(), self.config)

    def real(self, u: Tensor) -> Tensor:
        """The float kernel step by step: u (N, T, H) -> y (N, T, H)."""
        m = self.kernel(0.0)
        if u.device.type == "cpu":
            from ssmc.qat.compiled import run_compiled_float  # numba only where it is used

            return run_compiled_float(m, u)
        if has_triton(u):
            from ssmc.qat.gpu import run_float_on_gpu

            return run_float_on_gpu(m, u)
        return self._recurrent(m.dense(), u)

    def _recurrent(self, matrix: Tensor, u: Tensor) -> Tensor:
        state = u.new_zeros(u.shape[0], matrix.shape[0], matrix.shape[1] - 1)
        run = run_scan if torch.compiler.is_exporting() else run_loop
        return run(float_step(matrix), state, u)[1]

    def _quantized(self, u: Tensor) -> Tensor:
        if self.frozen:
            return self._frozen_scan(u)
        w, ratio = self.codes()
        bar = self.crossbar(w, ratio)
        if bar is not None:
            return self._through(bar, u)
        w = w.noisy(self.noise, *self.limits)
        adc_noise = self.config.adc_noise if self.training else 0.0
        if u.device.type == "cpu":
            from ssmc.qat.compiled import run_compiled  # numba only where it is used

            return run_compiled(w, ratio, self.scales().dac_step, self.keep, self.ranges(), u, adc_noise)
        if has_triton(u):
            from ssmc.qat.gpu import run_on_gpu

            return run_on_gpu(w, ratio, self.scales().dac_step, self.keep, self.ranges(), u, adc_noise)
        return self._stepwise(w.dense(), ratio, u, adc_noise)

    def _frozen_scan(self, u: Tensor) -> Tensor:
        limit = max(self.limits)
        one = self.get_buffer("one")
        w = torch.ops.ssmc.fake_quant(self.get_buffer("matrix_codes"), one, one, -limit, limit)
        return self._stepwise(w, self.get_buffer("ratio"), u)

    def crossbar(self, w: Kernel, ratio: Tensor) -> Crossbar | None:
        """The cells and converters that hold W; None where the converters are the quantizers, and nothing is noisy."""
        if self.config.hardware is None:
            return None
        codes, ranges = w.dense(), self.ranges()
        bias, drives = torch.zeros_like(ratio), self._drives(ranges)
        columns = self.converters.columns(codes, ratio, bias, ranges.adc, drives, self.training, 2 * self.C.shape[1])
        noise = self.config.adc_noise if self.training else 0.0
        if not self.cells.active:
            return None if columns is None else Crossbar(self.noise(codes, self.limits[0]), columns, None, noise)
        written = self.cells.write(codes, Behind.of(ratio, bias, ranges.adc), 2 * self.C.shape[1])
        columns = columns or Columns.quantizer(ratio, bias, ranges.adc)
        stable = inside(codes.detach(), written.weight, ratio.detach(), self.scales().dac_step, self.keep)
        cells = straight_to(written.weight, codes)
        return Crossbar(cells, columns.deviating(written), written.variance, math.hypot(noise, written.fresh), stable)

    def _drives(self, ranges: StepRanges) -> tuple[IntArray, IntArray]:
        """Smallest and largest codes that drive states and input, (H, n+1) each."""
        heads, states = self.C.shape[0], 2 * self.C.shape[1]
        both = zip(ranges.dac, (self.input_quantizer.lo, self.input_quantizer.hi), strict=True)
        low, high = (np.array([[state] * states + [u]] * heads, np.int64) for state, u in both)
        return low, high

    def _through(self, bar: Crossbar, u: Tensor) -> Tensor:
        """Output codes (N, T, H) of input codes u."""
        dac_step = self.scales().dac_step
        if u.device.type == "cpu":
            from ssmc.qat.crossbar import run_crossbar  # numba only where it is used

            return run_crossbar(bar, dac_step, self.keep, self.ranges(), u)
        state = u.new_zeros(u.shape[0], *dac_step.shape)
        return run_loop(bar.step(dac_step, self.keep, self.ranges()), state, u)[1]

    def _stepwise(self, w: Tensor, ratio: Tensor, u: Tensor, adc_noise: float = 0.0) -> Tensor:
        dac_step = self.get_buffer("dac_step") if self.frozen else self.scales().dac_step
        ranges = self._frozen_ranges if self.frozen else self.ranges()
        step = quantized_step(w, ratio, dac_step, self.keep, ranges, adc_noise)
        state = u.new_zeros(u.shape[0], w.shape[0], w.shape[1] - 1)
        run = run_scan if torch.compiler.is_exporting() else run_loop
        return run(step, state, u)[1]

    @torch.no_grad()
    def freeze(self) -> None:
        """Replace the parameters by the constants a deployed model holds; for export."""
        if self.mode is Mode.QUANTIZED:
            w, ratio = self.codes()
            self.register_buffer("matrix_codes", w.dense())
            self.register_buffer("ratio", ratio)
            self.register_buffer("dac_step", self.scales().dac_step)
            self.register_buffer("one", torch.tensor(1.0))
            self._frozen_ranges = self.ranges()
        else:
            self.register_buffer("matrix", self.kernel(0.0).dense())
        self.frozen = True

    @torch.no_grad()
    def observe(self, u: Tensor, y: Tensor) -> None:
        """Refine the steps of states (Re and Im together), increments and y with this batch of float values.

        Of u and y (N, T, H) only the steps that are ``inside`` count.
        """
        m = self.kernel(1.0)
        s = torch.zeros(u.shape[0], *m.b.shape, device=u.device)
        states, increments = [], []
        for k in range(u.shape[1]):
            increments.append((m.decay * s[..., None, :]).sum(-1) + m.b * u[:, k, :, None, None])
            s = s + increments[-1]
            states.append(s)
        inside = slice(None) if self.inside is None else self.inside
        for search, seen in ((self.state_search, states), (self.increment_search, increments)):
            search.observe(torch.stack(seen, 1)[inside].movedim(-1, 0))
        self.y_search.observe(y[inside])
        self._rescale()

    @torch.no_grad()
    def choose_grids(self) -> None:
        """The spread of every mode, once its steps are calibrated."""
        self.spread.copy_(best_spread(self.kernel(self.keep), self.scales(), self.config))

    def _rescale(self) -> None:
        """Forms and converter steps; the increments' step is the largest state_dac / 2^p, p >= 0, that is fine enough.

        Per unit of state range, direct form adds the error of one conversion each step, delta form |lambda - 1| times
        that of one read-out and of one increment: it is the better one where 2 |lambda - 1|^2 < 1.
        """
        if self.config.form == "mixed":
            self.keep.copy_(2 * self.kernel(1.0).decay.square().sum(-1).amax(-1) < 1)
        state, increment = self.state_search.best(), self.increment_search.best()
        delta = self.keep.bool()
        state = torch.where(delta, torch.maximum(state, increment), state)
        shift = torch.round(torch.log2(state / increment)).clamp(0, LARGEST_SHIFT)
        self.state_step.set(state)
        self.shift.copy_(torch.where(delta, shift, torch.zeros_like(shift)))
        self.y_step.set(self.y_search.best())

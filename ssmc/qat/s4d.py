"""S4D layer in the textbook form, float and quantized on the fused matrix."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ssmc.qat.config import Mode, QuantConfig, signed_range, weight_limit
from ssmc.qat.fake_quant import Quantizer, StepSearch
from ssmc.qat.kernel import Kernel, Scales, convolution, discretise, quantize_kernel, real_kernel
from ssmc.qat.recurrence import StepRanges, float_step, quantized_step, run_loop, run_scan

LARGEST_SHIFT = 14


class S4D(nn.Module):
    """H independent single-input single-output diagonal SSMs with N = d_state / 2 complex modes each.

    Parameters: log_dt (H), log_A_real (H, N), A_imag (H, N), C (H, N, 2), D (H); A = -exp(log_A_real) + i A_imag.
    Initialised as S4D-Lin: A = -1/2 + i pi n, dt log-uniform in [dt_min, dt_max].
    """

    state_dac: Tensor
    shift: Tensor
    y_scale: Tensor

    def __init__(
        self, d_model: int, d_state: int, config: QuantConfig, dt_min: float = 1e-3, dt_max: float = 1e-1
    ) -> None:
        super().__init__()
        modes = d_state // 2
        self.config = config
        self.mode = Mode.FLOAT
        self.frozen = False
        self.input_quantizer = Quantizer(config.activation_bits, config)
        span = math.log(dt_max) - math.log(dt_min)
        self.log_dt = nn.Parameter(torch.rand(d_model) * span + math.log(dt_min))
        self.log_A_real = nn.Parameter(torch.full((d_model, modes), math.log(0.5)))
        self.A_imag = nn.Parameter(math.pi * torch.arange(modes, dtype=torch.float32).repeat(d_model, 1))
        self.C = nn.Parameter(torch.randn(d_model, modes, 2) * math.sqrt(0.5))
        self.D = nn.Parameter(torch.randn(d_model))
        self.register_buffer("state_dac", torch.ones(d_model, modes))
        self.register_buffer("shift", torch.zeros(d_model, modes))
        self.register_buffer("y_scale", torch.ones(d_model))
        dac, adc, pow2 = signed_range(config.state_dac_bits), signed_range(config.adc_bits), config.power_of_two
        self.state_search = StepSearch(*dac, (d_model, modes), pow2)
        self.increment_search = StepSearch(*adc, (d_model, modes), pow2)
        self.y_search = StepSearch(*adc, (d_model,), pow2)

    def forward(self, u: Tensor) -> Tensor:
        """Input u (N, T, H) -> y (N, T, H)."""
        if self.mode is Mode.QUANTIZED:
            return self._quantized(self.input_quantizer(u, codes=True)) * self.y_scale
        u = self.input_quantizer(u)
        if self.frozen:
            return self._recurrent(self.get_buffer("matrix"), u)
        if self.mode is Mode.FLOAT:
            return convolution(*self.discrete(), u)
        y = self._recurrent(real_kernel(*self.discrete(), "direct").dense(), u)
        if self.mode is Mode.CALIBRATE:
            self.observe(u, y)
        return y

    def discrete(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(lambda - 1, b, c) complex (H, N) and d (H)."""
        delta, b = discretise(self.log_dt, self.log_A_real, self.A_imag)
        return delta, b, torch.view_as_complex(self.C), self.D

    def scales(self) -> Scales:
        """The calibrated converter steps."""
        return Scales(self.state_dac, self.shift, self.input_quantizer.scale, self.y_scale)

    def ranges(self) -> StepRanges:
        """Code ranges of converters and register."""
        return StepRanges.of(self.config, int(self.shift.max()))

    def codes(self) -> tuple[Kernel, Tensor]:
        """Integer blocks of the fused matrix W, and ratio (H, n+1)."""
        return quantize_kernel(real_kernel(*self.discrete(), self.config.form), self.scales(), self.config)

    def _recurrent(self, matrix: Tensor, u: Tensor) -> Tensor:
        state = u.new_zeros(u.shape[0], matrix.shape[0], matrix.shape[1] - 1)
        run = run_scan if torch.compiler.is_exporting() else run_loop
        return run(float_step(matrix), state, u)[1]

    def _quantized(self, u: Tensor) -> Tensor:
        if self.frozen:
            return self._frozen_scan(u)
        w, ratio = self.codes()
        if self.training and self.config.weight_noise:
            sigma = self.config.weight_noise * weight_limit(self.config.kernel_bits)
            w = Kernel(*(x + sigma * torch.randn_like(x) for x in (w.decay, w.b, w.c, w.d)))
        if u.device.type == "cpu":
            from ssmc.qat.compiled import run_compiled  # numba only where it is used

            return run_compiled(w, ratio, self.scales().dac_step, self.ranges(), u)
        return self._stepwise(w.dense(), ratio, u)

    def _frozen_scan(self, u: Tensor) -> Tensor:
        limit = weight_limit(self.config.kernel_bits)
        one = self.get_buffer("one")
        w = torch.ops.ssmc.fake_quant(self.get_buffer("matrix_codes"), one, one, -limit, limit)
        return self._stepwise(w, self.get_buffer("ratio"), u)

    def _stepwise(self, w: Tensor, ratio: Tensor, u: Tensor) -> Tensor:
        dac_step = self.get_buffer("dac_step") if self.frozen else self.scales().dac_step
        step = quantized_step(w, ratio, dac_step, self._frozen_ranges if self.frozen else self.ranges())
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
            self.register_buffer("matrix", real_kernel(*self.discrete(), "direct").dense())
        self.frozen = True

    @torch.no_grad()
    def observe(self, u: Tensor, y: Tensor) -> None:
        """Refine the steps of states (Re and Im together), increments and y with this batch of float values."""
        delta, b, _, _ = self.discrete()
        s = torch.zeros(u.shape[0], *delta.shape, dtype=delta.dtype, device=u.device)
        states, increments = [], []
        for k in range(u.shape[1]):
            increments.append(delta * s + b * u[:, k, :, None])
            s = s + increments[-1]
            states.append(s)
        for search, seen in ((self.state_search, states), (self.increment_search, increments)):
            search.observe(torch.view_as_real(torch.stack(seen)).movedim(-1, 0))
        self.y_search.observe(y)
        self._rescale()

    def _rescale(self) -> None:
        """Converter steps; the increments' step is the largest state_dac / 2^p, p >= 0, that is fine enough."""
        self.y_scale.copy_(self.y_search.best())
        self.state_dac.copy_(self.state_search.best())
        if self.config.form == "delta":
            increment = self.increment_search.best()
            self.state_dac.copy_(torch.maximum(self.state_dac, increment))
            self.shift.copy_(torch.round(torch.log2(self.state_dac / increment)).clamp(0, LARGEST_SHIFT))

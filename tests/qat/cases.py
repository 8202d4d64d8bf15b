"""Random SSMs and converter steps for the tests of ``ssmc.qat``."""

from __future__ import annotations

import torch

from ssmc.qat.config import Form, QuantConfig
from ssmc.qat.kernel import Scales, discretise, quantize_kernel, real_kernel
from ssmc.qat.recurrence import StepRanges


def random_ssm(seed: int, heads: int = 3, modes: int = 4):
    """(lambda - 1, b, c) complex (H, N) and d (H) of a stable SSM."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(5, heads, modes, 2, generator=generator)
    log_dt = -3 + normal[0, :, 0, 0]
    delta, b = discretise(log_dt, -0.7 + 0.5 * normal[1, ..., 0], 6 * normal[2, ..., 0])
    return delta, b, torch.view_as_complex(normal[3].contiguous()), normal[4, :, 0, 0]


def random_scales(seed: int, form: Form = "delta", heads: int = 3, modes: int = 4) -> Scales:
    """Power-of-two steps; the shift of the register is 0 in direct form, which has none. Mixed: every other mode."""
    generator = torch.Generator().manual_seed(seed + 1)
    power = torch.randint(-6, 0, (heads, modes), generator=generator).float()
    shift = torch.randint(0, 6, (heads, modes), generator=generator).float()
    keep = torch.full_like(shift, float(form != "direct"))
    if form == "mixed":
        keep[:, ::2] = 0
    spread = torch.exp2(torch.rand(heads, modes, generator=generator))
    return Scales(torch.exp2(power), shift * keep, keep, torch.tensor(2.0**-6), torch.full((heads,), 2.0**-5), spread)


def layer(seed: int, form: Form, bits: int = 8, power_of_two: bool = True):
    """What a kernel step takes: W, ratio, DAC steps, keep, ranges, and input codes (3, 17, 3)."""
    config = QuantConfig(form=form, kernel_bits=bits, state_dac_bits=bits, adc_bits=bits, power_of_two=power_of_two)
    scales = random_scales(seed, form)
    w, ratio = quantize_kernel(real_kernel(*random_ssm(seed), scales.keep), scales, config)
    ranges = StepRanges.of(config, int(scales.shift.max()))
    generator = torch.Generator().manual_seed(seed)
    u = torch.randint(-128, 128, (3, 17, 3), generator=generator).float()
    return w, ratio, scales.dac_step, scales.keep, ranges, u

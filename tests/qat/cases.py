"""Random SSMs and converter steps for the tests of ``ssmc.qat``."""

from __future__ import annotations

import torch

from ssmc.qat.config import Form
from ssmc.qat.kernel import Scales, discretise


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

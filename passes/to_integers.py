"""The passes that every target begins with: from the imported graph to one integer operation per quantizer."""

from __future__ import annotations

from ssmc.passes.canonicalize_quantizers import CanonicalizeQuantizers
from ssmc.passes.fold_batch_norm import FoldBatchNorm
from ssmc.passes.fold_constants import FoldConstants
from ssmc.passes.fold_quantization import FoldQuantization
from ssmc.passes.fuse_kernel import FuseKernel
from ssmc.passes.join_scales import JoinScales
from ssmc.passes.prune_structure import PruneStructure
from ssmc.passes.raise_recurrences import RaiseRecurrences
from ssmc.pipeline import Pass


def to_integers(output_lag: int | None = None, *, one_scale: bool = False) -> tuple[Pass, ...]:
    """The tuple, in order.

    Args:
        output_lag: of kernels whose output reads the new state, see `FuseKernel`.
        one_scale: the target needs one scale per column of a kernel (`JoinScales`).
    """
    return (
        CanonicalizeQuantizers(),
        FoldConstants(),
        FoldBatchNorm(),
        RaiseRecurrences(),
        FoldQuantization(),
        PruneStructure(),
        *((JoinScales(),) if one_scale else ()),
        FuseKernel(output_lag),
    )

"""Where a pipeline takes the passes that its target does not list: behind the one that folds, found by its level."""

from __future__ import annotations

from ssmc.passes.allocate_adc_bits import AllocateAdcBits
from ssmc.passes.stabilize_poles import Poles, StabilizePoles
from ssmc.pipeline import Level, Pass, PipelineResult, missing_level

Passes = tuple[Pass, ...]


def split_at_folded(passes: Passes, need: str) -> tuple[Passes, Passes]:
    """The passes up to the one that first leaves the graph at level *folded*, and the others.

    Args:
        passes: of a target.
        need: what is to stand between them, for the message.

    Raises:
        UsageError: SSMC-P02 where no pass does.
    """
    at = next((index for index, step in enumerate(passes) if step.level is Level.FOLDED), None)
    if at is None:
        raise missing_level(Level.FOLDED, need)
    return passes[: at + 1], passes[at + 1 :]


def checks(poles: Poles, target_sqnr: float | None = None) -> Passes:
    """What comes first on the folded graph: the check of the poles, and the converter bits that depend on it."""
    bits = () if target_sqnr is None else (AllocateAdcBits(target_sqnr),)
    return (StabilizePoles(poles), *bits)


def with_checks(passes: Passes, poles: Poles, target_sqnr: float | None = None) -> Passes:
    """The pipeline with its `checks`."""
    ahead, rest = split_at_folded(passes, "the check of the poles")
    return (*ahead, *checks(poles, target_sqnr), *rest)


def require_codes(result: PipelineResult) -> PipelineResult:
    """The result of a pipeline whose graph is read as a program.

    Raises:
        UsageError: SSMC-P02 where its graph does not compute on codes.
    """
    if not result.level.reaches(Level.FOLDED):
        raise missing_level(Level.FOLDED, "the program")
    return result

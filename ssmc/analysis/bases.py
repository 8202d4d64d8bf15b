"""What a program is compared with in the counting of QS4D, and whether all states of its file count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ssmc.analysis.qs4d_metrics import FP32, Headline, Qs4dModel, qs4d_figures, qs4d_model
from ssmc.ir.program import Program


def bases(program: Program, twin: Qs4dModel, states: Sequence[int] | None = None) -> dict[str, Headline]:
    """The QS4D counting of a program in three bases, by name.

    - "live": as `headline`; states and channels that rest are gone.
    - "literal": the formula as published, for which every state of the file counts (`literal`).
    - "equal states": as "live", but against a float twin at full rate that has as many states as the file.

    ``states``: real states of every kernel of the file, over all channels; None: those its arrays have places for,
    which lack what pruning took from all channels of a kernel.
    """
    model = qs4d_model(program)
    whole = literal(model, twin, states or [layer.channels * layer.states for layer in model.layers])
    live, equal = qs4d_figures(model), qs4d_figures(whole.at(FP32))
    fp32 = qs4d_figures(twin)
    return {
        "live": Headline(live, fp32),
        "literal": Headline(qs4d_figures(whole), fp32),
        "equal states": Headline(live, equal),
    }


def literal(model: Qs4dModel, twin: Qs4dModel, states: Sequence[int]) -> Qs4dModel:
    """``model`` with all the channels of ``twin`` and all ``states`` of every kernel (over all channels)."""
    layers = [
        replace(layer, channels=h, states=-(-count // h), pruned=-count % h, pruned_channels=0)
        for layer, h, count in zip(model.layers, (of.channels for of in twin.layers), states, strict=True)
    ]
    return replace(model, layers=tuple(layers))

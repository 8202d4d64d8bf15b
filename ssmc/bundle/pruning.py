"""Which modes and channels a budget of accuracy allows to cut: ordered by predicted damage, verified on labelled data.

The damage predicted for a cut is its share of the output energy of its kernel (`ssmc.analysis.energy`). The list in
rising order of damage is bisected for the longest prefix whose program, run in integers on the data, loses no more
than the budget. Bisection takes accuracy to fall along the list; where it does not, the prefix found still holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import onnx_ir as ir

from ssmc.analysis.energy import NONE, Energies, energies
from ssmc.bundle.stages import require_codes
from ssmc.data import Samples
from ssmc.errors import UsageError, VerificationError
from ssmc.ir.executor import Executor, check_input, kernel_inputs
from ssmc.ir.operations import StateSpace
from ssmc.ir.program import Program
from ssmc.ir.read_program import read_program
from ssmc.ir.serialize import Json
from ssmc.native.fast import FAST_FROM_STEPS, fast_executor
from ssmc.passes.prune_budget import Cut, cut_program
from ssmc.pipeline import Pass, run_pipeline

OBSERVED = 32
BATCH = 128
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Budget:
    """What pruning may cost.

    Attributes:
        points: percentage points of accuracy.
        samples: labelled sequences that it is measured on.
    """

    points: float
    samples: Samples

    def __post_init__(self) -> None:
        if self.samples.label is None:
            raise UsageError("SSMC-U15", "the data to prune with have no labels", "add label (n,) to the file")


@dataclass(frozen=True)
class Pruning:
    """What was cut.

    Attributes:
        cuts: in the order of predicted damage.
        modes, channels: how many there were.
        before, after: correct sequences without and with the cuts, of ``of``.
        points: the budget.
        damage: largest share of a kernel's output energy that one cut takes.
    """

    cuts: tuple[Cut, ...]
    modes: int
    channels: int
    before: int
    after: int
    of: int
    points: float
    damage: float

    def require_kept(self, program: Program, budget: Budget) -> None:
        """Run the compiled program on the data.

        Raises:
            VerificationError: SSMC-V04 where it is not as good as the search found.
        """
        hits = correct(program, budget.samples)
        if hits != self.after:
            fact = f"{hits} of {self.of} sequences are right, the search found {self.after}"
            raise VerificationError("SSMC-V04", fact, "report this with the model and the data", "prune-budget")

    def trace(self) -> list[Json]:
        """Every cut, in order."""
        return [asdict(cut) for cut in self.cuts]

    def to_json(self) -> Json:
        """Plain numbers; accuracies as shares."""
        cut = sum(cut.output is not None for cut in self.cuts)
        return {
            "accuracy_after": self.after / self.of,
            "accuracy_before": self.before / self.of,
            "budget_points": self.points,
            "channels": self.channels,
            "channels_cut": cut,
            "largest_energy_share": self.damage,
            "modes": self.modes,
            "modes_cut": len(self.cuts) - cut,
            "sequences": self.of,
        }


def find_cuts(
    graph: ir.Model, passes: tuple[Pass, ...], budget: Budget, progress: Progress = lambda name: None
) -> Pruning:
    """Search on the program that ``passes`` make of the imported ``graph``, which stays as it is.

    Args:
        graph: imported.
        passes: those that `PruneBudget` will follow: they leave the graph at level *folded*.
        budget: what pruning may cost.
        progress: told what the search is at.

    Raises:
        UsageError: SSMC-P02 where the passes do not reach that level.
    """
    program = read_program(require_codes(run_pipeline(graph.clone(), passes, oracle=False)).model)
    progress("prune: energies")
    ranked = rank(program, budget.samples)
    before = correct(program, budget.samples)
    allowed = before - int(np.floor(budget.points / 100 * len(budget.samples) + 1e-9))
    count, after = 0, before
    low, high = 0, len(ranked)
    while low < high:
        middle = (low + high + 1) // 2
        progress(f"prune: {middle} of {len(ranked)} cuts")
        hits = correct(cut_program(program, [cut for _, cut in ranked[:middle]]), budget.samples)
        if hits >= allowed:
            low = count = middle
            after = hits
        else:
            high = middle - 1
    cuts = tuple(cut for _, cut in ranked[:count])
    channels = sum(cut.output is not None for _, cut in ranked)
    damage = max((share for share, _ in ranked[:count]), default=0.0)
    of = len(budget.samples)
    return Pruning(cuts, len(ranked) - channels, channels, before, after, of, budget.points, damage)


def rank(program: Program, samples: Samples) -> list[tuple[float, Cut]]:
    """Every mode and channel with its predicted damage, the least first."""
    few = samples.spread(OBSERVED)
    x, lengths = few.batch(np.arange(len(few)))
    fed = kernel_inputs(program, (check_input(program, x), lengths))
    found: list[tuple[float, Cut]] = []
    for op in program.ops:
        if isinstance(op, StateSpace):
            found += _rank_kernel(op, energies(op, fed[op.name]))
    return sorted(found, key=lambda pair: pair[0])


def _rank_kernel(op: StateSpace, energy: Energies) -> list[tuple[float, Cut]]:
    total = max(float(energy.channels.sum()), np.finfo(float).tiny)
    found = []
    for group, labels in enumerate(energy.mode):
        for mode in np.unique(labels[labels != NONE]).tolist():
            states = tuple(np.flatnonzero(labels == mode).tolist())
            found.append((float(energy.modes[group, mode]) / total, Cut(op.name, group, states)))
        for output, power in enumerate(energy.channels[group].tolist()):
            found.append((power / total, Cut(op.name, group, output=output)))
    return found


def correct(program: Program, samples: Samples) -> int:
    """Sequences whose largest output, that of the last step where there are many, is their class."""
    assert samples.label is not None
    fast = int(samples.lengths.sum()) >= FAST_FROM_STEPS
    executor = fast_executor(program) if fast else Executor(program)
    hits = 0
    for indices in samples.batches(BATCH):
        x, lengths = samples.batch(indices)
        y = executor.run(x, lengths)
        last = y if y.ndim == 2 else y[np.arange(len(y)), np.maximum(lengths - 1, 0)]
        hits += int((last.argmax(-1) == samples.label[indices]).sum())
    return hits

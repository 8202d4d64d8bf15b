"""Training of a classifier in phases, with checkpoints: stop it anywhere, start it again, get the same numbers."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ssmc.qat.data import Batch, Data, require_batch
from ssmc.qat.model import require_calibrated
from ssmc.qat.objective import Loss, Metric, accuracy, steps_of
from ssmc.qat.observer import EndOfPhase, EpochFigures, Observer

POLES = ("log_dt", "log_A_real", "A_imag", "log2_step")


@dataclass(frozen=True)
class Phase:
    """One leg of the training: AdamW, a one-cycle schedule up to ``lr`` (``ssm_lr`` for the poles, no weight decay).

    ``coarse`` c > 1 trains on means of c time steps, with the model's time step c times as long: the same continuous
    system, seen at a c-th of the cost. ``distil`` is the share of the loss that compares with the teacher's class
    probabilities instead of the label (arXiv 1503.02531, at temperature 1). ``mixed``: every sequence is a mixture of
    two in random shares, which has no label (arXiv 2106.05237: only the teacher can judge it; ``distil`` is 1 then).

    ``keep``: the epoch whose model stays. "best": the highest held-out accuracy, then the lowest loss; with ``distil``
    the lowest loss alone. "last": the last one, at whose end the rate is zero; by a few hundred held-out sequences an
    epoch at a high rate is often ahead by luck (docs/design/0010-the-last-epoch.md).
    """

    name: str
    epochs: int
    lr: float
    ssm_lr: float
    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    coarse: int = 1
    distil: float = 0.0
    mixed: bool = False
    keep: Literal["best", "last"] = "best"

    def __post_init__(self) -> None:
        if self.mixed and self.distil != 1:
            raise ValueError("a mixture has no label: mixed needs distil = 1")


class DivergedError(RuntimeError):
    """The loss of a training is no number any more."""


Schedule = Callable[[torch.optim.Optimizer, Phase, int], torch.optim.lr_scheduler.LRScheduler]


def one_cycle(optimizer: torch.optim.Optimizer, phase: Phase, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Up to the rates of the phase and down to zero, over all ``steps`` batches of the phase (arXiv 1708.07120)."""
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, [phase.lr, phase.ssm_lr], steps, pct_start=0.15)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    metric: Metric = accuracy,
    loss: Loss = nn.functional.cross_entropy,
) -> tuple[float, float]:
    """(metric, loss) on all batches together; (accuracy, mean cross entropy in nats) unless told otherwise.

    Raises:
        ValueError: a batch that is refused (`require_batch`), or none.
    """
    model.eval()
    outputs, targets = [], []
    for batch in batches:
        x, lengths, target = _beside(model, batch)
        found, wanted = steps_of(model(x, lengths), target, lengths, _period(model))
        outputs.append(found)
        targets.append(wanted)
    if not outputs:
        raise ValueError("there is no batch to evaluate on")
    every, wanted = torch.cat(outputs), torch.cat(targets)
    return metric(every, wanted), float(loss(every, wanted))


def _period(model: nn.Module) -> int:
    """Steps of the input per step of the output."""
    period: int = getattr(getattr(model, "config", None), "period", 1)
    return period


class Trainer:
    """Trains ``model`` phase by phase, on the device where it is.

    A ``teacher`` must be on the device of the model. ``observers`` are told about every batch and every epoch, and may
    end a phase (`ssmc.qat.observer`); without them a training is silent. ``state`` is what the checkpoint holds, one
    entry for each phase.

    ``loss`` (`ssmc.qat.objective`) takes the place of cross entropy with the phase's label smoothing; ``metric`` is
    measured on held-out data and, without a teacher, chooses the epoch. ``schedule`` makes the learning-rate schedule
    of a phase, stepped after every batch.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        checkpoint: Path,
        seed: int = 0,
        resume: bool = False,
        teacher: nn.Module | None = None,
        observers: Sequence[Observer] = (),
        loss: Loss | None = None,
        metric: Metric = accuracy,
        schedule: Schedule = one_cycle,
    ) -> None:
        self.model, self.data, self.seed, self.teacher = model, data, seed, teacher
        self.checkpoint, self.observers = checkpoint, observers
        self.loss, self.metric, self.schedule = loss, metric, schedule
        resume = resume and checkpoint.exists()
        self.state: dict[str, Any] = torch.load(checkpoint, "cpu", weights_only=False) if resume else {}

    def train(self, phase: Phase) -> None:
        """Train one phase from where the checkpoint left it; leaves the kept epoch (`Phase.keep`) in ``model``.

        Where the checkpoint has a phase of this name with other epochs or rates, the phase begins anew.

        Raises:
            ValueError: a quantized model that was not calibrated, a phase that needs a teacher without one, or that
                distils with a loss of one's own; a batch that is refused (`require_batch`).
            DivergedError: the loss is not finite; the checkpoint holds the epoch before.
        """
        require_calibrated(self.model)
        if (phase.distil or phase.mixed) and self.teacher is None:
            raise ValueError(f"phase '{phase.name}' distils: give the trainer a teacher, or set distil = 0")
        if phase.distil and self.loss is not None:
            raise ValueError("distil compares class probabilities: set distil = 0 with a loss of your own")
        new = {"phase": phase, "epoch": 0, "best": None, "key": (-math.inf, -math.inf), "seconds": 0.0}
        at = self.state.setdefault(phase.name, new)
        if at.get("phase", phase) != phase:
            at = self.state[phase.name] = new
        if phase.epochs == 0:
            return
        if at["epoch"] < phase.epochs and not at.get("ended"):
            _stretch(self.model, phase.coarse)
            self._go_on(phase, at)
            _stretch(self.model, 1 / phase.coarse)
        self.model.load_state_dict(at["best"])
        _stretch(self.model, 1 / phase.coarse)

    def _go_on(self, phase: Phase, at: dict[str, Any]) -> None:
        steps = len(self.data.training(np.random.default_rng(self.seed)))
        optimizer = _optimiser(self.model, phase)
        schedule = self.schedule(optimizer, phase, phase.epochs * steps)
        if at["epoch"]:
            self.model.load_state_dict(at["model"])
            optimizer.load_state_dict(at["optimizer"])
            schedule.load_state_dict(at["schedule"])
        for epoch in range(at["epoch"], phase.epochs):
            start = time.monotonic()
            self._epoch(phase, epoch, optimizer, schedule)
            held_out = (_coarser(b, phase.coarse) for b in self.data.validation())
            score, loss = evaluate(self.model, held_out, self.metric, self.loss or nn.functional.cross_entropy)
            key = (0.0 if phase.distil else score, -loss)
            if phase.keep == "last" or key >= tuple(at["key"]):
                at["key"], at["best"] = key, copy.deepcopy(self.model.state_dict())
            at.update(
                epoch=epoch + 1,
                model=self.model.state_dict(),
                optimizer=optimizer.state_dict(),
                schedule=schedule.state_dict(),
                seconds=at["seconds"] + time.monotonic() - start,
            )
            self._save()
            if self._told(EpochFigures(phase.name, epoch + 1, phase.epochs, score, loss, at["seconds"])):
                at["ended"] = True
                self._save()
                return

    def _told(self, figures: EpochFigures) -> bool:
        """Tell every observer; whether one of them ends the phase."""
        ended = False
        for observer in self.observers:
            try:
                observer.on_epoch(figures)
            except EndOfPhase:
                ended = True
        return ended

    def _epoch(self, phase: Phase, epoch: int, optimizer: torch.optim.Optimizer, schedule: Any) -> None:
        """One pass over the data; random numbers depend on (seed, phase, epoch) alone.

        Raises:
            DivergedError: the loss or its gradient is not finite: the weights are those before that batch.
        """
        key = [self.seed, *phase.name.encode(), epoch]
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
        self.model.train()
        batches = self.data.training(np.random.default_rng(key))
        for done, batch in enumerate(batches, start=1):
            loss = self._loss(phase, *_coarser(batch, phase.coarse))
            if not torch.isfinite(loss):
                fact = f"the loss is {loss.item()} in epoch {epoch + 1}, batch {done}, of phase '{phase.name}'"
                raise DivergedError(f"{fact}: lower its rates or its noise; the checkpoint holds the epoch before")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            if not torch.isfinite(norm):
                fact = f"the gradient is {norm.item()} in epoch {epoch + 1}, batch {done}, of phase '{phase.name}'"
                raise DivergedError(f"{fact}: lower its rates or its noise; the checkpoint holds the epoch before")
            optimizer.step()
            schedule.step()
            for observer in self.observers:
                observer.on_batch(done, len(batches))

    def _loss(self, phase: Phase, x: Tensor, lengths: Tensor | None, target: Tensor) -> Tensor:
        if phase.mixed:
            x, lengths = mixture(x, lengths)
        x, lengths, target = _beside(self.model, (x, lengths, target))
        logits, label = steps_of(self.model(x, lengths), target, lengths, _period(self.model))
        if self.loss is not None:
            return self.loss(logits, label)
        loss = nn.functional.cross_entropy(logits, label, label_smoothing=phase.label_smoothing)
        if phase.distil and self.teacher is not None:
            with torch.no_grad():
                wanted, _ = steps_of(self.teacher.eval()(x, lengths), target, lengths, _period(self.model))
                wanted = wanted.softmax(1)
            loss = torch.lerp(loss, nn.functional.cross_entropy(logits, wanted), phase.distil)
        return loss

    def _save(self) -> None:
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(self.state, temporary)
        os.replace(temporary, self.checkpoint)


def _optimiser(model: nn.Module, phase: Phase) -> torch.optim.Optimizer:
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    poles = [p for name, p in named if name.rsplit(".", 1)[-1] in POLES]
    others = [p for name, p in named if name.rsplit(".", 1)[-1] not in POLES]
    groups = [{"params": others, "weight_decay": phase.weight_decay}, {"params": poles, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=phase.lr)


def kept_weights(state: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """State dict of the kept epoch of the last phase in a checkpoint; None where ``state`` is not `Trainer.state`."""
    phases = [at for at in state.values() if isinstance(at, dict) and isinstance(at.get("phase"), Phase)]
    done = [at for at in phases if at["best"] is not None]
    if not done:
        return None
    last, kept = done[-1], dict(done[-1]["best"])
    for name in kept:
        if name.rsplit(".", 1)[-1] == "log_dt":
            kept[name] = kept[name] - math.log(last["phase"].coarse)
    return kept


@torch.no_grad()
def _stretch(model: nn.Module, factor: float) -> None:
    """Multiply the time step of every SSM by ``factor``."""
    for name, parameter in model.named_parameters():
        if name.rsplit(".", 1)[-1] == "log_dt":
            parameter.add_(math.log(factor))


def mixture(x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Each sequence (N, T, d) with another one, in random shares; as long as the longer one."""
    other, share = torch.randperm(len(x)), torch.rand(len(x), 1, 1)
    if lengths is None:
        return torch.lerp(x[other], x, share), None
    x = x * (torch.arange(x.shape[1]) < lengths[:, None])[..., None]
    return torch.lerp(x[other], x, share), torch.maximum(lengths, lengths[other])


def _beside(model: nn.Module, batch: Batch) -> Batch:
    """The batch where the model is, once it is accepted."""
    x, lengths, label = batch
    require_batch(x, lengths, label, getattr(getattr(model, "config", None), "d_input", None))
    device = next(model.parameters()).device
    return x.to(device), None if lengths is None else lengths.to(device), label.to(device)


def _coarser(batch: Batch, factor: int) -> Batch:
    if factor == 1:
        return batch
    x, lengths, label = batch
    steps = x.shape[1] // factor * factor
    pooled = x[:, :steps].reshape(x.shape[0], -1, factor, x.shape[2]).mean(2)
    return pooled, None if lengths is None else lengths // factor, label

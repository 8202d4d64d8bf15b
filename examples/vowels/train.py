"""Train a network in the style of S4's example.py, then export, quantize and compile it for every target.

\b
    python -m examples.vowels.train --data JapaneseVowels.npz

Trains on the original layers (complex parameters, FFT), exports them by the adapters, quantizes at 8 bits without
training and prints the accuracy of each program on the test part.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import ssmc
from examples.lib import options
from examples.vowels.network import Network, build
from ssmc.bundle.check import accuracy, evaluate
from ssmc.bundle.options import target_with
from ssmc.data import Samples
from ssmc.export import export_onnx
from ssmc.quantize import quantize

#: the chip has 64 arrays; with one kernel an array the network needs 522
TARGETS: dict[str, dict[str, object]] = {
    "int": {},
    "c": {},
    "aimc": {"hardware": "hermes64", "set": ("array.count=522",)},
}
SLOW = ("log_dt", "log_A_real", "A_imag")  # trained at a tenth of the rate, without decay, as in S4


def load(path: Path, split: int) -> Samples:
    """One part of the data set: sequences (7 to 29, 12), label (n,); ``split`` 0 is for training, 1 for the test."""
    with np.load(path, allow_pickle=False) as data:
        parts = np.split(data["x"], data["offsets"][1:-1])
        chosen = np.flatnonzero(data["split"] == split)
        label = data["label"][chosen].astype(np.int64)
    sequences = [parts[i] for i in chosen]
    return Samples(np.concatenate(sequences), np.cumsum([0, *map(len, sequences)]), label)


def batches(samples: Samples, size: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Every sequence once, in batches of one length, in random order: the layers know no padding."""
    assert samples.label is not None
    chosen = []
    for length in np.unique(samples.lengths):
        items = rng.permutation(np.flatnonzero(samples.lengths == length))
        chosen += np.split(items, range(size, len(items), size))
    for index in rng.permutation(len(chosen)):
        x = np.stack([samples.flat[samples.offsets[i] : samples.offsets[i + 1]] for i in chosen[index]])
        yield torch.from_numpy(x), torch.from_numpy(samples.label[chosen[index]])


def train(model: Network, samples: Samples, epochs: int, seed: int) -> None:
    """AdamW, cosine schedule, as in S4's example.py."""
    rng = np.random.default_rng(seed)
    slow = [p for n, p in model.named_parameters() if n.endswith(SLOW)]
    rest = [p for n, p in model.named_parameters() if not n.endswith(SLOW)]
    groups = [{"params": rest, "lr": 4e-3, "weight_decay": 0.01}, {"params": slow, "lr": 1e-3, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    model.train()
    for epoch in range(epochs):
        loss = torch.zeros(())
        for x, label in batches(samples, 16, rng):
            loss = cross_entropy(model(x), label)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
        click.echo(f"epoch {epoch + 1}: loss of the last batch {loss.item():.4f}")


@torch.no_grad()
def float_accuracy(model: Network, samples: Samples) -> float:
    """Of the network as torch runs it."""
    model.eval()
    found = [(model(x).argmax(1) == y).numpy() for x, y in batches(samples, 64, np.random.default_rng(0))]
    return float(np.concatenate(found).mean())


@click.command(help=__doc__)
@options.data
@options.seed
@options.threads
@click.option("--epochs", default=60, show_default=True, help="Epochs of float training.")
@click.option("--out", "-o", type=click.Path(path_type=Path), default=Path("runs/vowels"), show_default=True)
def main(data: Path, seed: int, epochs: int, out: Path) -> None:
    """Train, or take the checkpoint of the folder; compile and count."""
    torch.manual_seed(seed)
    train_part, test = load(data, 0), load(data, 1)
    model, checkpoint = build(), out / f"float-s{seed}.pt"
    if checkpoint.exists():
        model.load_state_dict(torch.load(checkpoint, weights_only=True))
    else:
        train(model, train_part, epochs, seed)
        out.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), checkpoint)
    click.echo(f"float: {float_accuracy(model, test):.4f} of {len(test)} test sequences")
    export_onnx(model.eval(), torch.zeros(2, 20, train_part.features), out / "float.onnx")
    made = quantize(out / "float.onnx", train_part.spread(64))
    (out / "quantized.onnx").write_bytes(made.model.SerializeToString())
    for target, given in TARGETS.items():
        bundle = ssmc.compile(out / "quantized.onnx", target_with(target, given, ()), steps=test.mean_steps)
        bundle.save(out / target)
        assert test.label is not None
        click.echo(f"{target}, 8 bits: {accuracy(evaluate(bundle, test), test.label):.4f}")


if __name__ == "__main__":
    main()

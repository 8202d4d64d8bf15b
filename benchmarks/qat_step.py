"""A training step with quantized state against one of the float FFT convolution: same model, same batch, one run.

    python benchmarks/qat_step.py

The model is that of examples/smnist (S4D, 2 layers, H = 64, 8 complex modes) on batches of 64 sequences of 784 steps.
Rounds of all variants are interleaved; the ratio is that of the medians. Bar: at most 3.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import nn

from ssmc.qat import Mode, ModelConfig, QuantConfig, S4DClassifier, calibrate, set_mode

RESULT = Path(__file__).parent / "results" / "qat_step.json"
BAR = 3.0


def step(model: nn.Module, x: torch.Tensor, label: torch.Tensor) -> Callable[[], None]:
    """Forward, backward and update of one batch."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def run() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), label).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return run


def variants(x: torch.Tensor, label: torch.Tensor) -> dict[str, Callable[[], None]]:
    """The same initial weights in every variant."""
    found = {}
    for name, mode, form in (
        ("float, FFT convolution", Mode.FLOAT, "delta"),
        ("float, compiled recurrence", Mode.RECURRENT, "delta"),
        ("quantized, delta", Mode.QUANTIZED, "delta"),
        ("quantized, direct", Mode.QUANTIZED, "direct"),
        ("quantized, mixed", Mode.QUANTIZED, "mixed"),
    ):
        torch.manual_seed(0)
        quant = QuantConfig(form=form, power_of_two=False)  # type: ignore[arg-type]
        config = ModelConfig(1, 10, d_model=64, d_state=16, layers=2, dropout=0.1, input_gain=2.0**-7, quant=quant)
        model = S4DClassifier(config)
        if mode is Mode.QUANTIZED:
            calibrate(model, [x[:4]])
        set_mode(model, mode)
        found[name] = step(model.train(), x, label)
    return found


@click.command(help=__doc__)
@click.option("--batch", default=64, show_default=True)
@click.option("--length", default=784, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(batch: int, length: int, rounds: int, threads: int) -> None:
    """Print medians and ratios; write results/qat_step.json."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-128, 128, (batch, length, 1), generator=generator).float()
    runs = variants(x, torch.randint(0, 10, (batch,), generator=generator))
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()  # compiles
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    floor = medians["float, FFT convolution"]
    ratios = {name: round(median / floor, 3) for name, median in medians.items()}
    for name, median in medians.items():
        click.echo(f"{name:28} {1e3 * median:8.0f} ms   {ratios[name]:.2f}x")
    worst = max(ratio for name, ratio in ratios.items() if name.startswith("quantized"))
    click.echo(f"slowest quantized step: {worst:.2f}x the FFT step (bar: at most {BAR:g})")
    shape = {"batch": batch, "length": length, "rounds": rounds, "threads": threads}
    document = {**shape, "milliseconds": {k: round(1e3 * v, 1) for k, v in medians.items()}, "ratio_to_fft": ratios}
    RESULT.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()

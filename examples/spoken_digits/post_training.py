"""Quantize the float model without training, in several ways; accuracy of the compiled programs.

    python examples/spoken_digits/post_training.py --data fsdd.npz

Calibrated on 64 recordings spread over the training part; writes ``post_training.json``.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click
import onnx
from recordings import load_splits, write_npz

import ssmc
from ssmc.data import Samples, load_samples
from ssmc.quantize import QuantizeConfig, quantize

HERE = Path(__file__).parent
KERNEL = ("kernel_bits", "state_bits", "adc_bits", "weight_bits", "input_bits")
ROWS: tuple[tuple[int, int, dict[str, Any]], ...] = (
    (8, 8, {}),
    (8, 8, {"form": "delta"}),
    (8, 8, {"form": "direct"}),
    (6, 6, {}),
    (6, 6, {"form": "delta"}),
    (6, 6, {"form": "direct"}),
    (4, 6, {}),
    (8, 8, {"power_of_two": False}),
    (6, 6, {"power_of_two": False}),
    (4, 6, {"power_of_two": False}),
    (4, 4, {}),
    (4, 4, {"power_of_two": False}),
    (8, 8, {"kernel_bits": 4}),
    (8, 8, {"kernel_bits": 4, "refit": False}),
    (8, 8, {"granularity": "channel"}),
    (8, 8, {"granularity": "tensor"}),
)


def accuracy(model: ssmc.Bundle, samples: Samples) -> float:
    """Share of right answers."""
    right = 0
    assert samples.label is not None
    for chunk in samples.batches(100):
        x, lengths = samples.batch(chunk)
        right += int((model.run(x, lengths).argmax(1) == samples.label[chunk]).sum())
    return right / len(samples)


@click.command(help=__doc__)
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True, help="fsdd.npz")
@click.option("--calibration", default=64, show_default=True, help="recordings")
@click.option("--out", type=click.Path(path_type=Path), default=HERE / "post_training.json")
def main(data: Path, calibration: int, out: Path) -> None:
    """Quantize, compile, count."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        parts = {}
        for name, split in load_splits(data).items():
            write_npz(split, Path(folder) / f"{name}.npz")
            parts[name] = load_samples(Path(folder) / f"{name}.npz")
        seen = parts["train"].spread(calibration)
        for bits, activations, options in ROWS:
            widths = {**dict.fromkeys(KERNEL, bits), "activation_bits": activations}
            config = QuantizeConfig(**(widths | options))
            made = quantize(HERE / "model_float.onnx", seen, config)
            onnx.save(made.model, Path(folder) / "model.onnx")
            compiled = ssmc.compile(Path(folder) / "model.onnx", oracle=False)
            row = {"bits": bits, "activation_bits": activations, **options}
            row["delta_modes"] = round(sum(k.delta for k in made.kernels) / sum(k.modes for k in made.kernels), 3)
            row |= {name: round(accuracy(compiled, parts[name]), 4) for name in ("val", "test")}
            rows.append(row)
            click.echo(json.dumps(row))
            out.write_text(json.dumps({"calibration": calibration, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Quantize the float model without training, in several ways; accuracy of the compiled programs.

\b
    python -m examples.spoken_digits.post_training --data fsdd.npz

Calibrated on 64 recordings spread over the training part; writes post_training.json.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click
import onnx

import ssmc
from examples.lib import options
from examples.spoken_digits.recordings import load_splits, samples
from ssmc.bundle.check import accuracy, evaluate
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


@click.command(help=__doc__)
@options.data
@click.option("--calibration", default=64, show_default=True, help="Number of recordings to calibrate on.")
@click.option("--out", type=click.Path(path_type=Path), default=HERE / "post_training.json")
def main(data: Path, calibration: int, out: Path) -> None:
    """Quantize, compile, count."""
    rows = []
    parts = {name: samples(split) for name, split in load_splits(data).items()}
    seen = parts["train"].spread(calibration)
    with tempfile.TemporaryDirectory() as folder:
        for bits, activations, others in ROWS:
            widths = {**dict.fromkeys(KERNEL, bits), "activation_bits": activations}
            config = QuantizeConfig(**(widths | others))
            made = quantize(HERE / "model_float.onnx", seen, config)
            onnx.save(made.model, Path(folder) / "model.onnx")
            compiled = ssmc.compile(Path(folder) / "model.onnx", oracle=False)
            row = {"bits": bits, "activation_bits": activations, **others}
            row["delta_modes"] = round(sum(k.delta for k in made.kernels) / sum(k.modes for k in made.kernels), 3)
            for name in ("val", "test"):
                row[name] = round(accuracy(evaluate(compiled, parts[name]), parts[name].label), 4)
            rows.append(row)
            click.echo(json.dumps(row))
            out.write_text(json.dumps({"calibration": calibration, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

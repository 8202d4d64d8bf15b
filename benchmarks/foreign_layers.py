"""Layers as other repositories have them: exported, quantized to 8 bits, compiled; the table of docs/models.md.

    pip install einops
    python benchmarks/foreign_layers.py --repositories DIR [--only NAME] [-o benchmarks/results/foreign_layers.json]

DIR holds clones: state-spaces/s4, i404788/s5-pytorch, Gothos/LRU-pytorch, adrian-valente/lru_experiments,
hrshtv/pytorch-lmu and TariqAHassan/S4Torch; their commits are written down. Each network is an encoder (3 to 8), two
layers with residual and LayerNorm (one of LMU and S4Torch), the mean over time and a decoder (8 to 5), with initial
weights. The float error is that of the worst layer (`Swap.error`). The error at 8 bits is the RMS difference of the
compiled integer program's outputs from the float ones over the RMS of these, on other sequences than those of
calibration.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import ssmc
from ssmc.data import load_samples
from ssmc.export import export_onnx
from ssmc.quantize import QuantizeConfig, quantize
from ssmc.verify import run_onnx

ROOT = Path(__file__).resolve().parents[1]
FEATURES, WIDTH, CLASSES, STEPS, SEQUENCES = 3, 8, 5, 64, 64


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        name: of the layer and its options.
        folder: of the clone.
        make: the layer, (batch, time, width) or (batch, width, time) in and out.
        channels_first: which of the two.
        layers: in the network.
    """

    name: str
    folder: str
    make: Callable[[], nn.Module]
    channels_first: bool = False
    layers: int = 2


class Network(nn.Module):
    """Encoder, layers with residual and LayerNorm, mean over time, decoder."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        self.turned = row.channels_first
        self.encoder, self.decoder = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.layers = nn.ModuleList([row.make() for _ in range(row.layers)])
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in self.layers])

    def forward(self, x: Tensor) -> Tensor:
        """Logits of (batch, time, features)."""
        x = self.encoder(x)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            y = layer(x.transpose(1, 2) if self.turned else x)
            y = y[0] if isinstance(y, tuple) else y
            x = norm(x + (y.transpose(1, 2) if self.turned else y))
        return self.decoder(x.mean(1))  # type: ignore[no-any-return]


def stand_in(name: str, **content: Any) -> None:
    """A module of a package that the layers need one name of."""
    parent, _, _ = name.rpartition(".")
    if parent and parent not in sys.modules:
        stand_in(parent)
    sys.modules[name] = ModuleType(name)
    vars(sys.modules[name]).update(content)


def rows(folder: Path) -> list[Row]:
    """The layers of the clones in ``folder``."""
    stand_in("pytorch_lightning.utilities", rank_zero_only=lambda function: function)
    stand_in("src.models.nn", DropoutNd=nn.Dropout)
    places = {"s4": "models/s4", "lru_experiments": ".", "pytorch-lmu": "src"}
    for name in ("s4", "s5-pytorch", "LRU-pytorch", "lru_experiments", "pytorch-lmu", "S4Torch"):
        sys.path.append(str(folder / name / places.get(name, ".")))
    import model
    from lmu import LMUFFT
    from LRU_pytorch import LRU
    from s4 import S4Block
    from s4d import S4D
    from s4torch.layer import S4Layer
    from s5 import S5

    def diagonal(name: str, turned: bool = True, **options: Any) -> Row:
        options = {"mode": "diag", "d_state": 16, "transposed": turned, **options}
        return Row(name, "s4", partial(S4Block, WIDTH, **options), turned)

    return [
        Row("S4D", "s4", partial(S4D, WIDTH, d_state=16), True),
        diagonal("S4 diagonal, zero-order hold", disc="zoh"),
        diagonal("S4 diagonal, bilinear, (B, L, H)", False, disc="bilinear"),
        diagonal("S4 diagonal, `n_ssm` 2, softplus step", n_ssm=2, dt_transform="softplus"),
        diagonal("S4 diagonal, raw real part", real_transform="none"),
        diagonal("S4 diagonal, two kernels a channel", channels=2),
        diagonal("S4 real (`is_real`)", d_state=8, is_real=True),
        diagonal("S4 DPLR, `fout`, 8 states a channel", mode="dplr", init="fout", d_state=8),
        diagonal("S4 DPLR, HiPPO-LegS, 16 states a channel", mode="dplr", init="legs"),
        Row("S5, one block", "s5-pytorch", partial(S5, WIDTH, 8)),
        Row("S5, two blocks", "s5-pytorch", partial(S5, WIDTH, 8, block_count=2)),
        Row("LRU", "LRU-pytorch", partial(LRU, WIDTH, WIDTH, 6)),
        Row("LRU", "lru_experiments", partial(model.LRU, WIDTH, 6, WIDTH)),
        Row("LMU", "pytorch-lmu", partial(LMUFFT, WIDTH, WIDTH, 6, STEPS, 16), layers=1),
        Row("S4Torch", "S4Torch", partial(S4Layer, WIDTH, 6, STEPS), layers=1),
    ]


def measure(row: Row, seed: int, out: Path) -> dict[str, Any]:
    """States a layer, worst float error of a layer, bases and error of the compiled program at 8 bits."""
    torch.manual_seed(seed)
    swaps = export_onnx(Network(row).eval(), torch.zeros(2, STEPS, FEATURES), out / "model.onnx")
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2 * SEQUENCES, STEPS, FEATURES)).astype(np.float32)
    np.savez(out / "calibration.npz", x=x[:SEQUENCES])
    made = quantize(out / "model.onnx", load_samples(out / "calibration.npz"), QuantizeConfig())
    onnx.save(made.model, out / "quantized.onnx")
    got = ssmc.compile(out / "quantized.onnx", target="int", oracle=False).run(x[SEQUENCES:])
    (want,) = run_onnx(onnx.load(out / "model.onnx"), {"x": x[SEQUENCES:]})
    return {
        "states": max(swap.states for swap in swaps),
        "float_error": float(max(swap.error for swap in swaps)),
        "conventions": sorted({swap.convention for swap in swaps}),
        "bases": sorted({kernel.basis for kernel in made.kernels}),
        "error_8_bits": float(np.linalg.norm(got - want) / np.linalg.norm(want)),
    }


def commit(folder: Path) -> str:
    """Short name of a clone's commit."""
    command = ["git", "-C", str(folder), "rev-parse", "--short=7", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Print a line each and write all of them."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    ask.add_argument("--repositories", type=Path, required=True)
    ask.add_argument("--only", default="")
    ask.add_argument("--seeds", type=int, default=3)
    ask.add_argument("-o", type=Path, default=ROOT / "benchmarks" / "results" / "foreign_layers.json")
    given = ask.parse_args()
    found = []
    for row in rows(given.repositories):
        if given.only not in row.name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            runs = [measure(row, seed, Path(folder)) for seed in range(given.seeds)]
        errors = [run.pop("error_8_bits") for run in runs]
        worst = max(run["float_error"] for run in runs)
        entry = {"layer": row.name, "repository": row.folder, "commit": commit(given.repositories / row.folder)}
        entry |= runs[0] | {"float_error": float(f"{worst:.0e}"), "errors_8_bits": [round(e, 4) for e in errors]}
        found.append(entry)
        print(f"{row.name:42s} {entry['states']:4d} {worst:.0e} {errors} {entry['bases']}", flush=True)
    if not given.only:
        given.o.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()

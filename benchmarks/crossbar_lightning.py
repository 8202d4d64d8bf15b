"""aihwkit-lightning on the work of crossbar_speed.py; run by it, in an environment of its own; prints a line of JSON.

Its analog linear layer with 8-bit inputs and an 8-bit converter. It draws output noise in training mode only, so the
noisy rows run there (one draw per output, a fixed standard deviation: not the same physics).
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch

warnings.simplefilter("ignore")
from aihwkit_lightning.nn import AnalogLinear  # noqa: E402  (needs the filter)
from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig  # noqa: E402

SIZE, BATCHES, ROUNDS, SECONDS = 129, (1, 64, 1024), 9, 0.12


def layer(noise: float) -> Any:
    """8-bit inputs, 8-bit outputs, and output noise where asked for."""
    config = TorchInferenceRPUConfig()
    config.forward.inp_res, config.forward.out_res, config.forward.out_bound = 2**8 - 2, 2**8 - 2, 10.0
    config.forward.out_noise = noise
    config.pre_post.input_range.enable = True
    config.pre_post.input_range.init_from_data, config.pre_post.input_range.learn_input_range = 0, False
    made = AnalogLinear(SIZE, SIZE, bias=False, rpu_config=config)
    return made.train() if noise else made.eval()


def rate(work: Callable[[], object], products: int) -> float:
    """Products per second of one block of calls."""
    work()
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        work()
        calls += 1
    return calls * products / (time.perf_counter() - start)


def main() -> None:
    """Best of all rounds, as JSON."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found: dict[str, float] = {}
    with torch.no_grad():
        for _ in range(ROUNDS):
            for name, made in (("noiseless", layer(0.0)), ("output noise", layer(0.04))):
                for n in BATCHES:
                    x = torch.randn(n, SIZE)
                    key = f"{name} {n}"
                    found[key] = max(found.get(key, 0.0), rate(lambda made=made, x=x: made(x), n))
    print(json.dumps({"per_second": found, "version": version("aihwkit-lightning"), "torch": torch.__version__}))


if __name__ == "__main__":
    main()

"""``ssmc reduce``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssmc.cli.progress import stages
from ssmc.cli.say import say, typed
from ssmc.cli.states import STATE_HELP, named_states
from ssmc.cli.types import COUNT, NewFile, Writing, budget_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssmc.budgets import Budgets
    from ssmc.quantize.reduction import Reduced


@click.command(cls=Writing, short_help="Give a float ONNX model fewer states.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Calibration sequences (.npz).")
@click.option("--states", "count", type=click.IntRange(1, 4096), help="Real states of every channel.")
@click.option(
    "--error",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Fewest states for each channel that leave at most this share of its rms output.",
)
@click.option(
    "--samples",
    type=COUNT,
    default=64,
    show_default=True,
    help="Number of calibration sequences to use, evenly spaced.",
)
@click.option("--output", "-o", type=NewFile(), default="reduced.onnx", show_default=True, help="File to write.")
@click.option("--state", "state_pairs", multiple=True, metavar="IN:OUT", help=STATE_HELP)
@budget_option
def reduce(
    model: Path,
    data: Path,
    count: int | None,
    error: float | None,
    samples: int,
    output: Path,
    state_pairs: tuple[str, ...],
    budgets: Budgets,
) -> None:
    """Fit the recurrences of a float ONNX MODEL with fewer states and write a float ONNX file.

    Per channel, the poles, residues and D of a smaller system are fitted to the output that the channel has on its own
    input in the calibration data. Nothing is trained; 'ssmc quantize' takes the result.

    \b
    Example:
      ssmc reduce model_float.onnx --data calib.npz --states 4 -o small.onnx
      ssmc reduce model_float.onnx --data calib.npz --error 0.1
    """
    from ssmc.bundle.files import write_file
    from ssmc.data import load_samples
    from ssmc.importers.onnx_file import file_parts
    from ssmc.quantize.reduction import Goal
    from ssmc.quantize.reduction import reduce as run

    goal = Goal(count, error)
    with stages("reducing") as stage:
        states = named_states(state_pairs)
        sequences = load_samples(data, budgets, file_parts(model, budgets, states)).spread(samples)
        done = run(model, sequences, goal, progress=stage, budgets=budgets, states=states)
    write_file(output, done.model.SerializeToString(deterministic=True))
    for line in _lines(done):
        click.echo(line)
    say(f"wrote {output}; quantize it with 'ssmc quantize {typed(output)}'")


def _lines(done: Reduced) -> Iterator[str]:
    from ssmc.printable import printable

    for kernel in done.kernels:
        channels, orders = len(kernel.orders), kernel.orders
        span = f"{orders.min()} to {orders.max()} a channel" if orders.min() < orders.max() else f"{orders[0]} each"
        before = channels * kernel.before
        worst = f"output error {100 * float(kernel.error.mean()):.1f} % (mean), {100 * float(kernel.error.max()):.1f} %"
        yield f"{printable(kernel.name)}: {before} states to {orders.sum()} ({span}), {worst} (largest)"
    yield f"output error of the model {100 * done.error:.2f} % on the calibration data"
    if done.accuracy is not None and done.before is not None:
        yield f"accuracy on the calibration data {done.accuracy:.4f}, before {done.before:.4f}"

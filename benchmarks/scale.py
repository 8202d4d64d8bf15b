"""How time and memory grow with a model: quantize, compile int, c and aimc, each in a process of its own, oracle on.

    python benchmarks/scale.py [--only SIZE ...] [--steps WORD ...] [--limit SECONDS] [--no-startup] [-o RESULT.json]
                               [--page docs/scale.md]

Sizes are layers x channels x real states (half as many complex modes). Startup is the demo's compile against
``python -c "import numpy, onnx_ir, onnxruntime"`` of the same run, and one long sequence on ideal devices against the
integer executor. Exit status 1 when a bar is missed, by the wall clock or by CPU seconds, which count all cores and
tell more where something else runs on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from scale_models import Size, calibration, float_model

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "examples" / "spoken_digits" / "model.onnx"
STEPS = ("quantize", "int", "c", "aimc")
LAYERS = [Size(layers, 8, 4) for layers in (1, 10, 30, 100)]
SIZES = [*LAYERS, *(Size(1, channels, 16) for channels in (64, 256, 1024))]
SIZES += [Size(1, 128, 64), Size(4, 128, 64), Size(4, 128, 128)]
IMPORTS = "import numpy, onnx_ir, onnxruntime"
ROUNDS = 5
LONG, SHORT_MODEL = 100_000, Size(1, 4, 4)
GIB = 1024.0
#: (size, step): most seconds, most MiB
BARS: dict[tuple[str, str], tuple[float, float]] = {
    ("4 x 128 x 64", "quantize"): (60, 1.5 * GIB),
    ("4 x 128 x 64", "int"): (20, 1.5 * GIB),
    ("4 x 128 x 64", "aimc"): (40, 1.5 * GIB),
    **{("1 x 1024 x 16", step): (30, 2 * GIB) for step in STEPS[1:]},
    **{("4 x 128 x 128", step): (60, 3 * GIB) for step in STEPS[1:]},
}
BEGIN, END = "<!-- benchmarks/scale.py -->", "<!-- end -->"
GROWTH, STARTUP, STREAMING = 12.0, 3.0, 20.0

Row = dict[str, Any]


def measured(command: list[str], limit: float) -> Row:
    """Wall and CPU seconds and the largest resident memory of a command, killed after ``limit`` seconds."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile() as log:
        files = [(os.POSIX_SPAWN_DUP2, log.fileno(), 1), (os.POSIX_SPAWN_DUP2, log.fileno(), 2)]
        began = time.perf_counter()
        process = os.posix_spawn(command[0], command, environment, file_actions=files)
        watch = threading.Timer(limit, os.kill, (process, 9))
        watch.start()
        _, status, used = os.wait4(process, 0)
        wall = time.perf_counter() - began
        watch.cancel()
        log.seek(0)
        said = log.read().decode(errors="replace").strip().splitlines()
    code = os.waitstatus_to_exitcode(status)
    row = {
        "wall_s": round(wall, 3),
        "cpu_s": round(used.ru_utime + used.ru_stime, 3),
        "peak_mib": round(used.ru_maxrss / 1024, 1),
    }
    if code:
        row["failed"] = f"stopped after {limit:g} s" if wall >= limit else (said or [f"exit status {code}"])[-1]
    return row


def run_size(size: Size, steps: list[str], limit: float, folder: Path) -> dict[str, Row]:
    """Every step of one model."""
    source, data, model = (folder / name for name in ("float.onnx", "data.npz", "model.onnx"))
    source.write_bytes(float_model(size).SerializeToString())
    np.savez(data, x=calibration())
    ssmc = [sys.executable, "-m", "ssmc"]
    found = {"quantize": measured([*ssmc, "quantize", str(source), "--data", str(data), "-o", str(model)], limit)}
    for target in steps:
        if target != "quantize" and model.is_file():
            command = [*ssmc, "compile", str(model), "--target", target, "-o", str(folder / target)]
            found[target] = measured(command, limit)
    return found


def startup(limit: float) -> dict[str, Any]:
    """The demo's compile and the bare imports, taking turns: CPU and wall seconds, the least of all rounds."""
    rows: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as folder:
        commands = {"imports": [sys.executable, "-c", IMPORTS]}
        for target in ("int", "aimc"):
            commands[target] = [
                *(sys.executable, "-m", "ssmc", "compile", str(DEMO), "--target", target),
                *("-o", str(Path(folder) / target)),
            ]
        for _ in range(ROUNDS + 1):  # the first one fills the caches
            for name, command in commands.items():
                rows.setdefault(name, []).append(measured(command, limit))
    least = {
        name: {key: min(row[key] for row in found[1:]) for key in ("wall_s", "cpu_s")} for name, found in rows.items()
    }
    ratios = {
        f"{name}_{key}": round(least[name][f"{key}_s"] / least["imports"][f"{key}_s"], 2)
        for name in ("int", "aimc")
        for key in ("wall", "cpu")
    }
    return {"seconds": least, "times_imports": ratios}


def streaming(folder: Path, limit: float) -> dict[str, Any]:
    """CPU seconds of one long sequence in integers and on ideal devices, after a first run that builds what is built.

    ``lossy`` has converters of too few bits to be exact, so that every conversion is simulated; it has no bar.
    """
    import ssmc
    from ssmc.hardware.file import PRESETS

    run_size(SHORT_MODEL, [], limit, folder)
    few = folder / "few_bits.toml"
    few.write_text(re.sub(r"(\[adc\]\nbits = \{ value =) \d+", r"\1 4", (PRESETS / "isaac128.toml").read_text()))
    x = np.tile(calibration(1, 1000), (1, LONG // 1000, 1))
    took, codes = {}, {}
    for name, options in {"int": {}, "aimc": {}, "lossy": {"hardware": few}}.items():
        compiled = ssmc.compile(folder / "model.onnx", target="int" if name == "int" else "aimc", **options).compiled
        executor = compiled.fast_executor(LONG) if name == "int" else compiled.executor()
        executor.run(x[:, : LONG // 10])
        began = time.process_time()
        codes[name] = executor.run(x)
        took[name] = time.process_time() - began
    if not np.array_equal(codes["int"], codes["aimc"]):
        raise AssertionError("ideal devices and integers part")
    ratios = {f"{name}_times_int": round(took[name] / took["int"], 2) for name in ("aimc", "lossy")}
    return {"steps": LONG, "cpu_seconds": took, **ratios}


def bars(found: dict[str, Any], clock: str) -> dict[str, Any]:
    """Every bar that this run measured, with what was measured, and whether it holds by that clock."""
    sizes = found["sizes"]
    table: dict[str, Any] = {}
    for (size, step), (seconds, memory) in BARS.items():
        row = sizes.get(size, {}).get(step)
        if row is not None:
            holds = "failed" not in row and row[clock] <= seconds and row["peak_mib"] <= memory
            table[f"{size} {step}"] = {**row, "most_s": seconds, "most_mib": memory, "holds": holds}
    few, many = (sizes.get(LAYERS[i].name, {}) for i in (1, 3))
    for step in few.keys() & many.keys():
        if "failed" not in few[step] and "failed" not in many[step]:
            ratio = round(many[step]["cpu_s"] / few[step]["cpu_s"], 2)
            table[f"100 / 10 layers {step}"] = {"value": ratio, "most": GROWTH, "holds": ratio <= GROWTH}
    for name, value in found.get("startup", {}).get("times_imports", {}).items():
        if not clock.startswith(name.rpartition("_")[2]):
            continue
        table[f"startup {name}"] = {"value": value, "most": STARTUP, "holds": value <= STARTUP}
    if "streaming" in found:
        value = found["streaming"]["aimc_times_int"]
        table["streaming aimc / int"] = {"value": value, "most": STREAMING, "holds": value <= STREAMING}
    return table


def shown(rows: dict[str, Row]) -> str:
    """One line of the table."""
    return "  ".join(
        f"{step} {row['wall_s']:7.2f} s {row['cpu_s']:7.2f} cpu {row['peak_mib']:6.0f} MiB{' !' * ('failed' in row)}"
        for step, row in rows.items()
    )


def table(found: dict[str, Any]) -> str:
    """CPU seconds and peak memory of every size and step, as Markdown, and what the machine did besides."""
    lines = [f"| layers x channels x states | {' | '.join(STEPS)} |", f"| --- |{' --- |' * len(STEPS)}"]
    for name, rows in found["sizes"].items():
        cells = [_cell(rows[step]) if step in rows else "" for step in STEPS]
        lines.append(f"| {name.replace('x', '×')} | {' | '.join(cells)} |")
    times = found.get("startup", {}).get("times_imports", {})
    if times:
        said = ", ".join(f"{value} ({name.replace('_', ', ')})" for name, value in times.items())
        lines += ["", f"The demo's compile over `{IMPORTS}`, in times: {said}."]
    if "streaming" in found:
        value = found["streaming"]["aimc_times_int"]
        lines += ["", f"One sequence of {LONG} steps on ideal devices takes {value} times the integer executor's time."]
    machine = found["machine"]
    lines += ["", f"{machine['cores']} cores, load {machine['load_before']} before and {machine['load_after']} after."]
    return "\n".join(lines) + "\n"


def _cell(row: Row) -> str:
    return "failed" if "failed" in row else f"{row['cpu_s']:.1f} s, {row['peak_mib']:.0f} MiB"


def write_page(page: Path, found: dict[str, Any]) -> None:
    """Put the table where the page has the last one."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{table(found)}\n{END}{after}")


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[size.name for size in SIZES], help="sizes, as '4 x 128 x 64'")
    parser.add_argument("--steps", nargs="*", choices=STEPS, default=list(STEPS))
    parser.add_argument("--limit", type=float, default=600.0, help="seconds a step may take")
    parser.add_argument("--clock", choices=("wall_s", "cpu_s"), default="wall_s", help="cpu_s on a busy machine")
    parser.add_argument("--startup", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--streaming", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "benchmarks" / "results" / "scale.json")
    parser.add_argument("--page", type=Path, help="a page with the table, to be written anew")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    found: dict[str, Any] = {"schema": "ssmc.benchmark/1", "sizes": {}}
    for size in SIZES:
        if size.name in arguments.only:
            with tempfile.TemporaryDirectory() as folder:
                rows = run_size(size, arguments.steps, arguments.limit, Path(folder))
            found["sizes"][size.name] = rows
            print(f"{size.name:14s} {shown(rows)}", flush=True)
    if arguments.startup:
        found["startup"] = startup(arguments.limit)
    if arguments.streaming:
        with tempfile.TemporaryDirectory() as folder:
            found["streaming"] = streaming(Path(folder), arguments.limit)
    found["machine"] = {
        "cores": os.cpu_count(),
        "load_before": round(load, 2),
        "load_after": round(os.getloadavg()[0], 2),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    found["bars"], found["clock"] = bars(found, arguments.clock), arguments.clock
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    if arguments.page:
        write_page(arguments.page, found)
    for name, bar in found["bars"].items():
        print(f"{'ok  ' if bar['holds'] else 'MISS'} {name:26s} {bar.get('value', bar.get(arguments.clock))}")
    return 0 if all(bar["holds"] for bar in found["bars"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())

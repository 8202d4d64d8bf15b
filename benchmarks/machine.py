"""What this machine can do at most: its frequency now, its vector width, and the cycles that exact numbers take.

`bound_cycles` adds up what any vector implementation of these numbers executes, item by item; nothing is assumed to
overlap, and loops, reductions of a dot product and shuffles are left out: they are what a ratio to it shows.
"""

from __future__ import annotations

import ctypes
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ssmc.emit_c.emit import emit
from ssmc.ir.operations import StateSpace
from ssmc.ir.program import Program
from ssmc.native.build import build_library

CHAIN = 4_000_000
_SPIN = """\
#include <stdint.h>
/* n dependent additions: one a cycle */
uint64_t spin(uint64_t n)
{
    uint64_t x = 0;
    for (uint64_t i = 0; i < n; i += 8) {
        x += 1; __asm__ volatile("" : "+r"(x)); x += 1; __asm__ volatile("" : "+r"(x));
        x += 1; __asm__ volatile("" : "+r"(x)); x += 1; __asm__ volatile("" : "+r"(x));
        x += 1; __asm__ volatile("" : "+r"(x)); x += 1; __asm__ volatile("" : "+r"(x));
        x += 1; __asm__ volatile("" : "+r"(x)); x += 1; __asm__ volatile("" : "+r"(x));
    }
    return x;
}
"""

#: vector instructions per 32-bit lane of one item, and which
ITEMS: dict[str, tuple[int, str]] = {
    "requantizations": (8, "half (2), odd bit (2), 2 adds, shift, and a saturation folded into the narrowing store"),
    "read-outs": (9, "half (2), odd bit (2), 2 adds, shift, saturate (2)"),
    "updates": (3, "add, saturate (2)"),
    "additions": (2, "extend, add"),
}
#: scalar loads of one item
LOADS = {"look-ups": 2}


@dataclass(frozen=True)
class Machine:
    """Assumptions and the measured frequency.

    Attributes:
        ghz: measured now, by a chain of dependent additions.
        vector_bits: from the processor's flags.
        multiplies, simple, loads: vector multiply-adds, other vector instructions and loads a cycle, assumed.
    """

    ghz: float
    vector_bits: int
    multiplies: int = 1
    simple: int = 2
    loads: int = 2


def this_machine() -> Machine:
    """Measure and look up."""
    spin = build_library({"spin.c": _SPIN}).spin
    spin.argtypes = [ctypes.c_uint64]
    best = 0.0
    for _ in range(100):
        began = time.perf_counter()
        spin(CHAIN)
        best = max(best, CHAIN / (time.perf_counter() - began) / 1e9)
    flags = Path("/proc/cpuinfo").read_text()
    return Machine(best, 512 if "avx512bw" in flags else 256 if "avx2" in flags else 128)


def step_items(program: Program) -> Counter[str]:
    """What a time step needs."""
    found: Counter[str] = Counter()
    for layer in emit(program, "model").step_layers:
        found["macs"] += layer.macs
        found.update(layer.requants)
    found["updates"] = sum(op.keep.size for op in program.ops if isinstance(op, StateSpace))
    return found


def bound_cycles(items: Counter[str], machine: Machine) -> dict[str, float]:
    """Cycles of a time step, by kind."""
    words, lanes = machine.vector_bits / 16, machine.vector_bits / 32
    return {
        "multiply-accumulates, 16-bit pairs": items["macs"] / (words * machine.multiplies),
        "loads of 8-bit weights": items["macs"] / (machine.vector_bits / 8 * machine.loads),
        **{name: each * items[name] / (lanes * machine.simple) for name, (each, _) in ITEMS.items()},
        **{name: each * items[name] / machine.loads for name, each in LOADS.items()},
    }

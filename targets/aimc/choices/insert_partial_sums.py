"""The graph side of lowering: explicit partial-sum quantizers, so that onnxruntime runs what the converters do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir

from ssmc.data import Samples
from ssmc.hardware.model import Hardware
from ssmc.ir.build import add_constant, node_name, remove_dead, replace_value, ssmc_node
from ssmc.ir.functions import input_names
from ssmc.ir.operations import AnyOp
from ssmc.ir.read_program import constants, read_program
from ssmc.passes.place import KEY
from ssmc.pipeline import Declined, Effect, Level, Pass, PassResult
from ssmc.targets.aimc.choices.candidates import Candidates
from ssmc.targets.aimc.choices.figures import Objective
from ssmc.targets.aimc.choices.graph_converters import converter_constants, pair_constants
from ssmc.targets.aimc.choices.noise_budget import NoiseBudget
from ssmc.targets.aimc.choices.place_and_pack import packings_of
from ssmc.targets.aimc.choices.placement import place_matrices
from ssmc.targets.aimc.lowering.conversion_plan import MatrixPlan
from ssmc.targets.aimc.lowering.kernel_places import INPUT, OUTPUT, Place
from ssmc.targets.aimc.lowering.packing import Mode
from ssmc.targets.aimc.lowering.partial_sums import Lowered

DTYPES: dict[str, type[np.generic]] = {"index": np.int64, "whole": np.bool_}


@dataclass(frozen=True)
class InsertPartialSums(Pass):
    """Rewrite matrices that are not converted once to partial sums, kernels whose parts run apart (semantics.md §3).

    Before: level *placed*.
    After: ``LinearParts``, ``KernelParts``, ``KernelPair[After]Parts`` where slices, row splits, bit-serial drive or a
        narrow converter need partial conversions; single conversions stay as they are. A fused kernel whose parts run
        apart is a ``KernelPair``, with its poles in the digital unit ``KernelPair[After]PolesParts``.
    Preserves: every code where all conversions are lossless; else LOSSY: the converters' steps, which the hardware
        sets, may leave nothing of a sum. The matrices are listed as declined.
    Refuses: what does not fit the hardware (SSMC-A01, A02), a graph that has partial sums (A04).
    Hands on: the `Placement`, so that the emitter packs the program that was lowered here.

    Attributes:
        hardware: the chip.
        place: ``auto`` decides per matrix here, where the hardware is known, and annotates the graph anew.
        minimise: what that decision makes smaller.
        ranges: recorded sequences for which the ranges of lossy conversions are chosen; None: white input codes.
        budget: accuracy that a placement may lose under noise; None: noise does not count.
        packing: how kernels will share arrays: with it a placement is weighed.
    """

    name = "insert-partial-sums"
    effect = Effect.LOSSY
    requires = Level.PLACED

    hardware: Hardware
    place: Place = "analog"
    minimise: Objective = "energy"
    ranges: Samples | None = None
    budget: NoiseBudget | None = None
    packing: Mode | Literal["auto"] = "auto"

    def run(self, model: ir.Model) -> PassResult:
        """Lower the program and write its partial sums into the graph."""
        asked: Place | dict[str, Place] = "auto" if self.place == "auto" else _places(model)
        packings = packings_of(self.packing)
        candidates = Candidates(read_program(model), self.hardware, self.ranges, packings)
        placement = place_matrices(candidates, asked, self.minimise, self.budget)
        lowered = placement.lowered
        applied = [line for node in list(model.graph) for line in _rewrite(model.graph, node, placement.lowered)]
        remove_dead(model.graph)
        lossy = tuple(
            Declined(p.name, f"lossy conversions: {p.why}") for p in lowered.plans.values() if p.kind == "lossy"
        )
        effect = Effect.LOSSY if lossy else Effect.EXACT
        return PassResult(model, tuple(applied), lossy, effect, decided=placement)


def _places(model: ir.Model) -> dict[str, Place]:
    """Where the graph says that every operation runs."""
    return {node_name(node): node.metadata_props.get(KEY, "analog") for node in model.graph}  # type: ignore[misc]


def _rewrite(graph: ir.Graph, node: ir.Node, lowered: Lowered) -> Iterator[str]:
    """Write where a node runs, and replace it where it is converted in parts or a kernel's parts run apart."""
    name = node_name(node)
    if name not in lowered.places:
        return
    node.metadata_props[KEY] = place = lowered.places[name]
    plans = {suffix: lowered.plans[key] for suffix, key in _named(name) if key in lowered.plans}
    apart = "_y" in plans and node.op_type == "Kernel"
    if not apart and "_b" not in plans and not any(plan.matrix.is_lowered for plan in plans.values()):
        return
    _replace(graph, node, plans, next(op for op in lowered.program.ops if op.name == name))
    counts = " + ".join(str(max(len(p.matrix.parts), 1)) for p in plans.values() if p.kind != "digital")
    yield f"{name}: {place}, {counts or 'no'} conversions"


def _named(name: str) -> tuple[tuple[str, str], ...]:
    """Suffix of a plan's constants, and its name."""
    return ("", name), ("_y", f"{name}{OUTPUT}"), ("_b", f"{name}{INPUT}")


def _replace(graph: ir.Graph, node: ir.Node, plans: Mapping[str, MatrixPlan], op: AnyOp) -> None:
    name, old = node_name(node), node.outputs[0]
    inputs = {
        key: value for key, value in zip(input_names(node.op_type), node.inputs, strict=True) if value is not None
    }
    given, new = constants(node), {}
    kind = node.op_type
    if kind == "Kernel" and "_y" in plans:
        kind, new = "KernelPair", pair_constants(given)
    if any(plan.matrix.is_lowered for plan in plans.values()) or "_b" in plans:
        kind += "PolesParts" if "_b" in plans else "Parts"
        new |= converter_constants(plans, given | new, op)
    for key, array in new.items():
        dtype = DTYPES.get(key.removesuffix("_y").removesuffix("_b"), np.float64)
        inputs[key] = add_constant(graph, f"{name}.{key}", array, dtype)
    extra = [f"{name}.parts.registers"] if kind.startswith("Kernel") else []
    made = ssmc_node(kind, inputs, f"{old.name}.parts", name=name, extra_outputs=extra)
    made.metadata_props.update(node.metadata_props)
    graph.insert_before(node, made)
    kept = str(old.name)
    replace_value(graph, old, made.outputs[0])
    graph.remove(node, safe=True)
    old.name, made.outputs[0].name = f"{kept}.whole", kept
